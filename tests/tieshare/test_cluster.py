"""Clusters of rows and the tied matrix."""

import time
import tracemalloc
import warnings
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.cluster import AffinityPropagation

from tieshare.cluster import cluster_rows, exemplars, similarity, tie
from tieshare.cluster.messages import Schedule

Matrix = NDArray[np.float32]
Labels = NDArray[np.int64]


def planted(n: int, k: int, noise: float, m: int = 40, seed: int = 0) -> tuple[Matrix, Labels]:
    """Rows about k centres, and the centre of each."""
    rng = np.random.default_rng(seed)
    which = np.concatenate([np.arange(k), rng.integers(0, k, n - k)])
    W = rng.standard_normal((k, m))[which] + noise * rng.standard_normal((n, m))
    return W.astype(np.float32), which


def made(kind: str, n: int, m: int = 48) -> Matrix:
    """Rows of one kind."""
    W: NDArray[np.floating[Any]]
    rng = np.random.default_rng(0)
    match kind:
        case "after GrOWL":  # few directions, some norms, noise
            which = rng.integers(0, n // 30, n)
            norms = rng.choice([1.0, 1.5, 2.5, 4.0], n) * np.exp(0.05 * rng.standard_normal(n))
            W = rng.standard_normal((n // 30, m))[which] + 0.15 * rng.standard_normal((n, m))
            W *= norms[:, None]
        case "all distinct":
            W = rng.standard_normal((n, m))
        case "mixed norms":
            W = planted(n, n // 10, 0.3, m)[0] * np.exp(0.5 * rng.standard_normal((n, 1)))
        case "low rank":
            W = rng.standard_normal((n, 3)) @ rng.standard_normal((3, m))
        case "one direction":
            W = np.abs(rng.standard_normal((n, 1))) @ rng.standard_normal((1, m))
        case "one sign":
            W = np.abs(rng.standard_normal((n, m)))
        case "equal rows":
            W = planted(n, n // 8, 0.0, m)[0]
        case "large groups":
            W = planted(n, 4, 0.2, m)[0]
    return W.astype(np.float32)


KINDS = (
    "after GrOWL",
    "all distinct",
    "mixed norms",
    "low rank",
    "one direction",
    "one sign",
    "equal rows",
    "large groups",
)


def net_similarity(W: Matrix, labels: Labels, preference: float) -> float:
    """The sum of similarities to exemplars, the best in each cluster, which has the preference."""
    S = similarity(W.astype(np.float64))
    np.fill_diagonal(S, preference)
    clusters = (np.flatnonzero(labels == label) for label in np.unique(labels))
    return float(sum(S[np.ix_(rows, rows)].sum(axis=0).max() for rows in clusters))


def plain(W: Matrix, preference: float) -> Labels:
    """Labels of scikit-learn's affinity propagation."""
    method = AffinityPropagation(
        affinity="precomputed", preference=preference, damping=0.7, max_iter=400, random_state=0
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that it didn't settle
        labels: Labels = method.fit(similarity(W.astype(np.float64))).labels_.astype(np.int64)
    alone = np.flatnonzero(labels < 0)
    labels[alone] = len(W) + np.arange(len(alone))
    return labels


def same_partition(a: Labels, b: Labels) -> bool:
    return np.array_equal(a[:, None] == a[None, :], b[:, None] == b[None, :])


@pytest.mark.parametrize("preference", [0.6, 0.8])
def test_finds_the_groups_that_were_planted(preference: float) -> None:
    W, which = planted(200, 25, 0.05)
    found = cluster_rows(W, preference)
    assert found.converged
    assert found.count == 25
    assert same_partition(found.labels, which)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("preference", [0.0, 0.6, 0.8, 0.95])
def test_the_net_similarity_is_that_of_plain_affinity_propagation(
    kind: str, preference: float
) -> None:
    W = made(kind, 300)
    ours = cluster_rows(W, preference, untied_above=1.0)
    theirs = net_similarity(W, plain(W, preference), preference)
    assert ours.converged
    assert net_similarity(W, ours.labels, preference) >= 0.999 * theirs


def test_agrees_with_scikit_learn_row_by_row_where_the_groups_are_clear() -> None:
    W, _ = planted(120, 12, 0.2)
    assert same_partition(cluster_rows(W, 0.7).labels, plain(W, 0.7))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("preference", [0.0, 0.6])
def test_few_pairs_of_each_row_do_as_well_as_all(kind: str, preference: float) -> None:
    W = made(kind, 600)
    whole = cluster_rows(W, preference, untied_above=1.0)
    few = cluster_rows(W, preference, untied_above=1.0, limit=120)  # 24 pairs a row
    net = net_similarity(W, few.labels, preference)
    assert net >= 0.995 * net_similarity(W, whole.labels, preference)
    assert few.count <= 1.2 * whole.count


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
    counts = [cluster_rows(W, p, untied_above=1.0).count for p in (-0.5, 0.3, 0.6, 0.8, 0.9, 1)]
    assert counts == sorted(counts)
    assert counts[0] < counts[-1] == 150


@pytest.mark.parametrize("limit", [1000, 60])
def test_the_same_arguments_give_the_same_labels(limit: int) -> None:
    W = made("one sign", 300)
    first = cluster_rows(W, 0.6, seed=3, limit=limit)
    np.testing.assert_array_equal(first.labels, cluster_rows(W, 0.6, seed=3, limit=limit).labels)


@pytest.mark.parametrize("preference", [-0.5, 0.6, 0.8, 0.95])
@pytest.mark.parametrize("limit", [1000, 20])
def test_equal_rows_are_one_cluster_however_many(preference: float, limit: int) -> None:
    for n in (2, 3, 50, 1000):
        W = np.ones((n, 4))
        assert cluster_rows(W, preference, limit=limit).labels.tolist() == [0] * n


@pytest.mark.parametrize("noise", [0.0, 1e-6, 0.003])
@pytest.mark.parametrize("preference", [0.0, 0.6])
def test_large_groups_of_rows_that_are_all_but_equal_settle(
    noise: float, preference: float
) -> None:
    W, which = planted(900, 3, noise)
    found = cluster_rows(W, preference)
    assert found.converged
    assert same_partition(found.labels, which)


def test_opposite_rows_are_two_clusters() -> None:
    W = np.vstack([np.ones((20, 3)), -np.ones((20, 3))])
    assert cluster_rows(W, 0.8).labels.tolist() == [0] * 20 + [1] * 20


def test_rows_of_one_direction_and_different_length_stay_apart() -> None:
    W = np.array([[1.0, 1.0], [1.01, 1.01], [4.0, 4.0], [4.02, 4.02]])
    assert cluster_rows(W, 0.8).labels.tolist() == [0, 0, 1, 1]


@pytest.mark.parametrize("scale", [1e-300, 1e-30, 1e30, 1e300])
def test_the_scale_of_a_matrix_is_no_matter(scale: float) -> None:
    W = planted(80, 8, 0.1)[0].astype(np.float64)
    np.testing.assert_array_equal(cluster_rows(W * scale, 0.6).labels, cluster_rows(W, 0.6).labels)


def test_no_row_and_one_row() -> None:
    assert cluster_rows(np.zeros((0, 3)), 0.8).count == 0
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


@pytest.mark.parametrize("iterations", [0, 1, 10, 20])
def test_what_does_not_settle_is_said_and_is_still_a_good_answer(
    iterations: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    W = made("one sign", 200)
    best = net_similarity(W, cluster_rows(W, 0.6).labels, 0.6)
    monkeypatch.setattr(exemplars, "_SCHEDULES", (Schedule(0.7, 1e-6, iterations),))
    W = np.vstack([W, np.zeros((1, 48), dtype=np.float32)])
    found = cluster_rows(W, 0.6)
    assert not found.converged
    assert set(found.labels.tolist()) == set(range(-1, found.count))
    assert net_similarity(W[:-1], found.labels[:-1], 0.6) >= 0.99 * best


def test_groups_that_no_answer_serves_better_need_no_messages(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(exemplars, "_SCHEDULES", ())
    W, which = planted(80, 8, 0.0)
    found = cluster_rows(W, 0.7)
    assert found.converged
    assert same_partition(found.labels, which)


def test_rows_that_do_not_cluster_stay_alone() -> None:
    W = np.random.default_rng(0).standard_normal((300, 50))
    found = cluster_rows(W, 0.8, limit=40)
    assert found.converged
    assert found.count == 300


def test_a_tall_matrix_takes_one_copy_of_itself() -> None:
    W = np.random.default_rng(0).standard_normal((2_000, 8_192), dtype=np.float32)
    tracemalloc.start()
    try:
        assert cluster_rows(W, 0.6).count == 2_000
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 2 * W.nbytes


@pytest.mark.parametrize("kind", ["after GrOWL", "all distinct"])
def test_thousands_of_rows_take_seconds(kind: str) -> None:
    W = made(kind, 5_000, 256)
    began = time.thread_time()
    found = cluster_rows(W, 0.6)
    assert time.thread_time() - began < 20
    assert found.converged


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
