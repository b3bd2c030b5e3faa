"""The dtypes of ONNX, numpy and torch, which mostly go by the same names."""

from collections.abc import Mapping

import numpy as np
import torch
from onnx import helper
from torch import Tensor

from tieshare.errors import UnsupportedModel
from tieshare.graph.tensors import Array

# What torch lacks is kept in a dtype that holds all of its values,
_WIDER: Mapping[str, str] = {
    "float4_e2m1fn": "float32",
    "float6_e2m3fn": "float32",
    "float6_e3m2fn": "float32",
    "int2": "int8",
    "int4": "int8",
    "uint2": "uint8",
    "uint4": "uint8",
}
# and what numpy itself lacks passes between the two as bits.
_BITS: Mapping[str, str] = {
    "bfloat16": "int16",
    "float8_e4m3fn": "uint8",
    "float8_e4m3fnuz": "uint8",
    "float8_e5m2": "uint8",
    "float8_e5m2fnuz": "uint8",
    "float8_e8m0fnu": "uint8",
}
_ARRAY_DTYPES = {
    dtype.name: dtype
    for dtype in map(helper.tensor_dtype_to_np_dtype, helper.get_all_tensor_dtypes())
}


def torch_dtype(elem_type: int) -> torch.dtype:
    """The torch dtype that holds an ONNX element type. UnsupportedModel: it is text."""
    dtype = helper.tensor_dtype_to_np_dtype(elem_type)
    if dtype == np.object_:
        raise UnsupportedModel("there is no arithmetic on text")
    return _torch(_WIDER.get(dtype.name, dtype.name))


def onnx_dtype(dtype: torch.dtype) -> int:
    """The ONNX element type of the same name."""
    return helper.np_dtype_to_tensor_dtype(_ARRAY_DTYPES[_name(dtype)])


def as_tensor(array: Array) -> Tensor:
    """A copy of the array."""
    copy = np.array(array, order="C")
    name = copy.dtype.name
    if name in _BITS:
        return torch.from_numpy(copy.view(_BITS[name])).view(_torch(name))
    return torch.from_numpy(copy.astype(_WIDER.get(name, copy.dtype), copy=False))


def as_array(tensor: Tensor) -> Array:
    """The values of the tensor."""
    held = tensor.detach().cpu()
    name = _name(held.dtype)
    if name in _BITS:
        bits: Array = held.view(_torch(_BITS[name])).numpy()
        return bits.view(_ARRAY_DTYPES[name])
    array: Array = held.numpy()
    return array


def _torch(name: str) -> torch.dtype:
    dtype: torch.dtype = getattr(torch, name)
    return dtype


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")
