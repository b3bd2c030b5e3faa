"""Arrays of every ONNX dtype as tensors and back."""

import numpy as np
import pytest
import torch
from onnx import TensorProto, helper

from tieshare.errors import UnsupportedModel
from tieshare.twin.dtypes import as_array, as_tensor, onnx_dtype, torch_dtype

NUMBERS = sorted(set(helper.get_all_tensor_dtypes()) - {TensorProto.STRING})
WIDER = ("INT2", "INT4", "UINT2", "UINT4", "FLOAT4E2M1", "FLOAT6E2M3", "FLOAT6E3M2")


@pytest.mark.parametrize("shape", [(), (4,), (2, 2)])
@pytest.mark.parametrize("elem_type", NUMBERS, ids=TensorProto.DataType.Name)
def test_every_dtype_of_numbers_passes_unchanged(elem_type: int, shape: tuple[int, ...]) -> None:
    dtype = helper.tensor_dtype_to_np_dtype(elem_type)
    array = np.resize([1, 0, 1, 2], shape).astype(np.float32).astype(dtype)
    if elem_type == TensorProto.FLOAT8E8M0:
        array[array == 0] = 4  # it has no zero
    tensor = as_tensor(array)
    assert tensor.dtype == torch_dtype(elem_type)
    assert tuple(tensor.shape) == shape
    back = as_array(tensor)
    assert back.shape == shape
    np.testing.assert_array_equal(back.astype(np.complex64), array.astype(np.complex64))
    if TensorProto.DataType.Name(elem_type) not in WIDER:
        assert back.dtype == dtype
        assert onnx_dtype(tensor.dtype) == elem_type


def test_a_tensor_is_a_copy_and_keeps_negative_strides_apart() -> None:
    array = np.arange(6, dtype=np.float32)[::-2]
    tensor = as_tensor(array)
    array[0] = 9
    assert tensor.tolist() == [5, 3, 1]


def test_a_parameter_has_an_array_too() -> None:
    assert as_array(torch.nn.Parameter(torch.ones(2))).tolist() == [1, 1]


def test_text_has_no_tensor() -> None:
    with pytest.raises(UnsupportedModel, match="text"):
        torch_dtype(TensorProto.STRING)
