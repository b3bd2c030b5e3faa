"""Values side by side, and pieces of values."""

from collections.abc import Callable
from typing import Any

import pytest
from onnx import ModelProto

Graph = Callable[..., ModelProto]
Units = Callable[[ModelProto], dict[tuple[str, int], list[Any]]]
Without = Callable[..., dict[str, tuple[int, ...]]]


def test_units_lie_side_by_side_in_a_concat(graph: Graph, units: Units, without: Without) -> None:
    model = graph("""
        dense (float[N, 2, 4, 4] x) => (float[N, 2, 2, 2] y)
        <float[3, 2, 3, 3] k1, float[4, 2, 3, 3] k2, float[2, 7, 1, 1] k3> {
            a = Conv (x, k1)
            b = Conv (x, k2)
            c = Concat <axis = 1> (a, b)
            y = Conv (c, k3)
        }""")
    assert units(model)["k3", 1] == [0, 1, 2, 3, 4, 5, 6]
    left = without(model, k3=(1, [0, 4, 5]))
    assert left == {"k1": (2, 2, 3, 3), "k2": (2, 2, 3, 3), "k3": (2, 4, 1, 1)}


def test_a_concat_of_what_was_read_and_what_was_made_keeps_growing(
    graph: Graph, units: Units, without: Without
) -> None:
    model = graph("""
        densenet (float[N, 2, 4, 4] x) => (float[N, 2, 4, 4] y)
        <float[3, 2, 1, 1] k1, float[2, 3, 1, 1] k2, float[2, 5, 1, 1] k3, float[7] scale,
         float[7] shift, float[7] mean, float[7] var, float[2, 7, 1, 1] k4> {
            a = Conv (x, k1)
            b = Conv (a, k2)
            ab = Concat <axis = 1> (a, b)
            c = Conv (ab, k3)
            abc = Concat <axis = -3> (ab, c)
            n = BatchNormalization (abc, scale, shift, mean, var)
            y = Conv (n, k4)
        }""")
    found = units(model)
    assert found["k2", 1] == [0, 1, 2]
    assert found["k3", 1] == [0, 1, 2, 3, 4]
    assert found["scale", 0] == found["k4", 1] == [0, 1, 2, 3, 4, 5, 6]
    left = without(model, k4=(1, [0, 3, 6]), k3=(1, [0, 3]), k2=(1, [0]))
    assert left["k1"] == (2, 2, 1, 1)
    assert left["k2"] == (1, 2, 1, 1)
    assert left["k3"] == (1, 3, 1, 1)
    assert left["k4"] == (2, 4, 1, 1)


def test_beside_an_input_of_the_graph_the_others_units_may_go(
    graph: Graph, units: Units, without: Without
) -> None:
    model = graph("""
        beside (float[N, 2] x) => (float[N, 3] y) <float[2, 4] w1, float[6, 3] w2> {
            h = MatMul (x, w1)
            c = Concat <axis = 1> (x, h)
            y = MatMul (c, w2)
        }""")
    assert units(model)["w2", 0] == [-1, -1, 0, 1, 2, 3]
    assert without(model, w2=(0, [0, 3])) == {"w1": (2, 3), "w2": (5, 3)}


def test_along_other_axes_the_parts_of_a_concat_have_the_same_units(
    graph: Graph, units: Units, without: Without
) -> None:
    model = graph("""
        time (int64[N, T] a, int64[N, U] b) => (float[N, V, 2] y)
        <float[5, 4] table1, float[6, 4] table2, float[4, 2] w> {
            u = Gather (table1, a)
            v = Gather (table2, b)
            c = Concat <axis = 1> (u, v)
            y = MatMul (c, w)
        }""")
    assert units(model)["table1", 1] == units(model)["table2", 1] == [0, 1, 2, 3]
    left = without(model, w=(0, [1]))
    assert left == {"table1": (5, 3), "table2": (6, 3), "w": (3, 2)}


