"""Which rows of a layer are tied: by affinity or by the path, what is equal already in any case."""

import numpy as np

from tieshare.cluster import Clustering, cluster_by_path, cluster_rows
from tieshare.exports.rows import read_rows
from tieshare.graph.tensors import Array
from tieshare.recipe import TieBy


def find_ties(W: Array, tie_by: TieBy, preference: float, *, seed: int = 0) -> Clustering:
    """Cluster the alive rows of W (n, m).

    Rows that are equal bit for bit, as those that a recipe ties, count as one row: no clustering
    parts them.
    """
    rows = read_rows(W)
    different = W[rows.first]
    if tie_by == "path":
        found = cluster_by_path(different, preference)
    else:
        found = cluster_rows(different, preference, seed=seed)
    labels = np.append(found.labels, -1)[rows.numbers]  # -1, of a dead row, finds the last
    return Clustering(labels, found.converged)
