"""Patterns behind which units can't be told apart, or are seen: all of them stay."""

from collections.abc import Callable
from typing import Any

import pytest
from onnx import ModelProto

Graph = Callable[..., ModelProto]
Units = Callable[[ModelProto], dict[tuple[str, int], list[Any]]]
Without = Callable[..., dict[str, tuple[int, ...]]]


def test_an_output_of_the_graph_stays(graph: Graph, units: Units) -> None:
    model = graph("""
        output (float[N, 3] x) => (float[N, 2] y, float[N, 4] r)
        <float[3, 4] w1, float[4, 2] w2> {
            h = MatMul (x, w1)
            r = Relu (h)
            y = MatMul (r, w2)
        }""")
    assert units(model) == {}


def test_a_weight_that_is_an_output_of_the_graph_stays(graph: Graph, units: Units) -> None:
    model = graph("""
        output (float[N, 3] x) => (float[N, 2] y, float[3, 4] w1)
        <float[3, 4] w1, float[4, 2] w2> {
            h = MatMul (x, w1)
            y = MatMul (h, w2)
        }""")
    assert units(model) == {}


def test_a_length_that_is_an_output_of_the_graph_stays(graph: Graph, units: Units) -> None:
    model = graph("""
        output (float[N, 3] x) => (float[N, 2] y, int64[2] shape)
        <float[3, 4] w1, float[4, 2] w2> {
            h = MatMul (x, w1)
            shape = Shape (h)
            y = MatMul (h, w2)
        }""")
    assert units(model) == {}


@pytest.mark.parametrize(
    "nodes",
    [
        "z = Softmax (h)",
        "m = ReduceMean <keepdims = 1> (h, last) z = Sub (h, m)",
        "z = CumSum (h, one)",
        "z = Trilu (h)",
        "a, b = TopK (h, four) c = Cast <to = 1> (b) z = Add (a, c)",
        "i = ArgMax <axis = 1> (h) f = Cast <to = 1> (i) z = Mul (h, f)",
        "turned = Transpose (h) s = MatMul (h, turned) z = MatMul (s, h)",
        "z = Slice (h, minus, end, last, minus)",
        "s = Shape (h) f = Cast <to = 1> (s) n = ReduceSum (f) z = Mul (h, n)",
        "n = Size (h) f = Cast <to = 1> (n) z = Mul (h, f)",
        'z = Pad <mode = "reflect"> (h, pads)',
    ],
)
def test_behind_what_mixes_units_or_counts_them_all_stay(
    graph: Graph, units: Units, nodes: str
) -> None:
    rows = 6 if "Pad" in nodes else 4
    model = graph(f"""
        mixed (float[5, 3] x) => (float[5, 2] y)
        <float[3, 4] w1, float[{rows}, 2] w2, int64[1] last = {{1}}, int64 one = {{1}},
         int64[1] four = {{4}}, int64[1] minus = {{-1}}, int64[1] end = {{-9}},
         int64[4] pads = {{0, 1, 0, 1}}> {{
            h = MatMul (x, w1)
            {nodes}
            y = MatMul (z, w2)
        }}""")
    assert units(model) == {}


def test_the_units_on_both_sides_of_a_softmax_over_time_are_still_told_apart(
    graph: Graph, without: Without
) -> None:
    model = graph("""
        time (float[N, 5, 3] x) => (float[N, 5, 2] y) <float[3, 4] w1, float[4, 2] w2> {
            h = MatMul (x, w1)
            s = Softmax <axis = 1> (h)
            y = MatMul (s, w2)
        }""")
    assert without(model, w2=(0, [1])) == {"w1": (3, 3), "w2": (3, 2)}


def test_before_opset_13_a_softmax_mixes_all_axes_behind_its_own(
    graph: Graph, units: Units
) -> None:
    text = """
        time (float[N, 5, 3] x) => (float[N, 5, 2] y) <float[3, 4] w1, float[4, 2] w2> {
            h = MatMul (x, w1)
            s = Softmax <axis = 1> (h)
            y = MatMul (s, w2)
        }"""
    assert units(graph(text, opset=12)) == {}
    assert len(units(graph(text, opset=13))) == 2


def test_a_sequence_turned_on_its_side_stays(graph: Graph, units: Units) -> None:
    model = graph("""
        turned (float[N, 4, 3] x) => (float[N, 4, 2] y) <float[3, 4] w1, float[4, 2] w2> {
            m = MatMul (x, w1)
            t = Transpose <perm = [0, 2, 1]> (m)
            y = MatMul (t, w2)
        }""")
    assert units(model) == {}


def test_units_added_to_an_input_of_the_graph_stay(graph: Graph, units: Units) -> None:
    model = graph("""
        added (float[N, 4] x) => (float[N, 2] y) <float[4, 4] w1, float[4, 2] w2> {
            h = MatMul (x, w1)
            s = Add (h, x)
            y = MatMul (s, w2)
        }""")
    assert units(model) == {}


def test_a_unit_that_is_spread_over_others_stays(graph: Graph, units: Units) -> None:
    """One channel gates eight: its weight has no axis of which less than all could go."""
    model = graph("""
        spread (float[N, 3] x) => (float[N, 2] y)
        <float[3, 2] w1, float[3, 4] w2, int64[2] sizes = {1, 1}, float[4, 2] w3> {
            g = MatMul (x, w1)
            a, b = Split <axis = 1> (g, sizes)
            h = MatMul (x, w2)
            s = Mul (h, a)
            t = Mul (s, b)
            y = MatMul (t, w3)
        }""")
    assert set(units(model)) == {("w2", 1), ("w3", 0)}


def test_places_of_maxima_keep_all_channels(graph: Graph, units: Units) -> None:
    model = graph("""
        places (float[2, 1, 4, 4] x) => (float[2, 3, 2, 2] y)
        <float[4, 1, 1, 1] k1, float[3, 4, 1, 1] k2> {
            h = Conv (x, k1)
            p, i = MaxPool <kernel_shape = [2, 2], strides = [2, 2]> (h)
            f = Cast <to = 1> (i)
            s = Add (p, f)
            y = Conv (s, k2)
        }""")
    assert units(model) == {}


def test_what_the_body_of_control_flow_reads_from_outside_stays(graph: Graph, units: Units) -> None:
    model = graph("""
        branch (float[N, 3] x, bool flag) => (float[N, 2] y)
        <float[3, 4] w1, float[4, 2] w2, float[3, 5] w3, float[5, 2] w4> {
            h = MatMul (x, w1)
            g = MatMul (x, w3)
            v = MatMul (g, w4)
            y = If (flag) <
                then_branch = yes () => (float[N, 2] a) { a = MatMul (h, w2) },
                else_branch = no () => (float[N, 2] b) { b = Add (v, v) }
            >
        }""")
    assert set(units(model)) == {("w3", 1), ("w4", 0)}


def test_behind_an_operator_of_another_domain_all_units_stay(units: Units, graph: Graph) -> None:
    model = graph("""
        scaled (float[N, 3] x) => (float[N, 2] y) <float[3, 4] w1, float[4, 2] w2> {
            h = MatMul (x, w1)
            s = ai.onnx.ml.Scaler <offset = [0.0], scale = [2.0]> (h)
            y = MatMul (s, w2)
        }""")
    model.opset_import.add(domain="ai.onnx.ml", version=3)
    assert units(model) == {}
