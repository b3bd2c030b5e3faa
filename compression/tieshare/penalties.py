"""What stage 1 adds to the loss: a value and a proximal step for a matrix of rows W (n, m).

Every penalty here is `strength` times a norm, plus l2/2 ||W||^2. The row weights of the ordered
norms have mean 1, so that a strength is a threshold in the units of a row's norm whatever the
family and the number of rows. Zhang et al., ICLR 2018, equation 3 and section 3.3.

A new penalty is a class with `value` and `prox`, and one line in PENALTIES: docs/penalties.md.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri

from tieshare.prox import critical_scale, prox_sorted_l1
from tieshare.recipe import PenaltyName

Matrix = NDArray[np.floating[Any]]
Vector = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Penalty(ABC):
    """A penalty on a matrix of rows W (n, m) of float32 or float64.

    ``strength`` multiplies the norm; ``l2`` is that of l2/2 ||W||^2 beside it.
    """

    strength: float = 1.0
    l2: float = 0.0

    def at(self, strength: float) -> Self:
        """The same penalty with another strength; arrays are shared, not copied."""
        return replace(self, strength=strength)

    @abstractmethod
    def value(self, W: Matrix) -> float:
        """Omega(W)."""

    @abstractmethod
    def prox(self, W: Matrix, step: float) -> Matrix:
        """argmin_X 1/2 ||X - W||^2 + step Omega(X): a new matrix (n, m) of W's dtype."""


@dataclass(frozen=True, eq=False)
class OrderedRows(Penalty):
    """strength * sum_i lam_i ||w_[i]|| + l2/2 ||W||^2, w_[i] the row with the i-th largest norm.

    ``lam`` (n,) non-increasing, non-negative: see `row_weights`. All equal, it is group lasso.
    """

    lam: Vector

    def value(self, W: Matrix) -> float:
        """Omega(W)."""
        norms = _row_norms(W)
        ordered = self.strength * float(np.sort(norms)[::-1] @ self.lam)
        return ordered + 0.5 * self.l2 * float(norms @ norms)

    def row_scales(self, norms: NDArray[np.floating[Any]], step: float) -> Vector:
        """What the prox multiplies each row by: (n,) from 0 to 1, from the rows' norms (n,).

        The prox of step * Omega keeps every row's direction (Zhang et al., equation 5), and a
        squared l2 norm beside it divides the answer by 1 + step * l2. A zero row stays zero.
        """
        old = np.asarray(norms, dtype=np.float64)
        new = prox_sorted_l1(old, (step * self.strength) * self.lam)
        scales: Vector = np.divide(new, old, out=np.zeros_like(old), where=old > 0)
        scales /= 1 + step * self.l2
        return scales

    def prox(self, W: Matrix, step: float) -> Matrix:
        """argmin_X 1/2 ||X - W||^2 + step Omega(X)."""
        scales = self.row_scales(_row_norms(W), step).astype(W.dtype)
        return W * scales[:, None]

    def critical_strength(self, norms: NDArray[np.floating[Any]]) -> float:
        """The smallest strength at which one prox step of size 1 zeroes rows of these norms."""
        return critical_scale(norms, self.lam)


@dataclass(frozen=True)
class L1(Penalty):
    """strength * sum_ij |w_ij| + l2/2 ||W||^2: the lasso, which knows no rows."""

    def value(self, W: Matrix) -> float:
        """Omega(W)."""
        return self.strength * float(np.abs(W).sum(dtype=np.float64)) + _half_square(W, self.l2)

    def prox(self, W: Matrix, step: float) -> Matrix:
        """Soft threshold of every entry."""
        threshold = W.dtype.type(step * self.strength)
        shrunk = W - np.clip(W, -threshold, threshold)
        return shrunk / W.dtype.type(1 + step * self.l2)


