from collections.abc import Callable

import numpy as np
import onnx
import pytest
from onnx import ModelProto, numpy_helper, parser

from tieshare.measure import session

Array = np.ndarray


def _build(text: str, opset: int = 17, ir_version: int = 8, **arrays: Array) -> ModelProto:
    header = f'<ir_version: {ir_version}, opset_import: ["" : {opset}]>'
    model = parser.parse_model(f"{header} {text}")
    for name, array in arrays.items():
        model.graph.initializer.append(numpy_helper.from_array(array, name))
        if ir_version < 4:
            model.graph.input.append(
                onnx.helper.make_tensor_value_info(
                    name, onnx.helper.np_dtype_to_tensor_dtype(array.dtype), array.shape
                )
            )
    onnx.checker.check_model(model, full_check=True)
    return model


def _run(model: ModelProto, *inputs: Array) -> Array:
    running = session(model)
    names = [value.name for value in running.get_inputs()]
    fed = dict(zip(names, inputs, strict=True))
    return np.asarray(running.run(None, fed)[0])


@pytest.fixture
def build() -> Callable[..., ModelProto]:
    """A model from the text of its graph; every other argument is a stored tensor."""
    return _build


@pytest.fixture
def run() -> Callable[..., Array]:
    """The first output for these inputs, by ONNX Runtime."""
    return _run


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)
