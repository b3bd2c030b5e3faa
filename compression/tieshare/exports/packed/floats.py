"""The ways to write a weight: each takes values that are on their grid, and loses nothing.

plain  float32
half   float16
book   the distinct values once, and for each weight which of them it is
grid   a whole number for each weight, and a scale for each unit
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from onnx import TensorProto

from tieshare.exports.packed import whole
from tieshare.exports.packed.coded import Coded, Writer, shortest
from tieshare.graph.tensors import Array
from tieshare.rounding import codes

_BOOK = 256  # distinct values at most


@dataclass(frozen=True, eq=False)
class Weight:
    """``values``: float32, on the grid. No value is called ``stem.something``."""

    values: Array
    name: str
    stem: str
    bits: int
    unit_axis: int
    opset: int


def written(weight: Weight) -> Coded:
    """In the fewest bytes."""
    short = briefly(weight.values, weight.name, weight.stem)
    return shortest((short, *_book(weight), *_grid(weight)))


def briefly(values: Array, name: str, stem: str) -> Coded:
    """As they are, or Cast(float16) where that loses nothing and is shorter."""
    plain, half = Writer(name, stem), Writer(name, stem)
    plain.store(values)
    short = as_half(values)
    if short is None:
        return plain.coded()
    half.node("Cast", half.store(short), to=TensorProto.FLOAT)
    return shortest((plain.coded(), half.coded()))


def as_half(values: Array) -> Array | None:
    """The values as float16, if it holds them exactly."""
    with np.errstate(over="ignore"):
        short = values.astype(np.float16)
    return short if np.array_equal(short, values) else None


def _book(weight: Weight) -> Iterator[Coded]:
    """Gather(distinct values, which of them)."""
    distinct, places = np.unique(weight.values, return_inverse=True)
    if distinct.size > _BOOK:
        return
    q = places.reshape(weight.values.shape).astype(np.uint8)
    for way in whole.WAYS:
        writer = Writer(weight.name, weight.stem)
        numbers = way(writer, q, TensorProto.INT32, weight.opset)
        if numbers is not None:
            writer.node("Gather", writer.store(distinct), numbers)
            yield writer.coded()


def _grid(weight: Weight) -> Iterator[Coded]:
    """Cast(whole numbers) * scales."""
    if weight.bits > 8:
        return
    q, scale = codes(weight.values, weight.bits, weight.unit_axis)
    if not np.array_equal(q * scale, weight.values):
        return
    scale = scale.reshape(scale.shape[weight.unit_axis % scale.ndim :])
    for way in whole.WAYS:
        writer = Writer(weight.name, weight.stem)
        numbers = way(writer, q, TensorProto.FLOAT, weight.opset)
        if numbers is not None:
            writer.node("Mul", numbers, writer.store(scale))
            yield writer.coded()
