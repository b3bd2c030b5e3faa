"""Directions and norms of the rows of a matrix, and how alike rows are."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Matrix = NDArray[np.floating[Any]]
Square = NDArray[np.float64]
Labels = NDArray[np.int64]

_CHUNK = 1 << 20  # elements that are widened to float64 at once


@dataclass(frozen=True, eq=False)
class Rows:
    """Non-zero rows of a matrix W, shortest first.

    ``numbers`` (n,): which rows of W. ``norms`` (n,): their lengths, non-decreasing.
    ``directions`` (n, m): the rows scaled to length 1, in float32. So
    s_ij = directions[i] . directions[j] * min(norms[i], norms[j]) / max(norms[i], norms[j]),
    whatever the range of the rows.
    """

    numbers: Labels
    norms: NDArray[np.float64]
    directions: NDArray[np.float32]

    def only(self, places: Labels) -> "Rows":
        """The rows at these places, ascending; without a copy where those are all."""
        if len(places) == len(self.numbers):
            return self
        return Rows(self.numbers[places], self.norms[places], self.directions[places])


def similarity(W: Matrix) -> Square:
    """s_ij = w_i . w_j / max(||w_i||^2, ||w_j||^2) of non-zero rows W (n, m): (n, n)."""
    S: Square = (W @ W.T).astype(np.float64)
    squares = S.diagonal().copy()
    S /= np.maximum(squares[:, None], squares[None, :])
    return S


def alive_rows(W: Matrix) -> Rows:
    """The rows of W (n, m) that are not zero."""
    largest = np.maximum(W.max(axis=1, initial=0), -W.min(axis=1, initial=0)).astype(np.float64)
    numbers = np.flatnonzero(largest)
    norms = np.empty(len(numbers))
    for part in _parts(len(numbers), W.shape[1]):
        # Scaled by its largest element, a row's squares neither overflow nor vanish.
        scale = largest[numbers[part]]
        scaled = W[numbers[part]] / scale[:, None]
        norms[part] = scale * np.sqrt(np.einsum("ij,ij->i", scaled, scaled))
    order = np.argsort(norms, kind="stable")
    numbers, norms = numbers[order], norms[order]
    directions = np.empty((len(numbers), W.shape[1]), dtype=np.float32)
    for part in _parts(len(numbers), W.shape[1]):
        directions[part] = W[numbers[part]] / norms[part, None]
    return Rows(numbers, norms, directions)


def _parts(n: int, m: int) -> Iterator[slice]:
    step = max(1, _CHUNK // max(1, m))
    return (slice(start, start + step) for start in range(0, n, step))
