"""Small graphs whose units are followed.

``graph``    a model from the text of its graph, at an opset; weights are drawn at random
``units``    units(model)["w", 0] are the units of the slices of w along axis 0, -1 for nobody; a
             list for each slice where several own it. An axis is left out where all of it stays
``without``  without(model, w=(0, [1, 2])) makes slices 1 and 2 of w along axis 0 zero, removes
             what is dead then, holds ONNX Runtime's outputs against those before, for two sizes
             of the free axes, and gives the shapes of all float tensors that are left
"""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import ModelProto, TensorProto

from tieshare.exports.prune import remove_dead_units
from tieshare.graph import structure_of, tensors, with_tensors

Make = Callable[[str], ModelProto]
Array = np.ndarray


def _units(model: ModelProto) -> dict[tuple[str, int], list[Any]]:
    return {
        (name, one.axis): one.ids[:, 0].tolist() if one.ids.shape[1] == 1 else one.ids.tolist()
        for name, axes in structure_of(model).entries.items()
        for one in axes
    }


def _without(model: ModelProto, **zeros: tuple[int, list[int]]) -> dict[str, tuple[int, ...]]:
    before = tensors(model)
    silent = {name: before[name].copy() for name in zeros}
    for name, (axis, slices) in zeros.items():
        np.moveaxis(silent[name], axis, 0)[slices] = 0
    model = with_tensors(model, silent)
    slim = remove_dead_units(model)
    onnx.checker.check_model(slim, full_check=True)
    for batch, other in ((2, 5), (3, 4)):
        fed = _fed(model, batch, other)
        for old, new in zip(_run(model, fed), _run(slim, fed), strict=True):
            assert old.shape == new.shape
            np.testing.assert_allclose(new, old, rtol=1e-4, atol=1e-5)
    return {name: array.shape for name, array in tensors(slim).items() if array.dtype.kind == "f"}


def _fed(model: ModelProto, batch: int, other: int) -> dict[str, Array]:
    """Floats, and small whole numbers that every table of the tests has."""
    rng = np.random.default_rng(0)
    fed: dict[str, Array] = {}
    for item in model.graph.input:
        dims = item.type.tensor_type.shape.dim
        shape = [dim.dim_value or (other if axis else batch) for axis, dim in enumerate(dims)]
        floats = item.type.tensor_type.elem_type == TensorProto.FLOAT
        drawn = rng.normal(size=shape) if floats else rng.integers(3, size=shape)
        dtype = onnx.helper.tensor_dtype_to_np_dtype(item.type.tensor_type.elem_type)
        fed[item.name] = drawn.astype(dtype)
    return fed


def _run(model: ModelProto, fed: Mapping[str, Array]) -> list[Array]:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(model.SerializeToString(), options)
    return [np.asarray(output) for output in session.run(None, dict(fed))]


@pytest.fixture(scope="session")
def graph(from_text: Make) -> Callable[..., ModelProto]:
    def make(text: str, opset: int = 20) -> ModelProto:
        return from_text(f'<ir_version: 10, opset_import: ["" : {opset}]> {text}')

    return make


@pytest.fixture(scope="session")
def units() -> Callable[[ModelProto], dict[tuple[str, int], list[Any]]]:
    return _units


@pytest.fixture(scope="session")
def without() -> Callable[..., dict[str, tuple[int, ...]]]:
    return _without
