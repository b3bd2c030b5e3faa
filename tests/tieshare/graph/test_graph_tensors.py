"""Arrays out of a model and back into the same graph."""

from collections.abc import Callable

import numpy as np
import pytest
from onnx import ModelProto

from tieshare.errors import UnsupportedModel
from tieshare.graph import tensors, with_tensors

Make = Callable[[str], ModelProto]


def test_initializers_and_constant_nodes_are_found_by_value_name(from_text: Make) -> None:
    model = from_text("""
        <ir_version: 8, opset_import: ["" : 17]>
        stored (float[2] x) => (float[2] y) <float[2] w = {1.5, 2.5}> {
            a = Constant <value = float[2] {3, 4}> ()
            b = Constant <value_floats = [5.0, 6.0]> ()
            c = Constant <value_int = 7> ()
            s = Sum (x, w, a, b)
            d = Cast <to = 1> (c)
            y = Add (s, d)
        }""")
    found = tensors(model)
    assert {name: array.tolist() for name, array in found.items()} == {
        "w": [1.5, 2.5],
        "a": [3, 4],
        "b": [5, 6],
        "c": 7,
    }
    assert found["c"].dtype == np.int64


def test_new_values_go_into_a_copy_with_everything_else_the_same(zoo: Make) -> None:
    for name in ("keras-cnn", "constant-nodes"):
        model = zoo(name)
        before = model.SerializeToString()
        doubled = {key: array * 2 for key, array in tensors(model).items() if array.dtype == "f4"}
        changed = with_tensors(model, doubled)
        assert model.SerializeToString() == before
        for key, array in tensors(changed).items():
            np.testing.assert_array_equal(array, doubled.get(key, tensors(model)[key]))
        back = with_tensors(changed, {key: array / 2 for key, array in doubled.items()})
        assert [node.output for node in back.graph.node] == [
            node.output for node in model.graph.node
        ]
        for key, array in tensors(model).items():
            np.testing.assert_array_equal(tensors(back)[key], array)


def test_new_values_take_the_stored_dtype(zoo: Make) -> None:
    changed = with_tensors(zoo("keras-mlp"), {"b2": np.array([0.1, 0.2, 0.3], np.float64)})
    assert tensors(changed)["b2"].dtype == np.float32


def test_a_plain_constant_becomes_a_tensor_of_the_same_values(from_text: Make) -> None:
    model = from_text("""
        <ir_version: 8, opset_import: ["" : 17]>
        plain (float[2] x) => (float[2] y) {
            b = Constant <value_floats = [5.0, 6.0]> ()
            y = Add (x, b)
        }""")
    changed = with_tensors(model, {"b": np.array([1, 2], np.float32)})
    assert tensors(changed)["b"].tolist() == [1, 2]


def test_another_shape_or_an_unknown_name_is_refused(zoo: Make) -> None:
    with pytest.raises(UnsupportedModel, match="b2"):
        with_tensors(zoo("keras-mlp"), {"b2": np.zeros(4, np.float32)})
    with pytest.raises(UnsupportedModel, match="nowhere"):
        with_tensors(zoo("keras-mlp"), {"nowhere": np.zeros(4, np.float32)})