@pytest.mark.parametrize("opset", [11, 13, 18])
def test_pieces_of_a_split_lose_different_numbers_of_units(
    graph: Graph, without: Without, opset: int
) -> None:
    given = "<axis = 1, num_outputs = 2> (h)" if opset == 18 else "<axis = 1> (h)"
    model = graph(
        f"""
        split (float[N, 3] x) => (float[N, 2] y)
        <float[3, 8] w1, float[4, 2] w2, float[4, 2] w3> {{
            h = MatMul (x, w1)
            a, b = Split {given}
            u = MatMul (a, w2)
            v = MatMul (b, w3)
            y = Add (u, v)
        }}""",
        opset,
    )
    assert without(model, w2=(0, [0]), w3=(0, [0, 1, 3])) == {
        "w1": (3, 4),
        "w2": (3, 2),
        "w3": (1, 2),
    }


@pytest.mark.parametrize("opset", [11, 20])
def test_the_written_lengths_of_a_split_are_counted_anew(
    graph: Graph, without: Without, opset: int
) -> None:
    nodes, stored = {
        11: ("a, b = Split <axis = -1, split = [2, 6]> (h)", ""),
        20: ("a, b = Split <axis = -1> (h, sizes)", ", int64[2] sizes = {2, 6}"),
    }[opset]
    model = graph(
        f"""
        split (float[N, 3] x) => (float[N, 2] y)
        <float[3, 8] w1, float[2, 2] w2, float[6, 2] w3{stored}> {{
            h = MatMul (x, w1)
            {nodes}
            u = MatMul (a, w2)
            v = MatMul (b, w3)
            y = Add (u, v)
        }}""",
        opset,
    )
    assert without(model, w3=(0, [0, 5])) == {"w1": (3, 6), "w2": (2, 2), "w3": (4, 2)}


def test_a_piece_that_nobody_reads_keeps_one_unit(graph: Graph, without: Without) -> None:
    model = graph("""
        split (float[N, 3] x) => (float[N, 2] y)
        <float[3, 8] w1, float[8, 2] w2, int64[2] sizes = {3, 5}> {
            h = MatMul (x, w1)
            a, b = Split <axis = 1> (h, sizes)
            r = Relu (b)
            c = Concat <axis = 1> (r, a)
            y = MatMul (c, w2)
        }""")
    assert without(model, w2=(0, [0, 1, 2, 3, 4])) == {"w1": (3, 4), "w2": (4, 2)}


@pytest.mark.parametrize(
    ("start", "end", "left"), [(2, 5, 6), (-6, -3, 6), (0, 3, 6), (5, 99, 6), (-8, -5, 6)]
)
@pytest.mark.parametrize("opset", [9, 13])
def test_the_bounds_of_a_slice_are_counted_anew(
    graph: Graph, without: Without, start: int, end: int, left: int, opset: int
) -> None:
    nodes, stored = {
        9: (f"s = Slice <axes = [1], starts = [{start}], ends = [{end}]> (h)", ""),
        13: (
            "s = Slice (h, start, end, one)",
            f", int64[1] start = {{{start}}}, int64[1] end = {{{end}}}, int64[1] one = {{1}}",
        ),
    }[opset]
    model = graph(
        f"""
        slice (float[N, 3] x) => (float[N, 2] y)
        <float[3, 8] w1, float[3, 2] w2, float[8, 2] w3{stored}> {{
            h = MatMul (x, w1)
            {nodes}
            u = MatMul (s, w2)
            v = MatMul (h, w3)
            y = Add (u, v)
        }}""",
        opset,
    )
    unread = [2, 3, 4, 5, 6]
    first = start + 8 if start < 0 else start
    silent = [i - first for i in unread if first <= i < first + 3][:2]
    shapes = without(model, w2=(0, silent), w3=(0, unread))
    assert shapes["w2"] == (3 - len(silent), 2)
    gone = sum(not (first <= i < first + 3) or (i - first) in silent for i in unread)
    assert shapes["w1"] == (3, 8 - gone)


def test_what_a_slice_leaves_out_goes_where_nobody_else_reads_it(
    graph: Graph, without: Without
) -> None:
    model = graph("""
        slice (float[N, 3] x) => (float[N, 2] y)
        <float[3, 8] w1, float[6, 2] w2, int64[1] start = {0}, int64[1] end = {-2},
         int64[1] one = {1}> {
            h = MatMul (x, w1)
            s = Slice (h, start, end, one)
            y = MatMul (s, w2)
        }""")
    assert without(model, w2=(0, [])) == {"w1": (3, 6), "w2": (6, 2)}


