"""Where the entries of a resized axis come from: the formulas of ONNX's Resize, axis by axis."""

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating]


@dataclass(frozen=True)
class Axis:
    """One axis: ``length`` entries become ``size``, of the part from ``start`` to ``end``.

    ``scale``  the factor that was asked for; size may be rounded.
    """

    length: int
    size: int
    scale: float
    start: float
    end: float

    @property
    def unchanged(self) -> bool:
        """Whether the entries stay as they are: ONNX Runtime looks no further either."""
        return self.size == self.length and self.scale == 1

    @property
    def even(self) -> bool:
        """Whether nothing was rounded or cut off."""
        return math.isclose(self.size, self.length * self.scale) and (self.start, self.end) == (
            0,
            1,
        )


@dataclass(frozen=True)
class Sampling:
    """How values between the entries are made; attributes of Resize by similar names."""

    mode: str
    coordinates: str
    rounding: str
    cubic: float = -0.75
    antialias: bool = False
    exclude_outside: bool = False


def coordinates(axis: Axis, sampling: Sampling) -> Floats:
    """(size,) The place in the input of each entry of the output.

    In single precision, in which a place like 3 / 0.6 is the whole number that it is meant to be.
    """
    y = np.arange(axis.size, dtype=np.float32)
    length, size, kind = axis.length, axis.size, sampling.coordinates
    scale = np.float32(axis.scale)
    exact = length * axis.scale
    if kind == "asymmetric":
        return y / scale
    if kind == "align_corners":
        return y * ((length - 1) / (exact - 1) if exact != 1 else 0)
    if kind == "tf_crop_and_resize":
        last = length - 1
        if size == 1:
            return y + 0.5 * (axis.start + axis.end) * last
        return axis.start * last + y * ((axis.end - axis.start) * last / (size - 1))
    if kind == "pytorch_half_pixel" and size == 1:
        return y
    x = (y + 0.5) / scale - 0.5
    if kind == "half_pixel_symmetric":
        x += length / 2 * (1 - size / exact)
    return x


def outside(axis: Axis, sampling: Sampling) -> NDArray[np.bool_]:
    """(size,) Which entries of the output lie beyond the ends of the input."""
    x = coordinates(axis, sampling)
    return (x < 0) | (x > axis.length - 1)


@lru_cache(maxsize=256)
def nearest(axis: Axis, sampling: Sampling) -> NDArray[np.int64]:
    """(size,) The entry of the input that each entry of the output copies."""
    x, half = coordinates(axis, sampling), np.float32(0.5)
    rounding = sampling.rounding
    if rounding == "simple":
        rounding = "floor" if axis.scale >= 1 else "ceil"
    places: Floats
    if rounding == "round_prefer_floor":
        places = np.ceil(x - half)
    elif rounding == "round_prefer_ceil":
        places = np.floor(x + half)
    else:
        places = np.floor(x) if rounding == "floor" else np.ceil(x)
    return np.clip(places, 0, axis.length - 1).astype(np.int64)


@lru_cache(maxsize=256)
def weights(axis: Axis, sampling: Sampling) -> Floats:
    """(size, length) The share that each entry of the input has in each entry of the output."""
    reach = 1 if sampling.mode == "linear" else 2
    narrow = min(axis.scale, 1.0) if sampling.antialias else 1.0
    x = coordinates(axis, sampling).astype(np.float64)[:, None]  # (size, 1)
    span = int(np.ceil(reach / narrow))
    places = np.floor(x) + np.arange(-span, span + 2)  # (size, taps)
    distance = np.abs(places - x) * narrow
    shares = np.maximum(1 - distance, 0) if reach == 1 else _keys(distance, sampling.cubic)
    within = (places >= 0) & (places < axis.length)
    if sampling.exclude_outside:
        shares = np.where(within, shares, 0)
    total = shares.sum(axis=1, keepdims=True)
    shares /= np.where(total == 0, 1, total)
    matrix = np.zeros((axis.size, axis.length))
    columns = np.clip(places, 0, axis.length - 1).astype(int)
    np.add.at(matrix, (np.arange(axis.size)[:, None], columns), shares)
    return matrix


def _keys(distance: Floats, a: float) -> Floats:
    """The cubic kernel of Keys, "Cubic convolution interpolation" (1981), equation 4."""
    near = ((a + 2) * distance - (a + 3)) * distance**2 + 1
    far = a * (((distance - 5) * distance + 8) * distance - 4)
    return np.where(distance <= 1, near, np.where(distance < 2, far, 0))
