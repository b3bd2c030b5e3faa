"""Lengths of axes that the graph computes, and numbers that count slices."""

from collections.abc import Callable
from typing import Any

import pytest
from onnx import ModelProto

Graph = Callable[..., ModelProto]
Units = Callable[[ModelProto], dict[tuple[str, int], list[Any]]]
Without = Callable[..., dict[str, tuple[int, ...]]]


_PLACES = "int64 zero = {0}, int64 one = {1}, int64 two = {2}, int64 three = {3}"


def _reshaped(size: str, more: str = "", target: str = "n, minus, size") -> str:
    """Units of w1 through a Reshape to (N, -1, size) and back, and to w2."""
    return f"""
        sizes (float[N, 3] x) => (float[N, 2] y)
        <float[3, 8] w1, float[8, 2] w2, int64[1] first = {{0}}, int64[1] minus = {{-1}},
         int64[1] four = {{4}}, int64 half = {{2}}, int64[1] eight = {{8}}, int64 one1 = {{1}},
         {_PLACES}{more}> {{
            a = MatMul (x, w1)
            shape = Shape (a)
            n0 = Gather (shape, zero)
            c0 = Gather (shape, one)
            n = Unsqueeze (n0, first)
            {size}
            target = Concat <axis = 0> ({target})
            p = Reshape (a, target)
            t = Tanh (p)
            back = Concat <axis = 0> (n, minus)
            f = Reshape (t, back)
            y = MatMul (f, w2)
        }}"""


