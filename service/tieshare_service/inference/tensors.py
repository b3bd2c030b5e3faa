"""Protocol tensors to numpy arrays and back."""

import struct
from array import array
from itertools import chain
from math import prod
from typing import Any

import numpy as np

from tieshare_service.inference.datatypes import BOOL, BYTES, FP16, Datatype
from tieshare_service.inference.errors import BadTensor
from tieshare_service.inference.types import Array, Data, TensorSpec

_LENGTH = struct.Struct("<I")


def to_array(tensor: TensorSpec, data: Data) -> Array:
    """The array of one input, of the tensor's shape; bytes are not copied where aligned.

    JSON true and false count as 1 and 0. Raises BadTensor naming the input where the data is not
    of its datatype or not as many elements as its shape.
    """
    if isinstance(data, np.ndarray):
        flat = _from_numbers(tensor, data)
    else:
        flat = _from_json(tensor, data) if isinstance(data, list) else _from_bytes(tensor, data)
    return flat.reshape(tensor.shape)


def to_json(values: Array, datatype: Datatype) -> Array | list[str]:
    """What orjson writes as the flat row-major ``data`` of a tensor."""
    flat = values.ravel()
    return flat.tolist() if datatype is BYTES else flat


def to_bytes(values: Array, datatype: Datatype) -> bytes:
    """Row-major little-endian bytes; a string is its UTF-8 bytes behind a 4-byte length."""
    if datatype is not BYTES:
        return values.tobytes()
    pieces: list[bytes] = []
    for text in values.ravel():
        piece = text.encode()
        pieces += (_LENGTH.pack(len(piece)), piece)
    return b"".join(pieces)


def _from_numbers(tensor: TensorSpec, numbers: Array) -> Array:
    if len(numbers) != prod(tensor.shape):
        raise _wrong_size(tensor, f"{len(numbers)} elements")
    dtype = tensor.datatype.dtype
    if dtype == numbers.dtype:
        return numbers
    if dtype.kind == "f":
        with np.errstate(over="ignore"):
            flat: Array = numbers.astype(dtype)
        in_range = bool(np.isfinite(flat).all())
    else:
        flat = numbers.astype(dtype)
        in_range = np.array_equal(flat, numbers)
    if not in_range:
        raise _wrong_data(tensor, "an element is out of range")
    return flat


def _from_json(tensor: TensorSpec, data: list[Any]) -> Array:
    datatype = tensor.datatype
    if data and type(data[0]) is list:
        data = _flattened(tensor, data)
    if len(data) != prod(tensor.shape):
        raise _wrong_size(tensor, f"{len(data)} elements")
    if datatype is BYTES:
        if not all(type(text) is str for text in data):
            raise _wrong_data(tensor, "an element is not a string")
        return np.array(data, dtype=object)
    try:
        numbers = array(datatype.typecode, data)
    except TypeError:
        raise _wrong_data(tensor, "an element is of another type") from None
    except OverflowError:
        raise _wrong_data(tensor, "an element is out of range") from None
    flat: Array = np.frombuffer(numbers, dtype=datatype.typecode)
    if datatype is BOOL:
        return _as_bool(tensor, flat)
    if datatype is FP16:
        with np.errstate(over="ignore"):
            flat = flat.astype(np.float16)
    # JSON has no infinity: one here is a number beyond the datatype's range
    if datatype.dtype.kind == "f" and not np.isfinite(flat).all():
        raise _wrong_data(tensor, "an element is out of range")
    return flat


def _flattened(tensor: TensorSpec, data: list[Any]) -> list[Any]:
    """Nested lists must have the tensor's shape exactly."""
    level = [data]
    for size in tensor.shape:
        if not all(type(inner) is list and len(inner) == size for inner in level):
            raise _wrong_data(tensor, "the nested lists do not have this shape")
        level = list(chain.from_iterable(level))
    return level


def _from_bytes(tensor: TensorSpec, data: memoryview) -> Array:
    if tensor.datatype is BYTES:
        return _strings(tensor, data)
    needed = prod(tensor.shape) * tensor.datatype.dtype.itemsize
    if len(data) != needed:
        raise _wrong_size(tensor, f"{len(data)} bytes", f" ({needed} bytes)")
    if tensor.datatype is BOOL:
        return _as_bool(tensor, np.frombuffer(data, dtype=np.uint8))
    flat: Array = np.frombuffer(data, dtype=tensor.datatype.dtype)
    return flat if flat.flags.aligned else flat.copy()


def _strings(tensor: TensorSpec, data: memoryview) -> Array:
    texts: list[str] = []
    at = 0
    while at < len(data):
        if len(data) - at < _LENGTH.size:
            raise _wrong_data(tensor, "the last length is cut off")
        (length,) = _LENGTH.unpack_from(data, at)
        at += _LENGTH.size
        if len(data) - at < length:
            raise _wrong_data(tensor, f"element {len(texts)} is cut off")
        try:
            texts.append(str(data[at : at + length], "utf-8"))
        except UnicodeDecodeError:
            raise _wrong_data(tensor, f"element {len(texts)} is not UTF-8") from None
        at += length
    if len(texts) != prod(tensor.shape):
        raise _wrong_size(tensor, f"{len(texts)} elements")
    return np.array(texts, dtype=object)


def _as_bool(tensor: TensorSpec, flat: Array) -> Array:
    if (flat > 1).any():
        raise _wrong_data(tensor, "an element is neither 0 nor 1")
    return flat.view(np.bool_)


def _wrong_size(tensor: TensorSpec, given: str, note: str = "") -> BadTensor:
    return BadTensor(
        f"input {tensor.name!r} has {given}; "
        f"shape {list(tensor.shape)} of {tensor.datatype.name} needs {prod(tensor.shape)}{note}"
    )


def _wrong_data(tensor: TensorSpec, reason: str) -> BadTensor:
    return BadTensor(
        f"input {tensor.name!r}: {reason} "
        f"({tensor.datatype.name} of shape {list(tensor.shape)} expected)"
    )
