"""The grids that weights are rounded to when they are stored in few bits.

With 16 bits a weight is the nearest float16. With fewer it is a whole number times a scale, one
scale for the weights of a unit (an output of the layer), symmetric about zero:

    q = round(w / s),   s = max |w| / (2^(bits-1) - 1) over the unit,   w' = q s

The scale keeps 11 binary digits, as many as a float16 has, so q s is exact in float32 and the
largest weight is q s again: what was rounded once is not changed by rounding it again.
"""

import numpy as np
from numpy.typing import NDArray

from tieshare.graph.tensors import Array

BITS = (4, 8, 16)
# Of a float32, whose mantissa has 23 digits behind the point: those behind the tenth.
DROPPED = 13


def most(bits: int) -> int:
    """The largest whole number of the grid: 7 for 4 bits."""
    return int(2 ** (bits - 1) - 1)


def codes(weight: Array, bits: int, unit_axis: int) -> tuple[NDArray[np.int8], Array]:
    """The whole numbers q, shaped as the float32 ``weight``, and the scales s.

    ``unit_axis`` counts the units; the scales have length 1 along every other axis. A unit of
    zeros has scale 1. ``bits`` are 8 or fewer.
    """
    others = tuple(axis for axis in range(weight.ndim) if axis != unit_axis % weight.ndim)
    largest = np.abs(weight).max(axis=others, keepdims=True, initial=0)
    scale = _short(largest / np.float32(most(bits)))
    scale[scale == 0] = 1
    return np.rint(weight / scale).astype(np.int8), scale


def rounded(weight: Array, bits: int, unit_axis: int) -> Array:
    """The float32 ``weight`` on the grid of so many bits, one scale a unit.

    With 16 bits, what is too large for a float16 stays as it is. No zero is negative, so that rows
    of zeros are bitwise equal.
    """
    if bits == 16:
        with np.errstate(over="ignore"):
            near = weight.astype(np.float16).astype(np.float32)
        return np.where(np.isinf(near), weight, near) + np.float32(0)
    q, scale = codes(weight, bits, unit_axis)
    return q * scale


def _short(scale: Array) -> Array:
    """Each float32 with 11 significant binary digits."""
    half = 1 << (DROPPED - 1)
    return (scale.view(np.int32) + half >> DROPPED << DROPPED).view(np.float32)
