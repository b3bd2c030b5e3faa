from typing import Any

import numpy as np
import pytest

from tieshare.cluster import by_path, cluster_by_path

Array = np.ndarray


def turned(*degrees: float, norms: tuple[float, ...] | float = 1.0) -> Array:
    """Rows in the plane at these angles."""
    angle = np.radians(degrees)
    rows = np.stack([np.cos(angle), np.sin(angle)], axis=1) * np.reshape(norms, (-1, 1))
    made: Array = rows.astype(np.float32)
    return made


def labels(W: Array, preference: float = 0.9, **options: Any) -> list[int]:
    """Clusters numbered as their first rows come."""
    found = cluster_by_path(W, preference, **options).labels.tolist()
    order = list(dict.fromkeys(label for label in found if label >= 0))
    return [order.index(label) if label >= 0 else -1 for label in found]


def test_rows_of_one_norm_and_nearly_one_direction_are_a_cluster() -> None:
    W = turned(0, 90, 10, 180, 95, norms=(2.0, 2.0, 2.0, 2.0, 2.0))
    assert labels(W) == [0, 1, 0, 2, 1]


def test_rows_of_one_direction_and_two_norms_are_two_clusters() -> None:
    W = turned(0, 5, 0, 5, norms=(1.0, 2.0, 1.005, 2.0))
    assert labels(W) == [0, 1, 0, 1]
    assert labels(W, tolerance=0.001) == [0, 1, 2, 1]


def test_zero_rows_are_in_no_cluster() -> None:
    W = turned(0, 0, 90, 90, 0, norms=(1.0, 0.0, 0.0, 1.0, 1.0))
    found = cluster_by_path(W, 0.9)
    assert labels(W) == [0, -1, -1, 1, 0]
    assert (found.alive, found.count, found.converged) == (3, 2, True)
    assert labels(np.zeros((3, 2), dtype=np.float32)) == [-1, -1, -1]


def test_every_row_is_like_the_one_that_represents_it_and_not_merely_like_a_neighbour() -> None:
    """0, 30, 60, 90 degrees is a chain of cosines of 0.87; 30 is first of those with two."""
    assert labels(turned(0, 30, 60, 90), preference=0.8) == [0, 0, 0, 1]
    W = np.random.default_rng(0).normal(size=(200, 4)).astype(np.float32)
    W /= np.linalg.norm(W, axis=1, keepdims=True)
    found = cluster_by_path(W, 0.7).labels
    for cluster in range(found.max() + 1):
        members = W[found == cluster]
        assert (members @ members.T).min(axis=1).max() >= 0.7 - 1e-6


@pytest.mark.parametrize(("preference", "count"), [(-1.0, 1), (0.05, 2), (0.9, 3), (1.0, 4)])
def test_a_higher_preference_gives_more_clusters(preference: float, count: int) -> None:
    W = turned(0, 0, 10, 85, 175)
    assert cluster_by_path(W, preference, untied_above=1.0).count == count


def test_equal_directions_are_one_cluster_at_the_highest_preference() -> None:
    W = np.random.default_rng(0).normal(size=(1, 300)).astype(np.float32)
    assert cluster_by_path(np.vstack([W, W * np.float32(1.0001)]), 1.0).count == 1


def test_a_layer_with_hardly_a_tie_is_left_alone() -> None:
    W = turned(*range(0, 60, 2), 0, norms=(*range(1, 31), 1.0))  # one pair among 31
    assert cluster_by_path(W, 0.9, untied_above=0.9).count == 31
    assert cluster_by_path(W, 0.9, untied_above=0.97).count == 30


def test_the_answer_does_not_depend_on_how_many_cosines_are_held_at_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    W = np.random.default_rng(0).normal(size=(300, 4)).astype(np.float32)
    W /= np.linalg.norm(W, axis=1, keepdims=True)
    whole = labels(W)
    monkeypatch.setattr(by_path, "_CHUNK", 1)
    assert labels(W) == whole
    assert 1 < max(whole) < 200


@pytest.mark.parametrize("W", [np.zeros(3), np.full((2, 2), np.nan), np.full((2, 2), np.inf)])
def test_what_is_no_finite_matrix_is_refused(W: Array) -> None:
    with pytest.raises(ValueError, match="finite matrix"):
        cluster_by_path(W, 0.5)
