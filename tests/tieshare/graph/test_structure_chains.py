"""Layers one after the other: the units of one are the rows of the next."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from onnx import ModelProto

from tieshare.graph import structure_of

Graph = Callable[..., ModelProto]
Units = Callable[[ModelProto], dict[tuple[str, int], list[Any]]]
Without = Callable[..., dict[str, tuple[int, ...]]]


def test_the_units_of_a_linear_layer_are_the_rows_of_the_next(
    graph: Graph, units: Units, without: Without
) -> None:
    model = graph("""
        chain (float[N, 3] x) => (float[N, 2] y)
        <float[4, 3] w1, float[4] b1, float[2, 4] w2, float[2] b2> {
            h = Gemm <transB = 1> (x, w1, b1)
            r = Relu (h)
            y = Gemm <transB = 1> (r, w2, b2)
        }""")
    assert units(model) == {
        ("w1", 0): [0, 1, 2, 3],
        ("b1", 0): [0, 1, 2, 3],
        ("w2", 1): [0, 1, 2, 3],
    }
    assert without(model, w2=(1, [0, 2])) == {"w1": (2, 3), "b1": (2,), "w2": (2, 2), "b2": (2,)}


def test_the_rows_of_a_layer_are_where_its_weight_is_read(graph: Graph) -> None:
    model = graph("""
        chain (float[N, 3] x) => (float[N, 2] y) <float[3, 4] w1, float[4, 2] w2> {
            h = MatMul (x, w1)
            y = MatMul (h, w2)
        }""")
    structure = structure_of(model)
    first, second = structure.layers
    assert structure.rows_of(first) is None
    rows = structure.rows_of(second)
    assert rows is not None
    assert (rows.tensor, rows.axis, rows.ids.tolist()) == ("w2", 0, [[0], [1], [2], [3]])
    assert structure.reads == {"w1": (), "w2": (frozenset({0}),)}
    assert structure.units == 4


def test_a_layer_keeps_one_unit_where_all_its_rows_are_zero(graph: Graph, without: Without) -> None:
    model = graph("""
        chain (float[N, 3] x) => (float[N, 2] y) <float[3, 4] w1, float[4, 2] w2> {
            h = MatMul (x, w1)
            y = MatMul (h, w2)
        }""")
    assert without(model, w2=(0, [0, 1, 2, 3])) == {"w1": (3, 1), "w2": (1, 2)}


def test_units_that_only_dead_units_read_are_dead_too(graph: Graph, without: Without) -> None:
    model = graph("""
        deep (float[N, 3] x) => (float[N, 2] y)
        <float[3, 4] w1, float[4, 5] w2, float[5, 2] w3> {
            a = MatMul (x, w1)
            b = Tanh (a)
            c = MatMul (b, w2)
            d = Tanh (c)
            y = MatMul (d, w3)
        }""")
    # Of w2 only column 4 uses row 0, and nothing reads unit 4.
    left = without(model, w2=(0, [1]), w3=(0, [4, 3]))
    assert left == {"w1": (3, 3), "w2": (3, 3), "w3": (3, 2)}


def test_each_channel_of_a_convolution_is_height_times_width_rows_after_flatten(
    graph: Graph, units: Units, without: Without
) -> None:
    model = graph("""
        conv (float[N, 1, 6, 8] x) => (float[N, 2] y)
        <float[3, 1, 3, 3] k, float[3] c, float[18, 2] w> {
            f = Conv (x, k, c)
            p = MaxPool <kernel_shape = [2, 2], strides = [2, 2]> (f)
            flat = Flatten (p)
            y = Gemm (flat, w)
        }""")
    assert units(model)["w", 0] == [0] * 6 + [1] * 6 + [2] * 6
    left = without(model, w=(0, list(range(6, 12))))
    assert left == {"k": (2, 1, 3, 3), "c": (2,), "w": (12, 2)}
    assert without(model, w=(0, list(range(6, 11))))["k"] == (3, 1, 3, 3)


def test_an_activation_written_as_two_nodes_joins_again(graph: Graph, without: Without) -> None:
    model = graph("""
        silu (float[N, 3] x) => (float[N, 2] y)
        <float[3, 4] w1, float[4] b1, float[4, 2] w2> {
            m = MatMul (x, w1)
            a = Add (m, b1)
            s = Sigmoid (a)
            h = Mul (a, s)
            y = MatMul (h, w2)
        }""")
    assert without(model, w2=(0, [3])) == {"w1": (3, 3), "b1": (3,), "w2": (3, 2)}


@pytest.mark.parametrize("shape", ["4", "1, 4", "4, 1, 1", "1, 4, 1, 1"])
def test_a_scale_that_is_broadcast_has_an_entry_a_unit(
    graph: Graph, units: Units, without: Without, shape: str
) -> None:
    channels = shape.endswith("1")
    text = f"""
        scaled (float[N, 2, 3, 3] x) => (float[N, 2] y)
        <float[4, 2, 1, 1] k, float[{shape}] scale, float half = {{0.5}}, float[4, 2] w> {{
            f = Conv (x, k)
            turned = Transpose <perm = [0, 2, 3, 1]> (f)
            s = Mul ({"f" if channels else "turned"}, scale)
            h = Mul (half, s)
            m = ReduceMean <axes = {[2, 3] if channels else [1, 2]}, keepdims = 0> (h)
            y = MatMul (m, w)
        }}"""
    model = graph(text, opset=13)
    axis = shape.split(", ").index("4")
    assert units(model)["scale", axis] == units(model)["w", 0] == [0, 1, 2, 3]
    left = without(model, w=(0, [0, 1]))
    assert left["scale"] == tuple(2 if n == "4" else 1 for n in shape.split(", "))


def test_two_layers_that_read_the_same_units_both_keep_them(graph: Graph, without: Without) -> None:
    model = graph("""
        branches (float[N, 3] x) => (float[N, 2] y)
        <float[3, 4] w1, float[4, 2] w2, float[4, 2] w3> {
            h = MatMul (x, w1)
            a = MatMul (h, w2)
            b = MatMul (h, w3)
            y = Add (a, b)
        }""")
    left = without(model, w2=(0, [0, 1]), w3=(0, [1, 2]))
    assert left == {"w1": (3, 3), "w2": (3, 2), "w3": (3, 2)}


def test_a_weight_on_the_left_is_read_along_its_columns(
    graph: Graph, units: Units, without: Without
) -> None:
    model = graph("""
        left (float[3, 5] x) => (float[2, 5] y) <float[4, 3] w1, float[2, 4] w2> {
            h = MatMul (w1, x)
            r = Relu (h)
            y = MatMul (w2, r)
        }""")
    assert units(model) == {("w1", 0): [0, 1, 2, 3], ("w2", 1): [0, 1, 2, 3]}
    assert without(model, w2=(1, [2])) == {"w1": (3, 3), "w2": (2, 3)}


def test_a_gemm_of_a_turned_input_reads_its_rows(graph: Graph, without: Without) -> None:
    model = graph("""
        turned (float[3, 5] x) => (float[5, 2] y) <float[4, 3] w1, float[4, 2] w2> {
            h = MatMul (w1, x)
            y = Gemm <transA = 1, alpha = 0.5> (h, w2)
        }""")
    assert without(model, w2=(0, [0])) == {"w1": (3, 3), "w2": (3, 2)}


def test_a_vector_is_read_by_a_product_with_it(graph: Graph, without: Without) -> None:
    model = graph("""
        vector (float[N, 3] x) => (float[N] y) <float[3, 4] w1, float[4] w2> {
            h = MatMul (x, w1)
            y = MatMul (h, w2)
        }""")
    assert without(model, w2=(0, [1, 3])) == {"w1": (3, 2), "w2": (2,)}


@pytest.mark.parametrize(
    ("nodes", "shape"),
    [
        ("same = Identity (w2)", "4, 2"),
        ("same = Transpose <perm = [1, 0]> (w2)", "2, 4"),
        ("narrow = Cast <to = 11> (w2) same = Cast <to = 1> (narrow)", "4, 2"),
        ("less = Neg (w2) same = Neg (less)", "4, 2"),
        ("more = Unsqueeze (w2, zero) same = Squeeze (more, zero)", "4, 2"),
    ],
)
def test_a_weight_behind_nodes_that_keep_zeros_is_still_read(
    graph: Graph, without: Without, nodes: str, shape: str
) -> None:
    model = graph(f"""
        behind (float[N, 3] x) => (float[N, 2] y)
        <float[3, 4] w1, float[{shape}] w2, int64[1] zero = {{0}}> {{
            {nodes}
            h = MatMul (x, w1)
            y = MatMul (h, same)
        }}""")
    axis = shape.split(", ").index("4")
    assert without(model, w2=(axis, [0, 3]))["w1"] == (3, 2)


@pytest.mark.parametrize("nodes", ["same = Exp (w2)", "same = Add (w2, one)"])
def test_behind_a_weight_whose_zeros_do_not_last_all_units_stay(
    graph: Graph, units: Units, nodes: str
) -> None:
    model = graph(f"""
        behind (float[N, 3] x) => (float[N, 2] y)
        <float[3, 4] w1, float[4, 2] w2, float one = {{1.0}}> {{
            {nodes}
            h = MatMul (x, w1)
            y = MatMul (h, same)
        }}""")
    assert units(model) == {}


def test_a_weight_used_twice_ties_its_units_to_those_that_it_reads(
    graph: Graph, units: Units, without: Without
) -> None:
    model = graph("""
        twice (float[N, 3] x) => (float[N, 2] y)
        <float[3, 4] first, float[4, 4] w, float[4, 2] last> {
            s = MatMul (x, first)
            a = MatMul (s, w)
            r = Relu (a)
            b = MatMul (r, w)
            y = MatMul (b, last)
        }""")
    found = units(model)
    assert found["first", 1] == found["w", 0] == found["w", 1] == found["last", 0] == [0, 1, 2, 3]
    left = without(model, w=(0, [1, 2]), last=(0, [1]))
    assert left == {"first": (3, 3), "w": (3, 3), "last": (3, 2)}


def test_a_decoder_with_the_turned_weight_of_its_encoder_shares_hidden_units(
    graph: Graph, units: Units, without: Without
) -> None:
    model = graph("""
        autoencoder (float[N, 5] x) => (float[N, 5] y) <float[5, 3] w> {
            h = MatMul (x, w)
            r = Relu (h)
            y = Gemm <transB = 1> (r, w)
        }""")
    assert units(model) == {("w", 1): [0, 1, 2]}
    assert without(model, w=(1, [1])) == {"w": (5, 2)}


def test_a_bias_used_twice_ties_the_units_of_both_layers(
    graph: Graph, units: Units, without: Without
) -> None:
    model = graph("""
        bias (float[N, 3] x) => (float[N, 2] y)
        <float[3, 4] w1, float[4] b, float[4, 4] w2, float[4, 2] w3> {
            h = Gemm (x, w1, b)
            r = Relu (h)
            g = Gemm (r, w2, b)
            y = MatMul (g, w3)
        }""")
    assert units(model)["w2", 0] == units(model)["w2", 1] == units(model)["b", 0] == [0, 1, 2, 3]
    assert without(model, w2=(0, [0]), w3=(0, [0]))["b"] == (3,)
    assert without(model, w3=(0, [0]))["b"] == (4,)


def test_the_columns_of_an_embedding_are_units_and_its_entries_stay(
    graph: Graph, units: Units, without: Without
) -> None:
    model = graph("""
        embedding (int64[N, T] tokens) => (float[N, T, 2] y) <float[7, 4] table, float[4, 2] w> {
            e = Gather (table, tokens)
            y = MatMul (e, w)
        }""")
    assert units(model) == {("table", 1): [0, 1, 2, 3], ("w", 0): [0, 1, 2, 3]}
    assert without(model, w=(0, [0])) == {"table": (7, 3), "w": (3, 2)}


def test_a_mask_of_dropout_that_is_used_has_the_units_too(graph: Graph, without: Without) -> None:
    model = graph("""
        dropout (float[N, 3] x) => (float[N, 2] y)
        <float[3, 4] w1, float[4, 2] w2, float[4, 2] w3> {
            h = MatMul (x, w1)
            d, mask = Dropout (h)
            m = Cast <to = 1> (mask)
            z = MatMul (m, w2)
            v = MatMul (d, w3)
            y = Add (v, z)
        }""")
    assert without(model, w2=(0, [0, 1]), w3=(0, [0]))["w1"] == (3, 3)


def test_a_choice_between_units_by_a_condition_on_them_keeps_them_together(
    graph: Graph, without: Without
) -> None:
    model = graph("""
        where (float[N, 3] x) => (float[N, 2] y)
        <float[3, 4] w1, float[3, 4] w2, float zero = {0.0}, float[4, 2] w3> {
            a = MatMul (x, w1)
            b = MatMul (x, w2)
            up = Greater (a, zero)
            c = Where (up, a, b)
            y = MatMul (c, w3)
        }""")
    left = without(model, w3=(0, [0, 2]))
    assert (left["w1"], left["w2"], left["w3"]) == ((3, 2), (3, 2), (2, 2))


def test_two_inputs_and_two_outputs_are_followed_at_once(graph: Graph, without: Without) -> None:
    model = graph("""
        both (float[N, 3] u, float[N, 2] v) => (float[N, 2] y, float[N, 1] z)
        <float[3, 4] w1, float[2, 4] w2, float[4, 2] w3, float[4, 1] w4> {
            a = MatMul (u, w1)
            b = MatMul (v, w2)
            s = Add (a, b)
            r = Relu (s)
            y = MatMul (r, w3)
            z = MatMul (r, w4)
        }""")
    left = without(model, w3=(0, [0, 1, 2]), w4=(0, [2, 3]))
    assert left == {"w1": (3, 3), "w2": (2, 3), "w3": (3, 2), "w4": (3, 1)}


def test_a_weight_without_a_value_reads_all_that_it_could(graph: Graph) -> None:
    structure = structure_of(
        graph("""
        chain (float[N, 3] x) => (float[N, 2] y) <float[3, 4] w1, float[4, 2] w2> {
            h = MatMul (x, w1)
            y = MatMul (h, w2)
        }""")
    )
    assert structure.alive({}).all()
    zeros = {"w1": np.ones((3, 4)), "w2": np.zeros((4, 2))}
    assert structure.alive(zeros).tolist() == [True, False, False, False]


@pytest.mark.parametrize("operator", ["Conv", "ConvTranspose"])
def test_zeros_that_nodes_spread_over_the_units_are_no_bias(
    graph: Graph, without: Without, operator: str
) -> None:
    """As torch writes a convolution without a bias where it is told not to optimise."""
    start = 0 if operator == "Conv" else 1
    first = "float[4, 2, 1, 1] w1" if operator == "Conv" else "float[2, 4, 1, 1] w1"
    second = "float[3, 4, 1, 1] w2" if operator == "Conv" else "float[4, 3, 1, 1] w2"
    model = graph(f"""
        chain (float[N, 2, 5, 5] x) => (float[N, 3, 5, 5] y) <{first}, {second}> {{
            zero = Constant <value = float {{0.0}}> ()
            size = Shape <start = {start}, end = {start + 1}> (w1)
            like = CastLike (zero, x)
            b1 = Expand (like, size)
            h = {operator} (x, w1, b1)
            r = Relu (h)
            y = {operator} (r, w2)
        }}""")
    axis = 1 if operator == "Conv" else 0
    left = without(model, w2=(axis, [1, 3]))
    shapes = {"Conv": ((2, 2, 1, 1), (3, 2, 1, 1)), "ConvTranspose": ((2, 2, 1, 1), (2, 3, 1, 1))}
    assert (left["w1"], left["w2"]) == shapes[operator]


def test_a_stored_bias_of_zeros_is_cut_like_any_other(graph: Graph, without: Without) -> None:
    model = graph("""
        chain (float[N, 2, 5, 5] x) => (float[N, 3, 5, 5] y)
        <float[4, 2, 1, 1] w1, float[4] b1, float[3, 4, 1, 1] w2> {
            h = Conv (x, w1, b1)
            y = Conv (h, w2)
        }""")
    assert without(model, b1=(0, [0, 1, 2, 3]), w2=(1, [1, 3]))["b1"] == (2,)
