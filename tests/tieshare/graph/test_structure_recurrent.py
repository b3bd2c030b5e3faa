"""Recurrent cells: a hidden unit goes with its gates, its states and its peepholes."""

from collections.abc import Callable
from typing import Any

import pytest
from onnx import ModelProto

Graph = Callable[..., ModelProto]
Units = Callable[[ModelProto], dict[tuple[str, int], list[Any]]]
Without = Callable[..., dict[str, tuple[int, ...]]]


_GATES = {"LSTM": 4, "GRU": 3, "RNN": 1}


@pytest.mark.parametrize("cell", ["LSTM", "GRU", "RNN"])
@pytest.mark.parametrize("directions", [1, 2])
def test_a_hidden_unit_goes_with_its_gates_in_all_directions(
    graph: Graph, units: Units, without: Without, cell: str, directions: int
) -> None:
    gates, direction = _GATES[cell], ("forward", "bidirectional")[directions - 1]
    model = graph(f"""
        cell (int64[4, N] tokens) => (float[4, N, 2] y)
        <float[7, 5] table, float[{directions}, {gates * 3}, 5] w,
         float[{directions}, {gates * 3}, 3] r, float[{directions}, {gates * 6}] b,
         int64[3] flat = {{0, 0, -1}}, float[{directions * 3}, 2] head> {{
            e = Gather (table, tokens)
            h = {cell} <hidden_size = 3, direction = "{direction}"> (e, w, r, b)
            t = Transpose <perm = [0, 2, 1, 3]> (h)
            f = Reshape (t, flat)
            y = MatMul (f, head)
        }}""")
    found = units(model)
    assert found["table", 1] == found["w", 2] == [0, 1, 2, 3, 4]
    assert found["w", 1] == found["r", 1] == [5, 6, 7] * gates
    assert found["b", 1] == [5, 6, 7] * (2 * gates)
    assert found["r", 2] == [5, 6, 7]
    assert found["head", 0] == [5, 6, 7] * directions
    left = without(
        model, head=(0, [1 + 3 * d for d in range(directions)]), r=(2, [1]), w=(2, [0, 3])
    )
    assert left == {
        "table": (7, 3),
        "w": (directions, gates * 2, 3),
        "r": (directions, gates * 2, 2),
        "b": (directions, gates * 4),
        "head": (directions * 2, 2),
    }


def test_a_unit_that_only_other_states_read_stays(graph: Graph, without: Without) -> None:
    model = graph("""
        cell (float[4, N, 5] x) => (float[1, N, 2] y)
        <float[1, 9, 5] w, float[1, 9, 3] r, float[3, 2] head> {
            h, last = GRU <hidden_size = 3> (x, w, r)
            y = MatMul (last, head)
        }""")
    assert without(model, head=(0, [1]))["r"] == (1, 9, 3)
    assert without(model, head=(0, [1]), r=(2, [1]))["r"] == (1, 6, 2)


def test_two_layers_of_cells_with_peepholes_and_stored_states(
    graph: Graph, units: Units, without: Without
) -> None:
    model = graph("""
        cells (float[4, 2, 5] x) => (float[2, 2] y)
        <float[1, 12, 5] w1, float[1, 12, 3] r1, float[1, 24] b1, float[1, 2, 3] h1,
         float[1, 2, 3] c1, float[1, 9] p1, float[1, 16, 3] w2, float[1, 16, 4] r2,
         int64[1] one = {1}, int64[1] zero = {0}, float[4, 2] head> {
            a = LSTM <hidden_size = 3> (x, w1, r1, b1, , h1, c1, p1)
            s = Squeeze (a, one)
            b, last, cell = LSTM <hidden_size = 4> (s, w2, r2)
            m = Mul (last, cell)
            z = Squeeze (m, zero)
            y = MatMul (z, head)
        }""")
    found = units(model)
    assert found["w1", 1] == [0, 1, 2] * 4
    assert found["p1", 1] == [0, 1, 2] * 3
    assert found["h1", 2] == found["c1", 2] == found["w2", 2] == [0, 1, 2]
    left = without(model, w2=(2, [0]), r1=(2, [0]), head=(0, [2, 3]), r2=(2, [3]))
    assert left["h1"] == left["c1"] == (1, 2, 2)
    assert left["b1"] == (1, 16)
    assert left["p1"] == (1, 6)
    assert (left["w2"], left["r2"], left["head"]) == ((1, 12, 2), (1, 12, 3), (3, 2))


@pytest.mark.parametrize("hidden", ["h", "n"])
def test_computed_initial_states_are_as_wide_as_the_cell(
    graph: Graph, without: Without, hidden: str
) -> None:
    """Zeros of a shape with the batch in it; the width is written down or a length."""
    width = {"h": "hidden", "n": "counted"}[hidden]
    model = graph(f"""
        cell (float[4, N, 5] x) => (float[1, N, 2] y)
        <float[1, 12, 5] w, float[1, 12, 3] r, float[3, 2] head, int64[1] hidden = {{3}},
         int64[1] one = {{1}}, int64 third = {{1}}> {{
            shape = Shape (x)
            batch = Gather (shape, one)
            counted = Shape <start = 2> (r)
            states = Concat <axis = 0> (one, batch, {width})
            zeros = ConstantOfShape (states)
            h, last = LSTM <hidden_size = 3> (x, w, r, , , zeros, zeros)
            y = MatMul (last, head)
        }}""")
    assert without(model, head=(0, [0]), r=(2, [0])) == {
        "w": (1, 8, 5),
        "r": (1, 8, 2),
        "head": (2, 2),
    }


def test_states_that_are_inputs_of_the_graph_keep_the_units(graph: Graph, units: Units) -> None:
    model = graph("""
        cell (float[4, N, 5] x, float[1, N, 3] h0) => (float[1, N, 2] y)
        <float[1, 9, 5] w, float[1, 9, 3] r, float[3, 2] head> {
            h, last = GRU <hidden_size = 3> (x, w, r, , , h0)
            y = MatMul (last, head)
        }""")
    assert units(model) == {}


def test_batch_first_has_the_units_last_all_the_same(graph: Graph, units: Units) -> None:
    model = graph("""
        cell (float[N, 4, 5] x) => (float[N, 4, 2] y)
        <float[1, 3, 5] w, float[1, 3, 3] r, float[3, 2] head, int64[1] two = {2}> {
            h = RNN <hidden_size = 3, layout = 1> (x, w, r)
            s = Squeeze (h, two)
            y = MatMul (s, head)
        }""")
    assert units(model)["head", 0] == units(model)["r", 2] == [0, 1, 2]
