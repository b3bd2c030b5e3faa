"""How far an input's integers may go, from the tables that they are looked up in."""

from collections.abc import Callable

import pytest
from onnx import ModelProto

from tieshare.graph import describe
from tieshare.graph.tables import tables_of
from tieshare.graph.view import view

Make = Callable[[str], ModelProto]


def tables(from_text: Make, nodes: str, inputs: str = "int64[N, T] ids") -> dict[str, int]:
    model = from_text(f"""
        <ir_version: 8, opset_import: ["" : 17]>
        g ({inputs}) => (float[N, T, 4] y) <float[10, 4] words, float[5, 4] places,
            float[4, 6] across, int64[2] flat = {{0, -1}}, int64 one = {{1}}, int64[1] axis = {{1}}>
        {{ {nodes} }}""")
    return tables_of(view(model))


@pytest.mark.parametrize(
    ("nodes", "length"),
    [
        ("y = Gather (words, ids)", 10),
        ("y = Gather <axis = 1> (across, ids)", 6),
        ("i = Cast <to = 6> (ids) r = Reshape (i, flat) y = Gather (words, r)", 10),
        ("i = Identity (ids) u = Unsqueeze (i, axis) y = Gather (words, u)", 10),
        ("a = Gather (words, ids) b = Gather (places, ids) y = Add (a, b)", 5),
    ],
)
def test_the_shortest_table_that_the_numbers_reach_unchanged(
    from_text: Make, nodes: str, length: int
) -> None:
    assert tables(from_text, nodes) == {"ids": length}


@pytest.mark.parametrize(
    "nodes",
    [
        "i = Sub (ids, one) y = Gather (words, i)",
        "f = Cast <to = 1> (ids) y = Gather (f, ids)",
        "y = Cast <to = 1> (ids)",
    ],
)
def test_numbers_that_are_computed_with_or_look_up_no_stored_tensor_may_be_any(
    from_text: Make, nodes: str
) -> None:
    assert tables(from_text, nodes) == {}


def test_each_input_has_its_own_table(from_text: Make) -> None:
    nodes = "a = Gather (words, ids) b = Gather (places, at) c = Add (a, b) y = Mul (c, scale)"
    inputs = "int64[N, T] ids, int64[N, T] at, float[N, 1, 1] scale"
    assert tables(from_text, nodes, inputs) == {"ids": 10, "at": 5}


def test_the_card_of_a_model_has_the_tables(from_text: Make) -> None:
    model = from_text("""
        <ir_version: 8, opset_import: ["" : 17]>
        g (int64[N, T] ids) => (float[N, T, 3] y) <float[10, 4] words, float[4, 3] w> {
            e = Gather (words, ids)
            y = MatMul (e, w)
        }""")
    assert describe(model).tables == {"ids": 10}
