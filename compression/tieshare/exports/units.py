"""What is left of stored tensors when units that nobody reads are gone."""

import math
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from tieshare.graph.layers import Layer
from tieshare.graph.structure import Structure
from tieshare.graph.tensors import Array

Masks = Mapping[int, NDArray[np.bool_]]
"""By axis, which slices of a tensor stay."""


def matrix(weight: Array, layer: Layer) -> Array:
    """The weight as (rows, columns), also where units or rows of ``layer`` have been cut off."""
    moved = np.moveaxis(weight, layer.row_axis, 0)
    return moved.reshape(len(moved), -1)


def staying(structure: Structure, values: Mapping[str, Array]) -> dict[str, Masks]:
    """By tensor, what stays of it with these values in the network."""
    masks = structure.stays(structure.alive(values))
    return {name: axes for name, axes in masks.items() if not all(m.all() for m in axes.values())}


def cut(array: Array, masks: Masks) -> Array:
    """The slices that stay."""
    for axis, mask in masks.items():
        array = np.compress(mask, array, axis=axis)
    return array


def size_left(shape: Sequence[int], masks: Masks) -> int:
    """How many numbers are in the slices that stay."""
    return math.prod(
        int(masks[axis].sum()) if axis in masks else length for axis, length in enumerate(shape)
    )
