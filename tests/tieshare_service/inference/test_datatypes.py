"""The table agrees with numpy, with ``array`` and with ONNX Runtime."""

from array import array

import numpy as np
import onnx
import onnxruntime
import pytest

from tieshare_service.inference.datatypes import (
    BOOL,
    BY_NAME,
    BY_ONNX,
    BYTES,
    FP16,
    TABLE,
    Datatype,
)


def test_names_are_unique() -> None:
    assert len(BY_NAME) == len(BY_ONNX) == len(TABLE) == 13


@pytest.mark.parametrize("datatype", TABLE, ids=lambda datatype: datatype.name)
def test_onnx_runtime_takes_and_gives_the_dtype(datatype: Datatype) -> None:
    kind = onnx.helper.np_dtype_to_tensor_dtype(datatype.dtype)
    value = onnx.helper.make_tensor_value_info("x", kind, [2])
    result = onnx.helper.make_tensor_value_info("y", kind, [2])
    node = onnx.helper.make_node("Identity", ["x"], ["y"])
    graph = onnx.helper.make_graph([node], "g", [value], [result])
    opset = [onnx.helper.make_opsetid("", 17)]
    model = onnx.helper.make_model(graph, opset_imports=opset, ir_version=9)
    session = onnxruntime.InferenceSession(model.SerializeToString())
    x = np.array(["a", "b"], dtype=object) if datatype is BYTES else np.ones(2, datatype.dtype)
    (y,) = session.run(None, {"x": x})
    assert session.get_inputs()[0].type == datatype.onnx
    assert y.dtype == datatype.dtype
    assert y.tolist() == x.tolist()


@pytest.mark.parametrize("datatype", TABLE, ids=lambda datatype: datatype.name)
def test_the_array_that_reads_json_numbers_has_the_dtypes_layout(datatype: Datatype) -> None:
    if datatype in (BYTES, BOOL, FP16):
        return
    assert np.dtype(datatype.typecode) == datatype.dtype
    assert array(datatype.typecode).itemsize == datatype.dtype.itemsize
