"""Attention in every way that it is written: heads go, and places of values inside of them."""

from collections.abc import Callable
from typing import Any

import pytest
from onnx import ModelProto

Graph = Callable[..., ModelProto]
Units = Callable[[ModelProto], dict[tuple[str, int], list[Any]]]
Without = Callable[..., dict[str, tuple[int, ...]]]

# 3 heads of size 2 on a stream of 5; o has the rows of head h at 2h and 2h + 1.
_WEIGHTS = "float[5, 6] q, float[5, 6] k, float[5, 6] v, float[6, 5] o"
_ATTEND = """
    keys = Transpose <perm = [0, 1, 3, 2]> (kh)
    scores = MatMul (qh, keys)
    scaled = Mul (scores, root)
    masked = Add (scaled, mask)
    weights = Softmax (masked)
    mixed = MatMul (weights, vh)
    turned = Transpose <perm = [0, 2, 1, 3]> (mixed)
    flat = Reshape (turned, whole)
    y = MatMul (flat, o)
"""
_STORED = """
    int64[4] heads = {0, 0, 3, 2}, int64[3] whole = {0, 0, 6}, float root = {0.7},
    float[1, 1, 4, 4] mask
"""


def test_heads_go_and_with_them_their_queries_keys_and_values(
    graph: Graph, units: Units, without: Without
) -> None:
    model = graph(f"""
        separate (float[N, 4, 5] x) => (float[N, 4, 5] y) <{_WEIGHTS}, {_STORED}> {{
            q0 = MatMul (x, q)
            k0 = MatMul (x, k)
            v0 = MatMul (x, v)
            q1 = Reshape (q0, heads)
            k1 = Reshape (k0, heads)
            v1 = Reshape (v0, heads)
            qh = Transpose <perm = [0, 2, 1, 3]> (q1)
            kh = Transpose <perm = [0, 2, 1, 3]> (k1)
            vh = Transpose <perm = [0, 2, 1, 3]> (v1)
            {_ATTEND}
        }}""")
    found = units(model)
    assert found["q", 1] == found["k", 1] == [0, 0, 1, 1, 2, 2]
    assert found["v", 1] == found["o", 0] == [[i // 2, 3 + i % 2] for i in range(6)]
    left = without(model, o=(0, [2, 3]))
    assert {left[name] for name in "qkv"} == {(5, 4)}
    assert left["o"] == (4, 5)
    left = without(model, o=(0, [2, 3, 1, 5]))
    assert (left["q"], left["k"], left["v"], left["o"]) == ((5, 4), (5, 4), (5, 2), (2, 5))
    assert without(model, o=(0, [1, 2]))["o"] == (6, 5)


@pytest.mark.parametrize(
    "parting",
    [
        "q0, k0, v0 = Split <axis = 2> (packed, three)",
        "q0 = Slice (packed, n0, n6, two) k0 = Slice (packed, n6, n12, two)"
        " v0 = Slice (packed, n12, n18, two)",
    ],
)
def test_packed_projections_that_are_cut_apart_lose_heads(
    graph: Graph, without: Without, parting: str
) -> None:
    model = graph(f"""
        packed (float[N, 4, 5] x) => (float[N, 4, 5] y)
        <float[5, 18] qkv, float[18] b, float[6, 5] o, int64[3] three = {{6, 6, 6}},
         int64[1] n0 = {{0}}, int64[1] n6 = {{6}}, int64[1] n12 = {{12}}, int64[1] n18 = {{18}},
         int64[1] two = {{2}}, {_STORED}> {{
            plain = MatMul (x, qkv)
            packed = Add (plain, b)
            {parting}
            q1 = Reshape (q0, heads)
            k1 = Reshape (k0, heads)
            v1 = Reshape (v0, heads)
            qh = Transpose <perm = [0, 2, 1, 3]> (q1)
            kh = Transpose <perm = [0, 2, 1, 3]> (k1)
            vh = Transpose <perm = [0, 2, 1, 3]> (v1)
            {_ATTEND}
        }}""")
    left = without(model, o=(0, [0, 1]))
    assert (left["qkv"], left["b"], left["o"]) == ((5, 12), (12,), (4, 5))
    left = without(model, o=(0, [0, 1, 3, 5]))
    assert (left["qkv"], left["b"], left["o"]) == ((5, 10), (10,), (2, 5))


@pytest.mark.parametrize(
    "parting",
    [
        "a, b, c = Split <axis = 2> (p, ones) q1 = Squeeze (a, n2) k1 = Squeeze (b, n2)"
        " v1 = Squeeze (c, n2)",
        "q1 = Gather <axis = 2> (p, i0) k1 = Gather <axis = 2> (p, i1)"
        " v1 = Gather <axis = 2> (p, i2)",
        "t = Transpose <perm = [2, 0, 1, 3, 4]> (p) q1 = Gather (t, i0) k1 = Gather (t, i1)"
        " v1 = Gather (t, i2)",
    ],
)
def test_packed_projections_with_an_axis_for_the_three_lose_heads(
    graph: Graph, units: Units, without: Without, parting: str
) -> None:
    model = graph(f"""
        packed (float[N, 4, 5] x) => (float[N, 4, 5] y)
        <float[5, 18] qkv, float[6, 5] o, int64[5] parts = {{0, 0, 3, 3, 2}},
         int64[3] ones = {{1, 1, 1}}, int64[1] n2 = {{2}}, int64 i0 = {{0}}, int64 i1 = {{1}},
         int64 i2 = {{2}}, {_STORED}> {{
            packed = MatMul (x, qkv)
            p = Reshape (packed, parts)
            {parting}
            qh = Transpose <perm = [0, 2, 1, 3]> (q1)
            kh = Transpose <perm = [0, 2, 1, 3]> (k1)
            vh = Transpose <perm = [0, 2, 1, 3]> (v1)
            {_ATTEND}
        }}""")
    assert units(model)["qkv", 1] == [0, 0, 1, 1, 2, 2] * 3
    left = without(model, o=(0, [4, 5]))
    assert (left["qkv"], left["o"]) == ((5, 12), (4, 5))


def test_a_bias_of_attention_has_an_entry_a_head(graph: Graph, without: Without) -> None:
    """A table of biases by distance, as in a Swin transformer or in T5."""
    model = graph(f"""
        biased (float[N, 4, 5] x) => (float[N, 4, 5] y)
        <{_WEIGHTS}, {_STORED}, float[7, 3] table, int64[4, 4] distances> {{
            q0 = MatMul (x, q)
            k0 = MatMul (x, k)
            v0 = MatMul (x, v)
            q1 = Reshape (q0, heads)
            k1 = Reshape (k0, heads)
            v1 = Reshape (v0, heads)
            qh = Transpose <perm = [0, 2, 1, 3]> (q1)
            kp = Transpose <perm = [0, 2, 1, 3]> (k1)
            kh = Softplus (kp)
            vh = Transpose <perm = [0, 2, 1, 3]> (v1)
            far = Gather (table, distances)
            bias = Transpose <perm = [2, 0, 1]> (far)
            keys = Transpose <perm = [0, 1, 3, 2]> (kh)
            scores = MatMul (qh, keys)
            biased = Add (scores, bias)
            weights = Softmax (biased)
            mixed = MatMul (weights, vh)
            turned = Transpose <perm = [0, 2, 1, 3]> (mixed)
            flat = Reshape (turned, whole)
            y = MatMul (flat, o)
        }}""")
    for tensor in model.graph.initializer:
        if tensor.name == "distances":
            tensor.ClearField("raw_data")
            tensor.int64_data[:] = [abs(i - j) for i in range(4) for j in range(4)]
    left = without(model, o=(0, [0, 1]))
    assert (left["table"], left["q"], left["o"]) == ((7, 2), (5, 4), (4, 5))


def test_query_heads_that_share_a_key_go_with_it_or_place_by_place(
    graph: Graph, units: Units, without: Without
) -> None:
    """4 query heads of size 3 on 2 keys, which are expanded to as many."""
    model = graph("""
        grouped (float[N, 4, 5] x) => (float[N, 4, 5] y)
        <float[5, 12] q, float[5, 6] k, float[5, 6] v, float[12, 5] o,
         int64[4] qheads = {0, 0, 4, 3}, int64[4] kheads = {0, 0, 2, 3}, int64[1] two = {2},
         int64[5] each = {1, 2, 2, 4, 3}, int64[4] all = {-1, 4, 4, 3},
         int64[3] whole = {0, 0, 12}> {
            q0 = MatMul (x, q)
            k0 = MatMul (x, k)
            v0 = MatMul (x, v)
            q1 = Reshape (q0, qheads)
            k1 = Reshape (k0, kheads)
            v1 = Reshape (v0, kheads)
            qh = Transpose <perm = [0, 2, 1, 3]> (q1)
            k2 = Transpose <perm = [0, 2, 1, 3]> (k1)
            v2 = Transpose <perm = [0, 2, 1, 3]> (v1)
            k3 = Unsqueeze (k2, two)
            v3 = Unsqueeze (v2, two)
            k4 = Expand (k3, each)
            v4 = Expand (v3, each)
            kh = Reshape (k4, all)
            vh = Reshape (v4, all)
            keys = Transpose <perm = [0, 1, 3, 2]> (kh)
            scores = MatMul (qh, keys)
            weights = Softmax (scores)
            mixed = MatMul (weights, vh)
            turned = Transpose <perm = [0, 2, 1, 3]> (mixed)
            flat = Reshape (turned, whole)
            y = MatMul (flat, o)
        }""")
    left = without(model, o=(0, [0, 1, 2, 3, 4, 5]))
    assert [left[name] for name in "qkvo"] == [(5, 6), (5, 3), (5, 3), (6, 5)]
    left = without(model, o=(0, [0, 1, 2, 6, 7, 8]))
    assert [left[name] for name in "qkvo"] == [(5, 6), (5, 6), (5, 6), (6, 5)]
    left = without(model, o=(0, [2, 5, 8, 11]))
    assert [left[name] for name in "qkvo"] == [(5, 12), (5, 6), (5, 4), (8, 5)]


def test_turning_by_position_keeps_places_and_lets_heads_go(
    graph: Graph, units: Units, without: Without
) -> None:
    model = graph("""
        rotary (float[N, 4, 5] x) => (float[N, 4, 5] y)
        <float[5, 12] q, float[5, 12] k, float[5, 12] v, float[12, 5] o,
         int64[4] heads = {0, 0, 3, 4}, int64[3] whole = {0, 0, 12}, float[1, 1, 4, 4] cosine,
         float[1, 1, 4, 4] sine, int64[1] zero = {0}, int64[1] two = {2}, int64[1] end = {9},
         int64[1] last = {3}> {
            q0 = MatMul (x, q)
            k0 = MatMul (x, k)
            v0 = MatMul (x, v)
            q1 = Reshape (q0, heads)
            k1 = Reshape (k0, heads)
            v1 = Reshape (v0, heads)
            q2 = Transpose <perm = [0, 2, 1, 3]> (q1)
            kh = Transpose <perm = [0, 2, 3, 1]> (k1)
            vh = Transpose <perm = [0, 2, 1, 3]> (v1)
            left = Slice (q2, zero, two, last)
            right = Slice (q2, two, end, last)
            less = Neg (right)
            turned = Concat <axis = -1> (less, left)
            a = Mul (q2, cosine)
            b = Mul (turned, sine)
            qh = Add (a, b)
            scores = MatMul (qh, kh)
            weights = Softmax (scores)
            mixed = MatMul (weights, vh)
            back = Transpose <perm = [0, 2, 1, 3]> (mixed)
            flat = Reshape (back, whole)
            y = MatMul (flat, o)
        }""")
    assert units(model)["q", 1] == [0] * 4 + [1] * 4 + [2] * 4
    left = without(model, o=(0, [0, 1, 2, 3, 5, 9]))
    assert [left[name] for name in "qkvo"] == [(5, 8), (5, 8), (5, 6), (6, 5)]


@pytest.mark.parametrize("mask", ["", "1, 1, 4, 4", "4, 4", "3, 4, 4", "1, 3, 4, 4"])
def test_the_attention_operator_on_three_axes(graph: Graph, without: Without, mask: str) -> None:
    given, stored = (", mask", f", float[{mask}] mask") if mask else ("", "")
    model = graph(
        f"""
        attention (float[N, 4, 5] x) => (float[N, 4, 5] y) <{_WEIGHTS}{stored}> {{
            q0 = MatMul (x, q)
            k0 = MatMul (x, k)
            v0 = MatMul (x, v)
            a = Attention <q_num_heads = 3, kv_num_heads = 3, scale = 0.5> (q0, k0, v0{given})
            y = MatMul (a, o)
        }}""",
        opset=23,
    )
    left = without(model, o=(0, [2, 3, 1, 5]))
    assert [left[name] for name in "qkvo"] == [(5, 4), (5, 4), (5, 2), (2, 5)]
    if "3" in mask:
        assert left["mask"] == tuple(2 if n == "3" else int(n) for n in mask.split(", "))


def test_the_attention_operator_on_four_axes(graph: Graph, without: Without) -> None:
    model = graph(
        f"""
        attention (float[N, 4, 5] x) => (float[N, 4, 5] y) <{_WEIGHTS}, {_STORED}> {{
            q0 = MatMul (x, q)
            k0 = MatMul (x, k)
            v0 = MatMul (x, v)
            q1 = Reshape (q0, heads)
            k1 = Reshape (k0, heads)
            v1 = Reshape (v0, heads)
            qh = Transpose <perm = [0, 2, 1, 3]> (q1)
            kh = Transpose <perm = [0, 2, 1, 3]> (k1)
            vh = Transpose <perm = [0, 2, 1, 3]> (v1)
            a = Attention <is_causal = 1> (qh, kh, vh)
            turned = Transpose <perm = [0, 2, 1, 3]> (a)
            flat = Reshape (turned, whole)
            y = MatMul (flat, o)
        }}""",
        opset=23,
    )
    left = without(model, o=(0, [4, 5, 0, 2]))
    assert [left[name] for name in "qkvo"] == [(5, 4), (5, 4), (5, 2), (2, 5)]


@pytest.mark.parametrize(("kept", "each"), [(2, 2), (1, 3), (2, 1)])
def test_the_attention_operator_with_fewer_keys_than_queries(
    graph: Graph, without: Without, kept: int, each: int
) -> None:
    asked, size = kept * each, 2
    model = graph(
        f"""
        attention (float[N, 4, 5] x) => (float[N, 4, 5] y)
        <float[5, {asked * size}] q, float[5, {kept * size}] k, float[5, {kept * size}] v,
         float[{asked * size}, 5] o> {{
            q0 = MatMul (x, q)
            k0 = MatMul (x, k)
            v0 = MatMul (x, v)
            a = Attention <q_num_heads = {asked}, kv_num_heads = {kept}> (q0, k0, v0)
            y = MatMul (a, o)
        }}""",
        opset=23,
    )
    rows = range(asked * size)
    if each > 1:
        left = without(model, o=(0, [i for i in rows if i // size % each == 0]))
        assert (left["q"], left["k"]) == ((5, kept * (each - 1) * size), (5, kept * size))
    if kept > 1:
        left = without(model, o=(0, [i for i in rows if i // (size * each) == 1]))
        assert (left["q"], left["k"]) == ((5, each * size), (5, size))
    left = without(model, o=(0, [i for i in rows if i % size]))
    assert [left[name] for name in "qkv"] == [(5, asked * size), (5, kept * size), (5, kept)]


def test_the_rotary_operator_lets_heads_go(graph: Graph, without: Without) -> None:
    model = graph(
        f"""
        rotary (float[N, 4, 5] x) => (float[N, 4, 5] y)
        <{_WEIGHTS}, float[4, 1] cosine, float[4, 1] sine, int64[1, 4] positions> {{
            q0 = MatMul (x, q)
            k0 = MatMul (x, k)
            v0 = MatMul (x, v)
            c = Unsqueeze (cosine, zero)
            s = Unsqueeze (sine, zero)
            shape = Shape <end = 1> (x)
            one = Concat <axis = 0> (shape, places)
            many = Expand (c, one)
            more = Expand (s, one)
            q1 = RotaryEmbedding <num_heads = 3> (q0, many, more)
            k1 = RotaryEmbedding <num_heads = 3> (k0, many, more)
            a = Attention <q_num_heads = 3, kv_num_heads = 3> (q1, k1, v0)
            y = MatMul (a, o)
        }}""".replace("int64[1, 4] positions", "int64[1] zero = {0}, int64[2] places = {4, 1}"),
        opset=23,
    )
    left = without(model, o=(0, [2, 3, 1, 5]))
    assert [left[name] for name in "qkvo"] == [(5, 4), (5, 4), (5, 2), (2, 5)]


def test_heads_made_by_einsum_go_in_all_four_weights(
    graph: Graph, units: Units, without: Without
) -> None:
    model = graph("""
        keras (float[N, 4, 5] x) => (float[N, 4, 5] y)
        <float[5, 3, 2] q, float[3, 2] bias, float[5, 3, 2] k, float[5, 3, 2] v,
         float[3, 2, 5] o> {
            q0 = Einsum <equation = "abc,cde->abde"> (x, q)
            q1 = Add (q0, bias)
            k1 = Einsum <equation = "abc,cde->abde"> (x, k)
            v1 = Einsum <equation = "abc,cde->abde"> (x, v)
            scores = Einsum <equation = "aecd,abcd->acbe"> (k1, q1)
            weights = Softmax <axis = -1> (scores)
            mixed = Einsum <equation = "acbe,aecd->abcd"> (weights, v1)
            y = Einsum <equation = "abcd,cde->abe"> (mixed, o)
        }""")
    found = units(model)
    assert found["q", 1] == found["bias", 0] == found["k", 1] == found["o", 0] == [0, 1, 2]
    assert found["v", 2] == found["o", 1] == [3, 4]
    left = without(model, o=(0, [1]))
    assert [left[name] for name in ("q", "bias", "k", "v", "o")] == [
        *((5, 2, 2), (2, 2), (5, 2, 2), (5, 2, 2), (2, 2, 5))
    ]
    left = without(model, o=(1, [0]))
    assert (left["q"], left["v"], left["o"]) == ((5, 3, 2), (5, 3, 1), (3, 1, 5))


def test_one_entry_of_a_weight_with_two_summed_axes_reads_both_its_units(
    graph: Graph, without: Without
) -> None:
    model = graph("""
        pairs (float[N, 5] x) => (float[N, 4] y) <float[5, 3, 2] w, float[3, 2, 4] o> {
            h = Einsum <equation = "nc,cde->nde"> (x, w)
            y = Einsum <equation = "nde,def->nf"> (h, o)
        }""")
    for tensor in model.graph.initializer:
        if tensor.name == "o":
            tensor.ClearField("raw_data")
            tensor.float_data[:] = [0.0] * 24
            tensor.float_data[1 * 8 + 0 * 4] = tensor.float_data[2 * 8 + 1 * 4 + 1] = 1.0
    assert without(model) == {"w": (5, 2, 2), "o": (2, 2, 4)}
