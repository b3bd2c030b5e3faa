"""From a matrix to the labels of its rows, and from labels to the tied matrix."""

from dataclasses import dataclass

import numpy as np

from tieshare.cluster.exemplars import exemplars
from tieshare.cluster.pairs import worthwhile_pairs
from tieshare.cluster.rows import Labels, Matrix, Rows, alive_rows


@dataclass(frozen=True, eq=False)
class Clustering:
    """The answer for one layer of n rows.

    ``labels`` (n,): -1 for a zero row, else the row's cluster, 0 to count - 1.
    ``converged``: False where affinity propagation settled at no damping, so that some of the
    labels come from the best of the exemplars it passed through and those of a greedy search.
    """

    labels: Labels
    converged: bool = True

    @property
    def alive(self) -> int:
        """Rows that are not zero."""
        return int(np.count_nonzero(self.labels >= 0))

    @property
    def count(self) -> int:
        """Clusters."""
        return int(self.labels.max(initial=-1)) + 1


def cluster_rows(
    W: Matrix,
    preference: float,
    *,
    untied_above: float = 0.95,
    limit: int = 1000,
    seed: int = 0,
) -> Clustering:
    """Cluster the alive rows of W (n, m); the same arguments give the same labels.

    ``preference``: similarity of a row to itself; the higher, the more clusters.
    ``untied_above``: with more clusters than this part of the alive rows, each row is left alone.
    ``limit``: about limit^2 pairs of rows are kept at most, in memory of about 50 limit^2 bytes
    besides a float32 copy of W. Up to so many rows nothing is left out; in a taller matrix a row
    that is more like others than the preference keeps limit^2 / n pairs with these.
    """
    if W.ndim != 2 or not np.isfinite(W).all():
        raise ValueError(f"W must be a finite matrix of rows, got shape {W.shape}")
    if limit < 2:
        raise ValueError(f"limit must be at least 2, got {limit}")
    rows = alive_rows(W)
    if len(rows.numbers) == 0:
        return Clustering(np.full(len(W), -1))
    chosen, converged = _chosen(rows, preference, limit, np.random.default_rng(seed))
    return Clustering(numbered(len(W), rows.numbers, chosen, untied_above), converged)


def numbered(n: int, alive: Labels, chosen: Labels, untied_above: float) -> Labels:
    """The labels (n,) of rows of which ``alive`` are not zero, from what each follows.

    ``chosen``: the place among the alive rows of the one that each of these follows.
    """
    labels = np.full(n, -1, dtype=np.int64)
    labels[alive] = alive[chosen]
    found, numbers = np.unique(labels[labels >= 0], return_inverse=True)
    few = len(found) <= untied_above * len(alive)
    labels[labels >= 0] = numbers if few else np.arange(len(alive))
    return labels


def tie(W: Matrix, labels: Labels) -> Matrix:
    """W (n, m) with every row of a cluster, bit for bit, its cluster's mean, and the rest zero."""
    if labels.shape != W.shape[:1]:
        raise ValueError(f"{labels.shape} labels for a matrix of shape {W.shape}")
    tied = np.zeros_like(W)
    order = np.argsort(labels, kind="stable")
    order = order[np.searchsorted(labels[order], 0) :]
    if len(order) == 0:
        return tied
    starts = np.flatnonzero(np.diff(labels[order], prepend=-1))
    sums = np.add.reduceat(W[order], starts, axis=0, dtype=np.float64)  # (k, m)
    sizes = np.diff(starts, append=len(order))
    means = (sums / sizes[:, None]).astype(W.dtype)
    tied[order] = np.repeat(means, sizes, axis=0)
    return tied


def _chosen(
    rows: Rows, preference: float, limit: int, rng: np.random.Generator
) -> tuple[Labels, bool]:
    """The place of each row's exemplar among the rows (n,); and whether all has settled."""
    everyone = np.arange(len(rows.numbers))
    most = max(2, limit**2 // len(everyone))
    gains, thinned = worthwhile_pairs(rows, everyone, preference, most, rng)
    answer, converged = exemplars(gains, rng)
    if thinned:
        # Where only the exemplars may be followed, each row meets those that it was not paired
        # with, and of several that share what one could serve alone, one is left.
        found = np.unique(answer.exemplar)
        gains, _ = worthwhile_pairs(rows, found, preference, most, rng)
        again, settled = exemplars(gains, rng)
        if again.worth.sum(dtype=float) > answer.worth.sum(dtype=float):
            answer, converged = again, converged and settled
    return answer.exemplar, converged
