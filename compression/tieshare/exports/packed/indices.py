"""The ways to write the numbers that pick rows, as int64.

plain    int64, of which protobuf writes numbers below 128 in one byte
narrow   the smallest type that holds them, or four bits
places   rising places: a bit for each place, and the bits that are set
sparse   numbers many of which are one and the same: a bit for each other one, and these
"""

from collections.abc import Iterator

import numpy as np
from onnx import TensorProto

from tieshare.exports.packed import whole
from tieshare.exports.packed.coded import Coded, Writer, shortest
from tieshare.graph.tensors import Array

_BITWISE_OPSET = 18
_FEW = 16  # nothing is gained on so few numbers
_LARGE = 1 << 24  # and such numbers count no rows
_NARROW = (whole.narrow, whole.four_bit)


def written(values: Array, name: str, stem: str, opset: int) -> Coded:
    """The int64 ``values`` in the fewest bytes; no value is called ``stem.something``."""
    ways = [_coded(values, name, stem, None, opset)]
    if values.size > _FEW and values.min() >= 0 and values.max() < _LARGE:
        ways += [_coded(values, name, stem, way, opset) for way in _NARROW]
        if opset >= _BITWISE_OPSET:
            ways += [*_places(values, name, stem), *_sparse(values, name, stem, opset)]
    return shortest(ways)


def _coded(values: Array, name: str, stem: str, way: whole.Way | None, opset: int) -> Coded | None:
    writer = Writer(name, stem)
    return None if _listed(writer, values, way, opset) is None else writer.coded()


def _listed(writer: Writer, values: Array, way: whole.Way | None, opset: int) -> str | None:
    """The numbers one after the other, as int64: as they are, or in a narrow type."""
    if way is None:
        return writer.store(values)
    narrow = values.astype(np.min_scalar_type(int(values.max())))
    return way(writer, narrow, TensorProto.INT64, opset)


def _places(values: Array, name: str, stem: str) -> Iterator[Coded]:
    """Squeeze(NonZero(bits))."""
    if values.ndim == 1 and (np.diff(values) > 0).all():
        writer = Writer(name, stem)
        marked = np.zeros((int(values[-1]) // 8 + 1) * 8, dtype=bool)
        marked[values] = True
        writer.node("Squeeze", writer.node("NonZero", _bits(writer, marked, 8)))
        yield writer.coded()


def _sparse(values: Array, name: str, stem: str, opset: int) -> Iterator[Coded]:
    """Gather([the usual number, *the others], CumSum(bits) * bits)."""
    usual = int(np.bincount(values.reshape(-1)).argmax())
    marked = values != usual
    width = next((n for n in range(8, 3, -1) if marked.size % n == 0), None)
    if width is None or len(values) != values.size:
        return
    for way in (None, *_NARROW):
        writer = Writer(name, stem)
        ones = writer.node("Sign", _bits(writer, marked, width))
        bits = writer.node("Cast", ones, to=TensorProto.INT32)
        passed = writer.node("CumSum", bits, writer.store(np.array(0, np.int32)))
        place = writer.node("Mul", passed, bits)
        others = _listed(writer, np.append(usual, values[marked]), way, opset)
        if others is not None:
            writer.node("Gather", others, place)
            yield writer.coded()


def _bits(writer: Writer, marked: Array, width: int) -> str:
    """uint8 of the shape of ``marked``, not zero where it is set; ``width`` of them to a byte."""
    ends = 1 << np.arange(width, dtype=np.uint8)
    groups = (marked.reshape(-1, width) * ends).sum(axis=1, keepdims=True).astype(np.uint8)
    spread = writer.node("BitwiseAnd", writer.store(groups), writer.store(ends))
    return writer.node("Reshape", spread, writer.store(np.array(marked.shape)))
