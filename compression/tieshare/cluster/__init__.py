"""Which alive rows of a layer share one value, and the layer with them tied.

Affinity propagation (Frey and Dueck, "Clustering by passing messages between data points",
Science 2007) on the similarity of Zhang et al., ICLR 2018, section 3.4:
s_ij = w_i . w_j / max(||w_i||^2, ||w_j||^2), which is 1 for equal rows alone. It looks for the
exemplars that maximise the net similarity: the sum of the similarity of each row to its exemplar,
where an exemplar counts for itself with the preference.

A row that is less like its exemplar than the preference says would be worth more as an exemplar of
its own. So only pairs that are more alike than the preference matter, and rows that no chain of
such pairs joins are separate problems: that is what lets tall matrices be clustered whole.

    rows        directions and norms of rows, and their similarity
    gains       the pairs that matter: what a row gains by following another
    pairs       finds them, in time of a matrix product and little memory
    messages    affinity propagation on these pairs
    improve     a choice of exemplars, made better step by step
    exemplars   all of it, component by component
    labels      from a matrix to labels, and from labels to the tied matrix
    by_path     the other way to labels: rows of equal norm and nearly one direction
"""

from tieshare.cluster.by_path import cluster_by_path
from tieshare.cluster.labels import Clustering, cluster_rows, tie
from tieshare.cluster.rows import similarity

__all__ = ["Clustering", "cluster_by_path", "cluster_rows", "similarity", "tie"]
