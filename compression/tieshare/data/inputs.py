"""An array in the shape and dtype of a model's input."""

import math
from collections.abc import Sequence
from typing import Protocol

import numpy as np

from tieshare.data.dataset import Array, ArrayCard
from tieshare.errors import DataMismatch

Axes = Sequence[int | str | None]


class InputSpec(Protocol):
    """A model's input: numpy's dtype name; a length, a name or None for each axis, batch first."""

    @property
    def name(self) -> str:
        """The input's name."""

    @property
    def dtype(self) -> str:
        """numpy's name of its element type."""

    @property
    def shape(self) -> tuple[int | str | None, ...]:
        """All axes, batch first."""


def input_shape(card: ArrayCard, spec: InputSpec) -> tuple[int, ...]:
    """One sample's shape as the model takes it, which this array's samples can be given.

    DataMismatch: another number of elements, or the same axes in another order, which reshaping
    would scramble.
    """
    axes, sample = spec.shape[1:], card.shape[1:]
    shape = _filled(axes, sample) if spec.shape else None
    if shape is None:
        raise DataMismatch(
            f"array {card.name!r} has samples of shape {_text(sample)}; the model's input "
            f"{spec.name!r} takes {_text(axes)}",
            where=card.name,
        )
    before, after = (tuple(axis for axis in s if axis != 1) for s in (sample, shape))
    if before != after and sorted(before) == sorted(after):
        raise DataMismatch(
            f"array {card.name!r} has samples of shape {_text(sample)}; the model's input "
            f"{spec.name!r} takes {_text(axes)}: transpose the array, reshaping would scramble it",
            where=card.name,
        )
    return shape


def check_input_values(card: ArrayCard, values: tuple[float, float], spec: InputSpec) -> None:
    """DataMismatch: the array's values can't be had in the input's dtype."""
    try:
        wanted = np.dtype(spec.dtype)
    except TypeError:
        wanted = np.dtype(object)
    given = np.dtype(card.dtype)
    if wanted.kind == "f":
        lowest, highest = (float(x) for x in (np.finfo(wanted).min, np.finfo(wanted).max))
    elif wanted.kind in "iu" and given.kind in "biu":
        lowest, highest = int(np.iinfo(wanted).min), int(np.iinfo(wanted).max)
    elif wanted.kind == "b" and given.kind == "b":
        lowest, highest = 0, 1
    else:
        raise DataMismatch(
            f"array {card.name!r} has dtype {card.dtype}; the model's input {spec.name!r} takes "
            f"{spec.dtype}",
            where=card.name,
        )
    if values[0] < lowest or values[1] > highest:
        raise DataMismatch(
            f"array {card.name!r} has values from {values[0]} to {values[1]}, which {spec.dtype}, "
            f"the dtype of the model's input {spec.name!r}, can't hold",
            where=card.name,
        )


def as_input(array: Array, shape: tuple[int, ...], dtype: str, scale: float) -> Array:
    """The array (n, *shape) in the input's dtype; uint8 that becomes floats is scaled."""
    shaped = array.reshape(len(array), *shape)
    wanted = np.dtype(dtype)
    if array.dtype == np.uint8 and wanted.kind == "f":
        scaled: Array = np.multiply(shaped, wanted.type(scale), dtype=wanted)
        return scaled
    return np.asarray(shaped, dtype=wanted)


def _filled(axes: Axes, sample: tuple[int, ...]) -> tuple[int, ...] | None:
    """The axes with lengths for the free ones, by rank or by the number of elements."""
    fits = len(axes) == len(sample) and all(
        not isinstance(axis, int) or axis == length
        for axis, length in zip(axes, sample, strict=True)
    )
    if fits:
        return sample
    elements = math.prod(sample)
    fixed = math.prod(axis for axis in axes if isinstance(axis, int))
    free = sum(not isinstance(axis, int) for axis in axes)
    if free > 1 or elements % fixed or (free == 0 and elements != fixed):
        return None
    return tuple(axis if isinstance(axis, int) else elements // fixed for axis in axes)


def _text(shape: Axes) -> str:
    return "(" + ", ".join("any" if axis is None else str(axis) for axis in shape) + ")"