@dataclass(frozen=True)
class WeightDecay(Penalty):
    """(strength + l2)/2 ||W||^2: shrinks all weights alike and makes none zero."""

    def value(self, W: Matrix) -> float:
        """Omega(W)."""
        return _half_square(W, self.strength + self.l2)

    def prox(self, W: Matrix, step: float) -> Matrix:
        """Division by 1 + step (strength + l2)."""
        return W / W.dtype.type(1 + step * (self.strength + self.l2))


def piecewise_linear(n: int, lambda1: float, lambda2: float, p: int) -> Vector:
    """lambda1 + lambda2 * decay over the first p of n rows, lambda1 after: (n,).

    The decay falls evenly from n - 1 at the first row to 0 at row p, as in the authors' code;
    with p = n it is OSCAR's lambda1 + lambda2 (n - i). p = 1 raises the first row alone.
    """
    if not 1 <= p <= n:
        raise ValueError(f"p must be from 1 to the number of rows {n}, got {p}")
    if lambda1 < 0 or lambda2 < 0:
        raise ValueError(f"lambda1 and lambda2 must not be negative, got {lambda1} and {lambda2}")
    lam = np.full(n, float(lambda1))
    lam[:p] += lambda2 * np.linspace(n - 1, 0, p)
    return lam


def row_weights(n: int, *, fraction: float = 0.5, contrast: float = 4.0) -> Vector:
    """Weights (n,) of mean 1 that fall linearly over the first `fraction` of the rows.

    ``contrast`` is lam_1 / lam_n: 1 makes all equal (group lasso), and the higher it is, the more
    rows of large norm are drawn to one norm. ``fraction`` 1 makes OSCAR's weights. The paper's
    MNIST settings have fraction 0.5 and contrast 16; those for VGG 0.1 and, by layer, 2 to 16.
    """
    _check_rows(n)
    if not 0 < fraction <= 1:
        raise ValueError(f"fraction must be above 0 and at most 1, got {fraction}")
    if not 1 <= contrast < np.inf:
        raise ValueError(f"contrast must be finite and at least 1, got {contrast}")
    rise = (contrast - 1) / max(n - 1, 1)
    lam = piecewise_linear(n, 1.0, rise, max(1, round(fraction * n)))
    lam /= lam.mean()
    return lam


def slope_weights(n: int, *, q: float = 0.1) -> Vector:
    """Weights (n,) of mean 1, in the proportions of the Benjamini-Hochberg critical values.

    lam_i = Phi^-1(1 - i q / 2n), with ``q`` the false discovery rate of a test of the rows, above
    0 and below 1: the lower, the less they differ. Bogdan et al., "SLOPE", Annals of Applied
    Statistics 2015.
    """
    _check_rows(n)
    if not 0 < q < 1:
        raise ValueError(f"q must be above 0 and below 1, got {q}")
    lam: Vector = -ndtri(np.arange(1, n + 1) * (q / (2 * n)))
    lam /= lam.mean()
    return lam


PENALTIES: Mapping[PenaltyName, Callable[[int, float], Penalty]] = {
    "growl": lambda n, l2: OrderedRows(row_weights(n), l2=l2),
    "oscar": lambda n, l2: OrderedRows(row_weights(n, fraction=1.0), l2=l2),
    "slope": lambda n, l2: OrderedRows(slope_weights(n), l2=l2),
    "group_lasso": lambda n, l2: OrderedRows(np.ones(n), l2=l2),
    "l1": lambda _, l2: L1(l2=l2),
    "weight_decay": lambda _, l2: WeightDecay(l2=l2),
}
"""From the recipe's name, the number of rows n and l2 to the penalty, at strength 1."""


def _check_rows(n: int) -> None:
    if n < 1:
        raise ValueError(f"a matrix needs at least one row, got {n}")


def _row_norms(W: Matrix) -> Vector:
    """||w_i||_2 (n,), summed in float64."""
    norms: Vector = np.sqrt(np.einsum("ij,ij->i", W, W, dtype=np.float64))
    return norms


def _half_square(W: Matrix, weight: float) -> float:
    return 0.5 * weight * float(np.einsum("ij,ij->", W, W, dtype=np.float64))
