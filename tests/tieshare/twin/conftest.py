"""Single nodes in the twin.

``agree``          agree(17, "y = Relu (x)", {"x": array}): the twin computes what ONNX Runtime does
``differentiate``  the same arguments: the gradients of float inputs are those of differences
"""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch
from numpy.typing import NDArray
from onnx import ModelProto
from torch import Tensor

from tieshare.twin import from_onnx

Array = NDArray[Any]
Arrays = Mapping[str, Array]
TYPES = {"float32": "float", "float64": "double", "int64": "int64", "bool": "bool"}


def _text(opset: int, nodes: str, inputs: Arrays, stored: str, outputs: str) -> str:
    given = ", ".join(f"{TYPES[a.dtype.name]}{list(a.shape)} {name}" for name, a in inputs.items())
    held = f"<{stored}>" if stored else ""
    return f"""<ir_version: 10, opset_import: ["" : {opset}]>
        nodes ({given}) => ({outputs}) {held} {{ {nodes} }}"""


@pytest.fixture(scope="session")
def agree(from_text: Callable[[str], ModelProto]) -> Callable[..., None]:
    """``stored``: tensors of the model, at random where they have no value."""

    def check(
        opset: int, nodes: str, inputs: Arrays, stored: str = "", outputs: str = "float[] y"
    ) -> None:
        model = from_text(_text(opset, nodes, inputs, stored, outputs))
        session = onnxruntime.InferenceSession(model.SerializeToString())
        expected = session.run(None, dict(inputs))
        with torch.no_grad():
            found = from_onnx(model)(*map(torch.from_numpy, inputs.values()))
        results = found if isinstance(found, tuple) else (found,)
        for result, wanted in zip(results, map(np.asarray, expected), strict=True):
            assert (result.shape, result.numpy().dtype) == (wanted.shape, wanted.dtype)
            np.testing.assert_allclose(result.numpy(), wanted, rtol=1e-4, atol=1e-5)

    return check


@pytest.fixture(scope="session")
def differentiate(from_text: Callable[[str], ModelProto]) -> Callable[..., None]:
    """In float64; outputs are floats. ``fixed``: an input that has no gradient."""

    def check(
        opset: int, nodes: str, inputs: Arrays, outputs: str = "float[] y", fixed: str = ""
    ) -> None:
        twin = from_onnx(from_text(_text(opset, nodes, inputs, "", outputs)))
        given: list[Tensor] = []
        for name, array in inputs.items():
            tensor = torch.from_numpy(array)
            if tensor.is_floating_point():
                tensor = tensor.double().requires_grad_(name != fixed)
            given.append(tensor)
        assert torch.autograd.gradcheck(twin, given)

    return check
