from typing import get_args

import numpy as np
import pytest

from tieshare.cluster import cluster_by_path, cluster_rows, tie
from tieshare.recipe import TieBy
from tieshare.ties import find_ties

WAYS = get_args(TieBy)


def rows(n: int = 60, m: int = 5, seed: int = 0) -> np.ndarray:
    """Six noisy directions, some rows zero."""
    rng = np.random.default_rng(seed)
    W = rng.normal(size=(6, m))[rng.integers(0, 6, n)] + 0.3 * rng.normal(size=(n, m))
    W[rng.random(n) < 0.1] = 0
    return W.astype(np.float32)


def test_rows_that_all_differ_are_clustered_as_by_either_way_alone() -> None:
    W = rows()
    affinity, path = find_ties(W, "affinity", 0.6, seed=3), find_ties(W, "path", 0.6)
    assert affinity.labels.tolist() == cluster_rows(W, 0.6, seed=3).labels.tolist()
    assert path.labels.tolist() == cluster_by_path(W, 0.6).labels.tolist()
    assert affinity.count < path.count


@pytest.mark.parametrize("tie_by", WAYS)
@pytest.mark.parametrize("preference", [-0.5, 0.0, 0.6, 0.999])
def test_rows_that_are_equal_stay_in_one_cluster(tie_by: TieBy, preference: float) -> None:
    W = rows()
    groups = [[1, 2, 30], [5, 59]]
    for group in groups:
        W[group] = W[group].mean(axis=0)
    labels = find_ties(W, tie_by, preference).labels
    assert ((labels < 0) == ~W.any(axis=1)).all()
    tied = tie(W, labels)
    for group in groups:
        assert len(set(labels[group].tolist())) == 1
        assert len({row.tobytes() for row in tied[group]}) == 1


@pytest.mark.parametrize("tie_by", WAYS)
def test_rows_that_are_equal_weigh_as_many_in_the_mean_of_their_cluster(tie_by: TieBy) -> None:
    W = np.array([[1.0, 0], [1, 0], [1, 0], [0.998, 0.002], [0, 3], [0, -3]], dtype=np.float32)
    found = find_ties(W, tie_by, 0.9)
    assert found.labels.tolist() == [0, 0, 0, 0, 1, 2]
    assert tie(W, found.labels)[0].tolist() == pytest.approx([0.9995, 0.0005])


@pytest.mark.parametrize("tie_by", WAYS)
def test_a_layer_of_zeros_has_no_clusters(tie_by: TieBy) -> None:
    assert find_ties(np.zeros((4, 3), dtype=np.float32), tie_by, 0.6).labels.tolist() == [-1] * 4
