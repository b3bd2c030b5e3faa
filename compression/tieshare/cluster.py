"""Which alive rows of a layer share one value, and the layer with them tied.

Affinity propagation (Frey and Dueck, Science 2007) on the similarity of Zhang et al., ICLR 2018,
section 3.4: s_ij = w_i . w_j / max(||w_i||^2, ||w_j||^2), which is 1 for equal rows alone.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Matrix = NDArray[np.floating[Any]]
Square = NDArray[np.float64]
Labels = NDArray[np.int64]

_DAMPINGS = (0.5, 0.75, 0.9, 0.97)
_ITERATIONS = 300
_STABLE = 15
_WORTHWHILE = 0.75


@dataclass(frozen=True, eq=False)
class Clustering:
    """The answer for one layer of n rows.

    ``labels`` (n,): -1 for a zero row, else the row's cluster, 0 to count - 1.
    ``converged``: False where affinity propagation settled at no damping, so that some of the
    labels come from the best exemplars it passed through.
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
    limit: int = 2000,
    seed: int = 0,
) -> Clustering:
    """Cluster the alive rows of W (n, m); the same arguments give the same labels.

    ``preference``: similarity of a row to itself; the higher, the more clusters.
    ``untied_above``: with more clusters than this part of the alive rows, each row is left alone.
    ``limit``: at most so many rows are compared at once, in memory of about 40 limit^2 bytes;
    a taller matrix is clustered in blocks of similar rows, and then the blocks' exemplars.
    """
    if W.ndim != 2 or not np.isfinite(W).all():
        raise ValueError(f"W must be a finite matrix of rows, got shape {W.shape}")
    if limit < 2:
        raise ValueError(f"limit must be at least 2, got {limit}")
    alive = np.flatnonzero(np.einsum("ij,ij->i", W, W, dtype=np.float64) > 0)
    labels = np.full(len(W), -1, dtype=np.int64)
    exemplars, converged = _exemplars(
        W[alive].astype(np.float64), preference, limit, np.random.default_rng(seed)
    )
    found = np.unique(exemplars)
    if len(found) > untied_above * len(alive):
        labels[alive] = np.arange(len(alive))
    else:
        labels[alive] = np.searchsorted(found, exemplars)
    return Clustering(labels, converged)


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


def similarity(W: Matrix) -> Square:
    """s_ij = w_i . w_j / max(||w_i||^2, ||w_j||^2) of non-zero rows W (n, m): (n, n)."""
    S: Square = (W @ W.T).astype(np.float64)
    squares = S.diagonal().copy()
    S /= np.maximum(squares[:, None], squares[None, :])
    return S


def _exemplars(
    W: Matrix, preference: float, limit: int, rng: np.random.Generator
) -> tuple[Labels, bool]:
    """The exemplar, a row number, of every row of W (n, m): (n,); and whether all converged."""
    n = len(W)
    if n <= limit:
        return _propagate(similarity(W), preference, rng)
    answer = np.empty(n, dtype=np.int64)
    converged = True
    for block in _similar_blocks(W, limit):
        chosen, settled = _propagate(similarity(W[block]), preference, rng)
        answer[block] = block[chosen]
        converged &= settled
    found = np.unique(answer)
    # Exemplars that still fill several blocks are clustered again only while that is of use.
    if len(found) > max(limit, _WORTHWHILE * n):
        return answer, converged
    merged, settled = _exemplars(W[found], preference, limit, rng)
    return found[merged][np.searchsorted(found, answer)], converged and settled


def _similar_blocks(W: Matrix, limit: int) -> list[Labels]:
    """Row numbers in blocks of at most `limit`, along the direction in which W (n, m) varies most.

    Equal rows project to one place, so that at most the ends of a block part near rows.
    """
    direction = W.mean(axis=0)
    for _ in range(10):
        direction = W.T @ (W @ direction)
        direction /= np.linalg.norm(direction) or 1.0
    order = np.argsort(W @ direction, kind="stable")
    return np.array_split(order, -(-len(W) // limit))


def _propagate(S: Square, preference: float, rng: np.random.Generator) -> tuple[Labels, bool]:
    """Affinity propagation on S (n, n), overwritten: the exemplar of every row, and convergence."""
    n = len(S)
    if n < 3:
        # Sharing is worth more than two exemplars where the similarity exceeds the preference.
        shared = n == 2 and S[0, 1] > preference
        return np.zeros(n, dtype=np.int64) if shared else np.arange(n), True
    # Without noise, rows in symmetric places choose each other in turn for ever.
    S += 1e-9 * rng.standard_normal(S.shape)
    np.fill_diagonal(S, preference)
    best, best_worth = np.arange(n), n * preference
    for damping in _DAMPINGS:
        chosen, converged = _messages(S, damping)
        assigned = _assign(S, chosen)
        if converged:
            return assigned, True
        worth = float(S[np.arange(n), assigned].sum())
        if len(chosen) and worth > best_worth:
            best, best_worth = assigned, worth
    return best, False


def _messages(S: Square, damping: float) -> tuple[Labels, bool]:
    """Pass messages until the exemplars stay the same: those exemplars (k,), and whether they did.

    Responsibility r(i, k) = s(i, k) - max_{k' != k} [a(i, k') + s(i, k')]; availability
    a(i, k) = min(0, r(k, k) + sum_{i' not in {i, k}} max(0, r(i', k))), and
    a(k, k) = sum_{i' != k} max(0, r(i', k)); the new ones are mixed in by 1 - damping.
    """
    n = len(S)
    rows = np.arange(n)
    R = np.zeros_like(S)
    A = np.zeros_like(S)
    new = np.empty_like(S)
    before = np.zeros(n, dtype=bool)
    unchanged = 0
    for _ in range(_ITERATIONS):
        np.add(A, S, out=new)
        first = new.argmax(axis=1)
        highest = new[rows, first]
        new[rows, first] = -np.inf
        second = new.max(axis=1)
        np.subtract(S, highest[:, None], out=new)
        new[rows, first] = S[rows, first] - second
        new *= 1 - damping
        R *= damping
        R += new

        np.maximum(R, 0, out=new)
        np.fill_diagonal(new, R.diagonal())
        received = new.sum(axis=0)
        np.subtract(received, new, out=new)
        own = new.diagonal().copy()
        np.minimum(new, 0, out=new)
        np.fill_diagonal(new, own)
        new *= 1 - damping
        A *= damping
        A += new

        now = A.diagonal() + R.diagonal() > 0
        unchanged = unchanged + 1 if np.array_equal(now, before) else 0
        before = now
        if unchanged >= _STABLE and now.any():
            return np.flatnonzero(now), True
    return np.flatnonzero(before), False


def _assign(S: Square, chosen: Labels) -> Labels:
    """The exemplar of every row (n,): the most similar of `chosen` (k,), itself for those.

    Each cluster's exemplar is then the member that is nearest to the others.
    """
    answer = np.arange(len(S))
    if len(chosen) == 0:
        return answer
    nearest = S[:, chosen].argmax(axis=1)
    nearest[chosen] = np.arange(len(chosen))
    for k in range(len(chosen)):
        members = np.flatnonzero(nearest == k)
        answer[members] = members[S[np.ix_(members, members)].sum(axis=0).argmax()]
    return answer
