"""The ways to write whole numbers that take little room each.

A way takes a ``Writer``, the numbers ``q`` (int8, or unsigned), the element type of TensorProto
that they are wanted in, and the model's opset. It gives the name of the value, or None where it
does not apply.
"""

from collections.abc import Callable

import numpy as np
from onnx import TensorProto

from tieshare.exports.packed.coded import Writer
from tieshare.exports.packed.tensors import in_pairs
from tieshare.graph.tensors import Array

Way = Callable[[Writer, Array, int, int], str | None]

FOUR_BIT_OPSET = 21
_MOD_OPSET = 10


def narrow(writer: Writer, q: Array, dtype: int, _: int) -> str | None:
    """In the type that they have."""
    return writer.node("Cast", writer.store(q), to=dtype)


def four_bit(writer: Writer, q: Array, dtype: int, opset: int) -> str | None:
    """As INT4 or UINT4."""
    if opset < FOUR_BIT_OPSET or not _fit(q):
        return None
    return writer.node("Cast", writer.store(q, four=True), to=dtype)


def pairs(writer: Writer, q: Array, dtype: int, opset: int) -> str | None:
    """Two to a byte b, by older operators: b / [1, 16] mod 16, minus 8 where they are signed."""
    if opset < _MOD_OPSET or q.size % 2 or not _fit(q):
        return None
    low = 8 if q.dtype == np.int8 else 0
    both = in_pairs(q.astype(np.int16) + low).reshape(-1, 1)
    wide = writer.node("Cast", writer.store(both), to=TensorProto.INT32)
    shifted = writer.node("Div", wide, writer.store(np.array([1, 16], np.int32)))
    halves = writer.node("Mod", shifted, writer.store(np.array(16, np.int32)))
    shaped = writer.node("Reshape", halves, writer.store(np.array(q.shape)))
    if low:
        shaped = writer.node("Sub", shaped, writer.store(np.array(low, np.int32)))
    return shaped if dtype == TensorProto.INT32 else writer.node("Cast", shaped, to=dtype)


WAYS: tuple[Way, ...] = (narrow, four_bit, pairs)


def _fit(q: Array) -> bool:
    """Whether four bits hold them."""
    low = -8 if q.dtype == np.int8 else 0
    return bool(low <= q.min(initial=0) and q.max(initial=0) < low + 16)
