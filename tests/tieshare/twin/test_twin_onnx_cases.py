"""The cases that ONNX itself publishes for the operators that can be trained."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from onnx import ModelProto, numpy_helper
from onnx.backend.test.loader import load_model_tests

from tieshare.graph import OPERATORS
from tieshare.twin import from_onnx


def _store_later_inputs(
    model: ModelProto, inputs: Sequence[NDArray[Any]], settings: tuple[int, ...]
) -> list[torch.Tensor]:
    """Make initializers of all but the first float input; what is left is to be fed."""
    fed = []
    slots = list(model.graph.node[0].input)
    for item, array in zip(list(model.graph.input), inputs, strict=True):
        slot = slots.index(item.name)
        if slot in settings or (slot > 0 and array.dtype == np.float32):
            model.graph.initializer.append(numpy_helper.from_array(array, item.name))
            model.graph.input.remove(item)
        else:
            fed.append(torch.from_numpy(array.copy()))
    return fed


def _is_float(value: object) -> bool:
    return isinstance(value, np.ndarray | np.generic) and value.dtype == np.float32


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_the_cases_that_onnx_itself_publishes_for_these_operators_pass() -> None:
    """All with a float input and output; later inputs that are weights or options are stored."""
    passed = 0
    for case in load_model_tests(kind="node"):
        assert case.model is not None
        assert case.data_sets is not None
        model = ModelProto()
        model.CopyFrom(case.model)
        node = model.graph.node[0]
        name = f"{node.domain}.{node.op_type}" if node.domain else node.op_type
        if len(model.graph.node) > 1 or name not in OPERATORS or "training" in case.name:
            continue
        inputs, outputs = case.data_sets[0]
        if not inputs or not _is_float(inputs[0]) or not _is_float(outputs[0]):
            continue
        given = _store_later_inputs(model, inputs, OPERATORS[name].settings)
        result = from_onnx(model, [model.graph.output[0].name])(*given)
        assert isinstance(result, torch.Tensor)
        assert tuple(result.shape) == outputs[0].shape, case.name
        np.testing.assert_allclose(
            result.detach().numpy(), outputs[0], rtol=1e-3, atol=1e-5, err_msg=case.name
        )
        passed += 1
    assert passed >= 229
