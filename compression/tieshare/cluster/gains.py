"""What rows gain by following others, for the pairs of rows that matter."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array
from scipy.sparse.csgraph import connected_components

Labels = NDArray[np.int64]
Mask = NDArray[np.bool_]
Values = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Gains:
    """e pairs of n rows, ordered by row, each row paired with itself too.

    ``rows``, ``columns`` (e,): a row i and an exemplar k that it may follow.
    ``values`` (e,): s_ik less the preference, which is what the net similarity gains when i follows
    k instead of being an exemplar itself: above 0, and 0 where k is i.
    """

    rows: NDArray[np.int32]
    columns: NDArray[np.int32]
    values: Values

    @cached_property
    def starts(self) -> Labels:
        """The place of each row's first pair (n,)."""
        return np.flatnonzero(np.diff(self.rows, prepend=-1))

    @cached_property
    def own(self) -> Labels:
        """The place of each row's pair with itself (n,)."""
        return np.flatnonzero(self.rows == self.columns)

    @property
    def n(self) -> int:
        """Rows."""
        return len(self.own)

    def highest(self, values: Values) -> Labels:
        """The place of each row's highest value (n,), the first of equals; ``values`` (e,)."""
        best = np.maximum.reduceat(values, self.starts)
        places = np.flatnonzero(values == self.spread(best))
        return places[np.diff(self.rows[places], prepend=-1) > 0]

    def spread(self, values: Values) -> Values:
        """For each pair the value of its row (e,); ``values`` (n,)."""
        return np.repeat(values, self._counts)

    def received(self, values: Values) -> NDArray[np.float64]:
        """The sum of each column's values (n,); ``values`` (e,)."""
        return np.bincount(self.columns, values, self.n).astype(np.float64, copy=False)

    def components(self) -> Labels:
        """A number for each row (n,), the same for rows that a chain of pairs joins."""
        ends = np.append(self.starts, len(self.rows))
        graph = csr_array((self.values, self.columns, ends), shape=(self.n, self.n))
        return connected_components(graph, directed=False)[1].astype(np.int64)

    def only(self, kept: Mask) -> "Gains":
        """The pairs among whole components, numbered anew; ``kept`` (n,): the rows of these."""
        if kept.all():
            return self
        pairs = kept[self.rows]
        number = (np.cumsum(kept) - 1).astype(np.int32)
        return Gains(number[self.rows[pairs]], number[self.columns[pairs]], self.values[pairs])

    @cached_property
    def _counts(self) -> NDArray[np.int64]:
        return np.diff(self.starts, append=len(self.rows))


def best_of(groups: NDArray[np.integer[Any]], values: NDArray[Any]) -> Labels:
    """The index of the highest of ``values`` (n,) in each group, the first of equals."""
    order = np.lexsort((-values, groups))
    return order[np.diff(groups[order], prepend=-1) > 0]


def total(component: Labels, values: NDArray[Any]) -> NDArray[np.float64]:
    """For each row the sum over its component (n,); ``values`` (n,)."""
    return np.bincount(component, values).astype(np.float64, copy=False)[component]
