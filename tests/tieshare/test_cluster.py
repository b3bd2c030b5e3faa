"""Clusters of rows and the tied matrix."""

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.cluster import AffinityPropagation

from tieshare import cluster
from tieshare.cluster import cluster_rows, similarity, tie

Matrix = NDArray[np.float32]


def planted(n: int, k: int, noise: float, m: int = 40, seed: int = 0) -> tuple[Matrix, np.ndarray]:
    """Rows about k centres, and the centre of each."""
    rng = np.random.default_rng(seed)
    which = np.concatenate([np.arange(k), rng.integers(0, k, n - k)])
    W = rng.standard_normal((k, m))[which] + noise * rng.standard_normal((n, m))
    return W.astype(np.float32), which


def same_partition(a: np.ndarray, b: np.ndarray) -> bool:
    return np.array_equal(a[:, None] == a[None, :], b[:, None] == b[None, :])


@pytest.mark.parametrize("preference", [0.6, 0.8])
def test_finds_the_groups_that_were_planted(preference: float) -> None:
    W, which = planted(200, 25, 0.05)
    found = cluster_rows(W, preference)
    assert found.converged
    assert found.count == 25
    assert same_partition(found.labels, which)


def test_agrees_with_scikit_learn_where_that_converges() -> None:
    W, _ = planted(120, 12, 0.2)
    ours = cluster_rows(W, 0.7)
    theirs = AffinityPropagation(affinity="precomputed", preference=0.7, random_state=0)
    labels = theirs.fit(similarity(W.astype(np.float64))).labels_
    assert same_partition(ours.labels, labels)


def test_dead_rows_have_no_cluster_and_are_not_counted() -> None:
    W, _ = planted(60, 6, 0.02)
    W[[0, 10, 59]] = 0
    found = cluster_rows(W, 0.6)
    assert np.flatnonzero(found.labels == -1).tolist() == [0, 10, 59]
    assert found.alive == 57
    assert found.count == 6
    assert set(found.labels.tolist()) == set(range(-1, found.count))


def test_a_higher_preference_gives_at_least_as_many_clusters() -> None:
    W, _ = planted(150, 20, 0.3)
    counts = [cluster_rows(W, p, untied_above=1.0).count for p in (-0.5, 0.3, 0.6, 0.8, 0.9)]
    assert counts == sorted(counts)
    assert counts[0] < counts[-1]


def test_the_same_arguments_give_the_same_labels() -> None:
    W, _ = planted(150, 20, 0.5)
    first = cluster_rows(W, 0.7, seed=3)
    np.testing.assert_array_equal(first.labels, cluster_rows(W, 0.7, seed=3).labels)


@pytest.mark.parametrize("preference", [-0.5, 0.6, 0.8, 0.95])
def test_equal_rows_are_one_cluster_however_many(preference: float) -> None:
    for n in (2, 3, 50):
        assert cluster_rows(np.ones((n, 4)), preference).labels.tolist() == [0] * n


def test_opposite_rows_are_two_clusters() -> None:
    W = np.vstack([np.ones((20, 3)), -np.ones((20, 3))])
    assert cluster_rows(W, 0.8).labels.tolist() == [0] * 20 + [1] * 20


def test_rows_of_one_direction_and_different_length_stay_apart() -> None:
    W = np.array([[1.0, 1.0], [1.01, 1.01], [4.0, 4.0], [4.02, 4.02]])
    assert cluster_rows(W, 0.8).labels.tolist() == [0, 0, 1, 1]


def test_no_row_and_one_row() -> None:
    assert cluster_rows(np.zeros((5, 3)), 0.8).count == 0
    assert cluster_rows(np.zeros((5, 3)), 0.8).labels.tolist() == [-1] * 5
    assert cluster_rows(np.array([[0.0], [2.0]]), 0.8).labels.tolist() == [-1, 0]


@pytest.mark.parametrize(("angle", "count"), [(0.1, 1), (1.5, 2)])
def test_two_rows_share_where_they_are_more_alike_than_the_preference(
    angle: float, count: int
) -> None:
    W = np.array([[1.0, 0.0], [np.cos(angle), np.sin(angle)]])
    assert cluster_rows(W, 0.8).count == count


def test_a_layer_that_hardly_clusters_is_left_untied() -> None:
    W, _ = planted(60, 57, 0.01)
    assert cluster_rows(W, 0.8, untied_above=0.95).count == 57
    assert cluster_rows(W, 0.8, untied_above=0.94).labels.tolist() == list(range(60))


def test_what_does_not_settle_is_said_and_still_gives_a_partition(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(cluster, "_ITERATIONS", 10)
    W, _ = planted(80, 8, 0.1)
    W[0] = 0
    found = cluster_rows(W, 0.7)
    assert not found.converged
    assert set(found.labels.tolist()) == set(range(-1, found.count))
    assert found.count < 79


def test_with_no_exemplar_at_all_every_row_stands_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster, "_ITERATIONS", 0)
    W, _ = planted(20, 4, 0.1)
    found = cluster_rows(W, 0.7)
    assert not found.converged
    assert found.labels.tolist() == list(range(20))


def test_a_matrix_over_the_limit_is_clustered_in_blocks_to_the_same_groups() -> None:
    W, which = planted(400, 30, 0.02)
    W[7] = 0
    found = cluster_rows(W, 0.7, limit=64)
    alive = found.labels >= 0
    assert found.converged
    assert found.alive == 399
    assert same_partition(found.labels[alive], which[alive])


def test_rows_that_do_not_cluster_cost_one_pass_of_blocks() -> None:
    W = np.random.default_rng(0).standard_normal((300, 50))
    assert cluster_rows(W, 0.8, limit=40).count == 300


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_tied_rows_are_bitwise_equal_means_and_dead_rows_zero(dtype: type) -> None:
    W: np.ndarray = np.random.default_rng(1).standard_normal((6, 5)).astype(dtype)
    before = W.copy()
    labels = np.array([1, -1, 0, 1, 2, 1])
    tied = tie(W, labels)
    assert tied.dtype == dtype
    assert tied[0].tobytes() == tied[3].tobytes() == tied[5].tobytes()
    np.testing.assert_allclose(tied[0], W[[0, 3, 5]].mean(axis=0), rtol=1e-6)
    np.testing.assert_array_equal(tied[2], W[2])
    np.testing.assert_array_equal(tied[4], W[4])
    np.testing.assert_array_equal(tied[1], 0)
    np.testing.assert_array_equal(W, before)
    assert tie(tied, labels).tobytes() == tied.tobytes()


def test_tying_a_dead_layer_gives_zeros() -> None:
    np.testing.assert_array_equal(tie(np.ones((3, 2)), np.full(3, -1)), np.zeros((3, 2)))


def test_wrong_input_is_refused() -> None:
    with pytest.raises(ValueError, match="finite matrix"):
        cluster_rows(np.full((2, 2), np.nan), 0.8)
    with pytest.raises(ValueError, match="finite matrix"):
        cluster_rows(np.ones(3), 0.8)
    with pytest.raises(ValueError, match="limit"):
        cluster_rows(np.ones((3, 3)), 0.8, limit=1)
    with pytest.raises(ValueError, match="labels"):
        tie(np.ones((3, 3)), np.zeros(2, dtype=np.int64))
