"""The proximal operator of the ordered weighted l1 norm (OWL, SLOPE) on a vector.

Omega(x) = sum_i lam_i |x|_[i], where |x|_[i] is the i-th largest magnitude and
lam_1 >= ... >= lam_n >= 0. Its prox is solved in O(n log n): sort the magnitudes, subtract lam,
regress onto the monotone cone, clip at 0, put signs and order back (Bogdan et al., "SLOPE",
Annals of Applied Statistics 2015, section 2.2 and algorithm 3).
"""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import isotonic_regression

try:
    from scipy.optimize import _pava_pybind
except ImportError:  # it is not part of scipy's promise
    _pava_pybind = None  # type: ignore[assignment]

Vector = NDArray[np.float64]

# Below this length a numpy call costs more than the work that the two short cuts here save.
_SHORT = 1024


def prox_sorted_l1(v: ArrayLike, lam: ArrayLike) -> NDArray[np.floating[Any]]:
    """Return argmin_x 1/2 ||x - v||^2 + sum_i lam_i |x|_[i].

    ``v`` (n,) of either sign; ``lam`` (n,) non-increasing and non-negative, in the units of v.
    The answer is a new array (n,) in v's own float type, computed in float64.
    Raises ValueError where the shapes differ, a value is not finite, or lam is not sorted.
    """
    given = np.asarray(v)
    x = _prox(given.astype(np.float64, copy=False), np.asarray(lam, dtype=np.float64))
    return x.astype(given.dtype, copy=False) if given.dtype.kind == "f" else x


def critical_scale(v: ArrayLike, lam: ArrayLike) -> float:
    """Return the smallest s >= 0 for which prox_sorted_l1(v, s * lam) is zero.

    It is the dual norm of Omega at v: max_k (|v|_[1] + ... + |v|_[k]) / (lam_1 + ... + lam_k).
    ``lam`` as above, with lam_1 > 0.
    """
    magnitudes = np.sort(np.abs(np.asarray(v, dtype=np.float64)))[::-1]
    weights = np.asarray(lam, dtype=np.float64)
    _check(magnitudes, weights)
    if magnitudes.size == 0:
        return 0.0
    if not weights[0] > 0:
        raise ValueError("lam must begin above 0: no scale of it reaches zero")
    return float(np.max(np.cumsum(magnitudes) / np.cumsum(weights)))


def _prox(v: Vector, lam: Vector) -> Vector:
    _check(v, lam)
    n = v.size
    if n == 0:
        return v.copy()
    magnitude = np.abs(v)
    if lam[0] == lam[-1]:
        x = np.maximum(magnitude - lam[0], 0.0)
        _check_finite(magnitude.max())
    elif n < _SHORT:
        x = _solve(magnitude, lam)
    else:
        x = _solve_alive(magnitude, lam)
    signed: Vector = np.copysign(x, v, out=x)
    return signed


def _check(v: Vector, lam: Vector) -> None:
    if v.ndim != 1 or lam.shape != v.shape:
        raise ValueError(f"v and lam must be vectors of one length, got {v.shape} and {lam.shape}")
    # Counting what holds, rather than what fails, catches NaN as well.
    if v.size and not (
        np.count_nonzero(lam[1:] <= lam[:-1]) == v.size - 1 and lam[-1] >= 0 and lam[0] < np.inf
    ):
        raise ValueError("lam must be finite, non-negative and non-increasing")


def _check_finite(largest: float) -> None:
    if not largest < np.inf:
        raise ValueError("v must be finite")


def _solve_alive(magnitude: Vector, lam: Vector) -> Vector:
    """As _solve, leaving out what is known to end at zero where that is most of it.

    A magnitude of at most lam_n ends at zero in any place, and in sorted order those come last,
    so that leaving them out changes nothing for the others.
    """
    alive = magnitude > lam[-1]
    count = np.count_nonzero(alive)
    if 2 * count > magnitude.size:
        return _solve(magnitude, lam)
    _check_finite(magnitude.max())
    x = np.zeros_like(magnitude)
    if count:
        places = alive.nonzero()[0]
        x[places] = _solve(magnitude[places], lam[:count])
    return x


def _solve(magnitude: Vector, lam: Vector) -> Vector:
    """The prox of non-negative magnitudes (k,)."""
    order = _ascending(magnitude)
    z = magnitude[order]
    _check_finite(z[-1])
    z -= lam[::-1]
    z = _isotonic(z)
    np.maximum(z, 0.0, out=z)
    x = np.empty(z.size)
    x[order] = z
    return x


def _ascending(magnitude: Vector) -> NDArray[np.int64]:
    """Indices that sort non-negative floats, about twice as fast as argsort.

    The bits of such floats order as integers do. The lowest bits of each are replaced by its
    index, so that one plain sort, which is vectorised, carries the indices along.
    """
    bits = magnitude.size.bit_length()
    low = (1 << bits) - 1
    keys = magnitude.view(np.int64) & ~low
    keys += np.arange(magnitude.size)
    keys.sort()
    keys &= low
    # Values whose remaining bits agree come in the order of their indices. In a short vector that
    # moves the prox, which is non-expansive, by 2^-42 of v at most; in a long one it is mended.
    if magnitude.size >= _SHORT:
        ordered = magnitude[keys]
        if np.count_nonzero(ordered[1:] < ordered[:-1]):
            keys = keys[np.argsort(ordered, kind="stable")]
    return keys


def _isotonic_public(z: Vector) -> Vector:
    """The non-decreasing sequence nearest to z (n,), by scipy's documented function."""
    return np.array(isotonic_regression(z).x)


def _isotonic_kernel(z: Vector) -> Vector:
    """The same by the C++ kernel behind it; overwrites z.

    The checks and copies around that kernel take longer than a whole regression of 800 values.
    """
    weights = np.empty(z.size)
    weights.fill(1.0)
    return _pava_pybind.pava(z, weights, np.zeros(z.size + 1, dtype=np.intp))[0]


_isotonic = _isotonic_public if _pava_pybind is None else _isotonic_kernel