@pytest.mark.parametrize(
    "size",
    [
        "size = Identity (four)",
        "s0 = Div (c0, half) size = Unsqueeze (s0, first)",
        "s0 = Div (c0, half) s1 = Cast <to = 7> (s0) size = Unsqueeze (s1, first)",
        "s0 = Add (c0, one) s1 = Div (s0, half) size = Unsqueeze (s1, first)",
        "s0 = Cast <to = 1> (c0) d = Cast <to = 1> (half) s1 = Div (s0, d) s2 = Floor (s1)"
        " s3 = Cast <to = 7> (s2) size = Unsqueeze (s3, first)",
    ],
)
def test_a_part_of_the_channels_follows_from_what_is_left(
    graph: Graph, units: Units, without: Without, size: str
) -> None:
    model = graph(_reshaped(size))
    assert units(model)["w1", 1] == [[i // 4, 2 + i % 4] for i in range(8)]
    assert without(model, w2=(0, [1, 5])) == {"w1": (3, 6), "w2": (6, 2)}
    assert without(model, w2=(0, [4, 5, 6, 7])) == {"w1": (3, 4), "w2": (4, 2)}


def test_a_length_in_whole_numbers_of_32_bits_is_followed_or_kept(
    graph: Graph, without: Without
) -> None:
    size = (
        "c1 = Cast <to = 6> (c0) h1 = Cast <to = 6> (half) s0 = Div (c1, h1)"
        " s1 = Cast <to = 7> (s0) size = Unsqueeze (s1, first)"
    )
    assert without(graph(_reshaped(size)), w2=(0, [1, 5]))["w1"] == (3, 6)


def test_the_whole_shape_of_another_value_says_how_long_axes_are(
    graph: Graph, units: Units, without: Without
) -> None:
    model = graph("""
        like (float[N, 3] x) => (float[N, 2] y)
        <float[3, 8] w1, float[3, 8] w2, int64[3] parts = {0, 2, 4}, float[8, 2] w3> {
            a = MatMul (x, w1)
            p = Reshape (a, parts)
            r = Relu (p)
            b = MatMul (x, w2)
            shape = Shape (b)
            f = Reshape (r, shape)
            s = Add (f, b)
            y = MatMul (s, w3)
        }""")
    assert without(model, w3=(0, [0, 1, 2, 3])) == {"w1": (3, 4), "w2": (3, 4), "w3": (4, 2)}


def test_a_product_of_lengths_is_that_of_what_is_left(graph: Graph, without: Without) -> None:
    model = graph(
        f"""
        flat (float[N, 1, H, W] x) => (float[N, 2] y)
        <float[4, 1, 3, 3] k, int64[1] first = {{0}}, {_PLACES}, float[4, 2] w> {{
            f = Conv (x, k)
            shape = Shape (f)
            n0 = Gather (shape, zero)
            c0 = Gather (shape, one)
            h0 = Gather (shape, two)
            w0 = Gather (shape, three)
            hw = Mul (h0, w0)
            n = Unsqueeze (n0, first)
            c = Unsqueeze (c0, first)
            p = Unsqueeze (hw, first)
            target = Concat <axis = 0> (n, c, p)
            flat = Reshape (f, target)
            last = ReduceMean <keepdims = 0> (flat, axis)
            y = MatMul (last, w)
        }}""".replace("float[4, 2] w>", "float[4, 2] w, int64[1] axis = {2}>")
    )
    assert without(model, w=(0, [0, 3])) == {"k": (2, 1, 3, 3), "w": (2, 2)}


def test_a_flatten_to_a_computed_number_of_features(graph: Graph, without: Without) -> None:
    model = graph("""
        flat (float[N, 1, 5, 5] x) => (float[N, 2] y)
        <float[4, 1, 3, 3] k, float[36, 2] w> {
            f = Conv (x, k)
            n = Shape <end = 1> (f)
            rest = Shape <start = 1> (f)
            features = ReduceProd <keepdims = 1> (rest)
            target = Concat <axis = 0> (n, features)
            flat = Reshape (f, target)
            y = MatMul (flat, w)
        }""")
    assert without(model, w=(0, list(range(9)))) == {"k": (3, 1, 3, 3), "w": (27, 2)}


@pytest.mark.parametrize("turned", [False, True])
def test_the_batch_times_the_heads_loses_heads(
    graph: Graph, units: Units, without: Without, turned: bool
) -> None:
    """(N, 6) becomes (3 N, 2), or (N, 3, 2) -> (3, N, 2) -> (3 N, 2)."""
    move = "Transpose <perm = [1, 0, 2]> (p)" if turned else "Identity (p)"
    back = "Transpose <perm = [1, 0, 2]> (q)" if turned else "Identity (q)"
    apart = "three, n, two" if turned else "n, three, two"
    model = graph(f"""
        heads (float[N, 3] x) => (float[N, 2] y)
        <float[3, 6] w1, int64[3] parts = {{0, 3, 2}}, int64[1] three = {{3}},
         int64[1] two = {{2}}, int64[1] minus = {{-1}}, int64[2] flat = {{0, 6}},
         float[6, 2] w2> {{
            a = MatMul (x, w1)
            n = Shape <end = 1> (x)
            p = Reshape (a, parts)
            m = {move}
            nh = Mul (n, three)
            target = Concat <axis = 0> (nh, minus)
            all = Reshape (m, target)
            r = Sigmoid (all)
            whole = Concat <axis = 0> ({apart})
            q = Reshape (r, whole)
            b = {back}
            f = Reshape (b, flat)
            y = MatMul (f, w2)
        }}""")
    assert units(model)["w2", 0] == [[i // 2, 3 + i % 2] for i in range(6)]
    assert without(model, w2=(0, [0, 1])) == {"w1": (3, 4), "w2": (4, 2)}


def test_halves_by_computed_bounds_lose_different_numbers_of_units(
    graph: Graph, without: Without
) -> None:
    model = graph("""
        chunk (float[N, 3] x) => (float[N, 2] y)
        <float[3, 8] w1, int64[1] axis = {1}, int64[1] start = {0}, int64[1] ones = {1},
         int64[1] halves = {2}, float[4, 2] w2, float[4, 2] w3> {
            a = MatMul (x, w1)
            shape = Shape (a)
            c = Gather (shape, axis)
            more = Add (c, ones)
            half = Div (more, halves)
            end = Mul (half, halves)
            u = Slice (a, start, half, axis)
            v = Slice (a, half, end, axis)
            p = MatMul (u, w2)
            q = MatMul (v, w3)
            y = Add (p, q)
        }""")
    left = without(model, w2=(0, [0]), w3=(0, [1, 2, 3]))
    assert left == {"w1": (3, 4), "w2": (3, 2), "w3": (1, 2)}
    assert without(model, w3=(0, [1, 2, 3])) == {"w1": (3, 5), "w2": (4, 2), "w3": (1, 2)}


def test_a_shape_that_two_reshapes_share_counts_what_both_have(
    graph: Graph, units: Units, without: Without
) -> None:
    text = """
        shared (float[N, 3] x) => (float[N, 2] y)
        <float[3, 8] w1, float[3, 8] w2, int64[3] parts = {{-1, 2, 4}}, int64[2] flat = {{-1, 8}},
         float[8, 2] w3> {{
            n = Shape <end = 1> (x)
            rest = Concat <axis = 0> (n, end)
            a = MatMul (x, w1)
            b = MatMul (x, w2)
            p = Reshape (a, target)
            q = Reshape (b, target)
            {}
        }}""".replace("int64[3] parts = {{-1, 2, 4}}", "int64[2] end = {{2, 4}}").replace(
        "rest =", "target ="
    )
    same = graph(text.format("s = Add (p, q) f = Reshape (s, flat) y = MatMul (f, w3)"))
    assert without(same, w3=(0, [0, 4])) == {"w1": (3, 6), "w2": (3, 6), "w3": (6, 2)}
    apart = "f = Reshape (p, flat) g = Reshape (q, flat) u = MatMul (f, w3) s = Softplus (g)"
    other = graph(text.format(f"{apart} v = MatMul (s, w3) y = Add (u, v)"))
    assert without(other, w3=(0, [0, 4]))["w1"] == (3, 6)


def test_a_number_that_counts_two_things_keeps_both(graph: Graph, units: Units) -> None:
    model = graph("""
        twice (float[N, 3] x) => (float[N, 2] y)
        <float[3, 8] w1, float[3, 8] w2, int64[2] end = {2, 4}, int64[2] flat = {-1, 8},
         float[8, 2] w3, float[8, 2] w4> {
            n = Shape <end = 1> (x)
            target = Concat <axis = 0> (n, end)
            a = MatMul (x, w1)
            b = MatMul (x, w2)
            p = Reshape (a, target)
            q = Reshape (b, target)
            f = Reshape (p, flat)
            g = Reshape (q, flat)
            u = MatMul (f, w3)
            v = MatMul (g, w4)
            y = Add (u, v)
        }""")
    assert units(model) == {}


def test_a_length_that_scales_values_keeps_the_units(graph: Graph, units: Units) -> None:
    model = graph("""
        scaled (float[N, 3] x) => (float[N, 2] y)
        <float[3, 8] w1, int64 one = {1}, float[8, 2] w2> {
            a = MatMul (x, w1)
            shape = Shape (a)
            c = Gather (shape, one)
            f = Cast <to = 1> (c)
            root = Sqrt (f)
            d = Div (a, root)
            y = MatMul (d, w2)
        }""")
    assert units(model) == {}


def test_zeros_as_wide_as_the_units_are_beside_them(graph: Graph, without: Without) -> None:
    model = graph("""
        zeros (float[N, 3] x) => (float[N, 2] y)
        <float[3, 8] w1, float[8, 2] w2> {
            a = MatMul (x, w1)
            shape = Shape (a)
            zeros = ConstantOfShape (shape)
            m = Max (a, zeros)
            y = MatMul (m, w2)
        }""")
    assert without(model, w2=(0, [1, 2])) == {"w1": (3, 6), "w2": (6, 2)}


def test_an_expand_to_a_shape_with_minus_ones_is_worked_out(
    graph: Graph, units: Units, without: Without
) -> None:
    """As torch writes expand(n, -1, -1): a 1 where the length is to stay."""
    model = graph("""
        token (float[N, 4, 3] x) => (float[N, 5, 2] y)
        <float[3, 6] w1, float[1, 1, 6] token, int64[2] keep = {-1, -1}, int64[1] three = {3},
         int64 minus = {-1}, float[6, 2] w2> {
            a = MatMul (x, w1)
            n = Shape <end = 1> (x)
            wanted = Concat <axis = 0> (n, keep)
            rank = Shape (wanted)
            ones = ConstantOfShape <value = int64[1] {1}> (rank)
            less = Mul (ones, minus)
            open = Equal (wanted, less)
            shape = Where (open, ones, wanted)
            t = Expand (token, shape)
            s = Concat <axis = 1> (t, a)
            y = MatMul (s, w2)
        }""")
    assert units(model)["token", 2] == units(model)["w1", 1]
    left = without(model, w2=(0, [5]))
    assert left == {"w1": (3, 5), "token": (1, 1, 5), "w2": (5, 2)}


def test_a_length_of_a_small_weight_is_a_length_and_no_constant(
    graph: Graph, units: Units, without: Without
) -> None:
    """It is the same for every input, but not when the weight is cut."""
    model = graph("""
        small (float[N, 3] x, float[N, 2, 4] u) => (float[N, 2] y)
        <float[3, 8] w1, float[8, 2] w2, float[3, 8] w3, float[8, 2] w4> {
            n = Shape <end = 1> (x)
            wide = Shape <start = 1> (w1)
            target = Concat <axis = 0> (n, wide)
            flat = Reshape (u, target)
            a = MatMul (x, w1)
            s = MatMul (flat, w2)
            t = MatMul (a, w4)
            y = Add (s, t)
        }""")
    assert units(model).keys() <= {("w3", 0), ("w3", 1)}
    model = graph("""
        small (float[N, 3] x) => (float[N, 2] y)
        <float[3, 8] w1, float[8, 2] w2, int64[3] parts = {0, 2, 4}> {
            n = Shape <end = 1> (x)
            wide = Shape <start = 1> (w1)
            target = Concat <axis = 0> (n, wide)
            a = MatMul (x, w1)
            p = Reshape (a, parts)
            r = Relu (p)
            flat = Reshape (r, target)
            y = MatMul (flat, w2)
        }""")
    assert without(model, w2=(0, [0, 4])) == {"w1": (3, 6), "w2": (6, 2)}
