"""Values that are added to, or multiplied with, others have the same units."""

from collections.abc import Callable
from typing import Any

from onnx import ModelProto

Graph = Callable[..., ModelProto]
Units = Callable[[ModelProto], dict[tuple[str, int], list[Any]]]
Without = Callable[..., dict[str, tuple[int, ...]]]


def test_all_layers_on_a_residual_stream_have_the_same_units(
    graph: Graph, units: Units, without: Without
) -> None:
    model = graph("""
        residual (float[N, 3] x) => (float[N, 2] y)
        <float[3, 4] w1, float[4, 5] w2, float[5, 4] w3, float[4, 2] w4> {
            a = MatMul (x, w1)
            b = MatMul (a, w2)
            r = Relu (b)
            c = MatMul (r, w3)
            s = Add (a, c)
            y = MatMul (s, w4)
        }""")
    found = units(model)
    assert found["w1", 1] == found["w2", 0] == found["w3", 1] == found["w4", 0] == [0, 1, 2, 3]
    left = without(model, w2=(0, [1, 2]), w4=(0, [0, 2]), w3=(0, [4]))
    assert left == {"w1": (3, 3), "w2": (3, 4), "w3": (4, 3), "w4": (3, 2)}


def test_a_block_goes_with_its_units_and_the_shortcut_keeps_what_others_read(
    graph: Graph, without: Without
) -> None:
    model = graph("""
        resnet (float[N, 2, 6, 6] x) => (float[N, 3] y)
        <float[4, 2, 3, 3] k1, float[6, 4, 3, 3] k2, float[6] scale, float[6] shift, float[6] mean,
         float[6] var, float[6, 6, 3, 3] k3, float[6, 4, 1, 1] short, float[6, 3] w> {
            a = Conv <pads = [1, 1, 1, 1]> (x, k1)
            b = Conv <pads = [1, 1, 1, 1], strides = [2, 2]> (a, k2)
            n = BatchNormalization (b, scale, shift, mean, var)
            r = Relu (n)
            c = Conv <pads = [1, 1, 1, 1]> (r, k3)
            d = Conv <strides = [2, 2]> (a, short)
            s = Add (c, d)
            t = Relu (s)
            p = GlobalAveragePool (t)
            f = Flatten (p)
            y = MatMul (f, w)
        }""")
    left = without(model, w=(0, [0, 1]), k3=(1, [5]), k2=(1, [3]), short=(1, [3, 2]))
    assert left == {
        "k1": (3, 2, 3, 3),
        "k2": (5, 3, 3, 3),
        **dict.fromkeys(("scale", "shift", "mean", "var"), (5,)),
        "k3": (4, 5, 3, 3),
        "short": (4, 3, 1, 1),
        "w": (4, 3),
    }


def test_a_gate_has_the_units_that_it_opens(graph: Graph, without: Without) -> None:
    model = graph("""
        gate (float[N, 3] x) => (float[N, 2] y)
        <float[3, 4] w1, float[3, 4] w2, float[4] b, float[4, 2] w3> {
            a = MatMul (x, w1)
            g = Gemm (x, w2, b)
            s = Sigmoid (g)
            m = Mul (s, a)
            y = MatMul (m, w3)
        }""")
    left = without(model, w3=(0, [3]))
    assert left == {"w1": (3, 3), "w2": (3, 3), "b": (3,), "w3": (3, 2)}


def test_both_halves_of_a_gated_unit_go_together(
    graph: Graph, units: Units, without: Without
) -> None:
    model = graph("""
        glu (float[N, 3] x) => (float[N, 2] y)
        <float[3, 8] w1, float[8] b1, int64[2] halves = {4, 4}, float[4, 2] w2> {
            h = Gemm (x, w1, b1)
            a, b = Split <axis = 1> (h, halves)
            s = Sigmoid (b)
            m = Mul (a, s)
            y = MatMul (m, w2)
        }""")
    assert units(model)["w1", 1] == [0, 1, 2, 3, 0, 1, 2, 3]
    assert without(model, w2=(0, [1])) == {"w1": (3, 6), "b1": (6,), "w2": (3, 2)}


def test_squeeze_and_excite_reads_the_channels_that_it_scales(
    graph: Graph, units: Units, without: Without
) -> None:
    model = graph(
        """
        excite (float[N, 2, 5, 5] x) => (float[N, 3] y)
        <float[6, 2, 3, 3] k, float[4, 6, 1, 1] squeeze, float[6, 4, 1, 1] excite, float[6] c,
         float[6, 3] w> {
            h = Conv (x, k)
            p = GlobalAveragePool (h)
            s = Conv (p, squeeze)
            r = Relu (s)
            e = Conv (r, excite, c)
            g = HardSigmoid (e)
            m = Mul (h, g)
            q = ReduceMean <keepdims = 0> (m, spatial)
            y = MatMul (q, w)
        }""".replace("float[6, 3] w>", "float[6, 3] w, int64[2] spatial = {2, 3}>")
    )
    found = units(model)
    assert found["k", 0] == found["squeeze", 1] == found["excite", 0] == found["w", 0]
    left = without(model, w=(0, [0, 1]), squeeze=(1, [1]), excite=(1, [2]))
    assert left["k"] == (5, 2, 3, 3)
    assert left["squeeze"] == (3, 5, 1, 1)
    assert left["excite"] == (5, 3, 1, 1)


def test_a_residual_stream_that_is_normalised_stays(graph: Graph, units: Units) -> None:
    model = graph("""
        stream (float[N, 5, 3] x) => (float[N, 5, 2] y)
        <float[3, 4] w1, float[4] scale, float[4] shift, float[4, 6] w2, float[6, 4] w3,
         float[4, 2] w4> {
            a = MatMul (x, w1)
            n = LayerNormalization (a, scale, shift)
            b = MatMul (n, w2)
            r = Gelu (b)
            c = MatMul (r, w3)
            s = Add (a, c)
            y = MatMul (s, w4)
        }""")
    assert set(units(model)) == {("w2", 1), ("w3", 0)}


def test_a_stream_with_tied_embedding_and_head_loses_columns_of_both(
    graph: Graph, units: Units, without: Without
) -> None:
    model = graph("""
        tied (int64[N, T] tokens) => (float[N, T, 7] logits)
        <float[7, 4] table, float[4, 5] w1, float[5, 4] w2> {
            e = Gather (table, tokens)
            a = MatMul (e, w1)
            r = Relu (a)
            b = MatMul (r, w2)
            s = Add (e, b)
            head = Transpose <perm = [1, 0]> (table)
            logits = MatMul (s, head)
        }""")
    assert units(model)["table", 1] == units(model)["w1", 0] == units(model)["w2", 1]
    left = without(model, table=(1, [2]), w1=(0, [2]))
    assert left == {"table": (7, 3), "w1": (3, 5), "w2": (5, 3)}
    assert without(model, table=(1, [2]))["table"] == (7, 4)
