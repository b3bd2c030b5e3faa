"""Which rows of a weight are dead, and which are tied, read off the values themselves."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tieshare.graph.tensors import Array

Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Rows:
    """``numbers`` (n,): the cluster of each row, -1 where the row is dead.

    ``first`` (clusters,): the first row of each cluster, in rising order.
    """

    numbers: Ints
    first: Ints

    @property
    def alive(self) -> Ints:
        """The rows that are not dead, in order."""
        return np.flatnonzero(self.numbers >= 0)

    @property
    def clusters(self) -> int:
        """How many different rows there are that are not dead."""
        return len(self.first)

    @property
    def distinct(self) -> bool:
        """No row is dead and no two are tied."""
        return self.clusters == len(self.numbers)


def read_rows(W: Array) -> Rows:
    """Rows of ``W`` (n, m): dead where every entry is zero, tied where they are bitwise equal."""
    alive = np.flatnonzero(W.any(axis=1))
    numbers = np.full(len(W), -1, dtype=np.int64)
    if not alive.size or not W.shape[1]:
        return Rows(numbers, np.zeros(0, dtype=np.int64))
    whole = np.ascontiguousarray(W[alive])
    keys = whole.view(np.dtype((np.void, whole.itemsize * whole.shape[1]))).reshape(-1)
    _, first, inverse = np.unique(keys, return_index=True, return_inverse=True)
    order = np.argsort(first)  # clusters are numbered as their first rows come
    numbers[alive] = np.argsort(order)[inverse.reshape(-1)]
    return Rows(numbers, alive[first[order]])
