"""One stored tensor in the fewest bytes."""

import numpy as np
from onnx import TensorProto, numpy_helper

from tieshare.graph.tensors import Array


def stored(array: Array, name: str) -> TensorProto:
    """The array under its own type."""
    return smallest(numpy_helper.from_array(np.asarray(array, order="C"), name))


def four_bit(array: Array, name: str) -> TensorProto:
    """Whole numbers of four bits, two to a byte, the first in the low half.

    Of type INT4 where the array is signed (-8 to 7), else UINT4 (0 to 15).
    """
    signed = np.issubdtype(array.dtype, np.signedinteger)
    return TensorProto(
        name=name,
        data_type=TensorProto.INT4 if signed else TensorProto.UINT4,
        dims=array.shape,
        raw_data=in_pairs(array).tobytes(),
    )


def in_pairs(array: Array) -> Array:
    """(ceil(n / 2),) bytes of the n low halves, an odd one followed by zero."""
    halves = array.reshape(-1).astype(np.uint8) & 15
    padded = np.append(halves, np.zeros(halves.size % 2, np.uint8))
    pairs: Array = padded[::2] | padded[1::2] << 4
    return pairs


def smallest(tensor: TensorProto) -> TensorProto:
    """The same tensor, int64 as protobuf's variable-length integers where these are shorter.

    A whole number below 128 then takes one byte in place of eight.
    """
    if tensor.data_type != TensorProto.INT64:
        return tensor
    values = numpy_helper.to_array(tensor).reshape(-1).tolist()
    short = TensorProto(name=tensor.name, data_type=TensorProto.INT64, dims=tensor.dims)
    short.int64_data.extend(values)
    return short if short.ByteSize() < tensor.ByteSize() else tensor
