"""An array in the shape and dtype of a model's input."""

import numpy as np

from tieshare.data.dataset import Array, ArrayCard
from tieshare.data.shapes import Shape, filled, scrambles, text
from tieshare.data.specs import InputSpec
from tieshare.errors import DataMismatch


def input_shape(card: ArrayCard, spec: InputSpec) -> Shape:
    """One sample's shape as the model takes it, which this array's samples can be given.

    DataMismatch: another number of elements, or the same axes in another order, which reshaping
    would scramble.
    """
    sample = card.shape[1:]
    shape = None if spec.axes is None else filled(spec.axes, sample)
    takes = (
        f"array {card.name!r} has samples of shape {text(sample)}; the model's input "
        f"{spec.name!r} takes {text(spec.axes or ())}"
    )
    if shape is None:
        raise DataMismatch(takes, where=card.name)
    if scrambles(sample, shape):
        raise DataMismatch(
            f"{takes}: transpose the array, reshaping would scramble it", where=card.name
        )
    return shape


def check_input_values(card: ArrayCard, values: tuple[float, float], spec: InputSpec) -> None:
    """DataMismatch: the array's values can't be had in the input's dtype, or are in no table."""
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
    if spec.table is not None and not -spec.table <= values[0] <= values[1] < spec.table:
        raise DataMismatch(
            f"array {card.name!r} has values from {values[0]} to {values[1]}; the model looks its "
            f"input {spec.name!r} up in a table of {spec.table}, which takes 0 to "
            f"{spec.table - 1}, and -{spec.table} to -1 from the end",
            where=card.name,
        )


def as_input(array: Array, shape: Shape, spec: InputSpec, scale: float) -> Array:
    """The array (n, *shape) in the input's dtype; uint8 that becomes floats is scaled.

    Numbers that are looked up in a table are not, whatever their dtype.
    """
    shaped = array.reshape(len(array), *shape)
    wanted = np.dtype(spec.dtype)
    if array.dtype == np.uint8 and wanted.kind == "f" and spec.table is None:
        scaled: Array = np.multiply(shaped, wanted.type(scale), dtype=wanted)
        return scaled
    return np.asarray(shaped, dtype=wanted)