@pytest.mark.parametrize("numbers", ["0, 2, 5, 2", "-1, -3, 1, 0"])
def test_numbers_that_pick_units_are_renumbered(
    graph: Graph, units: Units, without: Without, numbers: str
) -> None:
    model = graph(f"""
        pick (float[N, 3] x) => (float[N, 2] y)
        <float[3, 6] w1, int64[4] numbers = {{{numbers}}}, float[4, 2] w2> {{
            h = MatMul (x, w1)
            g = Gather <axis = 1> (h, numbers)
            y = MatMul (g, w2)
        }}""")
    picked = [int(number) % 6 for number in numbers.split(",")]
    assert units(model)["w2", 0] == picked
    assert without(model, w2=(0, [0])) == {"w1": (3, len(set(picked[1:]))), "w2": (3, 2)}


@pytest.mark.parametrize("number", [3, -3])
def test_the_unit_that_one_number_picks_stays_and_others_go(
    graph: Graph, units: Units, without: Without, number: int
) -> None:
    model = graph(f"""
        pick (float[N, 3] x) => (float[N, 2] y)
        <float[3, 6] w1, int64 number = {{{number}}}, float[6, 2] w2, int64[1] one = {{1}}> {{
            h = MatMul (x, w1)
            g = Gather <axis = 1> (h, number)
            e = Unsqueeze (g, one)
            z = MatMul (h, w2)
            y = Add (z, e)
        }}""")
    assert units(model)["w1", 1] == [0, 1, 2, -1, 3, 4]
    assert without(model, w2=(0, [0, 1, 3, 5])) == {"w1": (3, 3), "w2": (3, 2)}


def test_padding_beside_the_picture_belongs_to_its_channel(graph: Graph, units: Units) -> None:
    model = graph("""
        pad (float[N, 1, 3, 3] x) => (float[N, 2] y)
        <float[2, 1, 3, 3] k, int64[8] pads = {0, 0, 0, 1, 0, 0, 0, 0}, float[4, 2] w> {
            f = Conv (x, k)
            p = Pad (f, pads)
            flat = Flatten (p)
            y = MatMul (flat, w)
        }""")
    assert units(model)["w", 0] == [0, 0, 1, 1]


@pytest.mark.parametrize("opset", [10, 18])
def test_padding_beside_the_channels_belongs_to_nobody(
    graph: Graph, units: Units, without: Without, opset: int
) -> None:
    nodes, stored = {
        10: ("p = Pad <pads = [0, 1, 0, 0, 0, 2, 0, 0], value = 3.0> (f)", ""),
        18: (
            "p = Pad (f, pads, three, axes)",
            ", int64[2] pads = {1, 2}, int64[1] axes = {-3}, float three = {3.0}",
        ),
    }[opset]
    model = graph(
        f"""
        pad (float[N, 1, 3, 3] x) => (float[N, 2] y)
        <float[2, 1, 3, 3] k, float[5, 2] w{stored}> {{
            f = Conv (x, k)
            {nodes}
            flat = Flatten (p)
            y = MatMul (flat, w)
        }}""",
        opset,
    )
    assert units(model)["w", 0] == [-1, 0, 1, -1, -1]
    assert without(model, w=(0, [1]))["w"] == (4, 2)


def test_a_tile_repeats_the_units(graph: Graph, units: Units, without: Without) -> None:
    model = graph("""
        tile (float[N, 3] x) => (float[N, 2] y)
        <float[3, 4] w1, int64[2] twice = {1, 2}, float[8, 2] w2> {
            h = MatMul (x, w1)
            t = Tile (h, twice)
            y = MatMul (t, w2)
        }""")
    assert units(model)["w2", 0] == [0, 1, 2, 3, 0, 1, 2, 3]
    assert without(model, w2=(0, [0, 1, 4, 6])) == {"w1": (3, 3), "w2": (6, 2)}
