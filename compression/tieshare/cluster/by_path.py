"""Ties that the path has made itself.

An ordered norm gives rows of near norms one norm, exactly (Zhang et al., ICLR 2018, equation 5),
and correlated inputs are what it does that to. So rows that share a value are those of equal norm
and of nearly one direction.
"""

import numpy as np
from numpy.typing import NDArray

from tieshare.cluster.labels import Clustering, numbered
from tieshare.cluster.rows import Labels, Matrix, alive_rows

_CHUNK = 1 << 22  # cosines that are computed at once
_EXACT = 1 - 1e-5  # the cosine of equal directions, as float32 has it


def cluster_by_path(
    W: Matrix, preference: float, *, tolerance: float = 0.01, untied_above: float = 0.95
) -> Clustering:
    """Cluster the alive rows of W (n, m) that have one norm and nearly one direction.

    ``preference``: the least cosine of a row and the one that represents its cluster; of the rows
    that are left, the one that most are alike is the next representative.
    ``tolerance``: norms are one where they differ by less than this part.
    ``untied_above``: with more clusters than this part of the alive rows, each row is left alone.
    """
    if W.ndim != 2 or not np.isfinite(W).all():
        raise ValueError(f"W must be a finite matrix of rows, got shape {W.shape}")
    rows = alive_rows(W)
    chosen = np.arange(len(rows.numbers))
    start = 0
    while start < len(chosen):
        end = int(np.searchsorted(rows.norms, rows.norms[start] * (1 + tolerance), side="right"))
        nearest = _representatives(rows.directions[start:end], min(preference, _EXACT))
        chosen[start:end] = start + nearest
        start = end
    return Clustering(numbered(len(W), rows.numbers, chosen, untied_above))


def _representatives(directions: NDArray[np.float32], least: float) -> Labels:
    """The place of the row that represents each of these (n, m): (n,)."""
    n = len(directions)
    chosen = np.arange(n)
    alike = np.empty(n, dtype=np.int64)
    step = max(1, _CHUNK // n)
    for start in range(0, n, step):
        cosines = directions[start : start + step] @ directions.T
        alike[start : start + step] = np.count_nonzero(cosines >= least, axis=1)
    free = np.ones(n, dtype=bool)
    for place in np.argsort(-alike, kind="stable"):
        if free[place] and alike[place] > 1:
            near = free & (directions @ directions[place] >= least)
            near[place] = True
            chosen[near], free[near] = place, False
    return chosen
