"""The pairs of rows that are more alike than the preference."""

import numpy as np
import pytest
from numpy.typing import NDArray

from tieshare.cluster import pairs, similarity
from tieshare.cluster.gains import Gains
from tieshare.cluster.pairs import worthwhile_pairs
from tieshare.cluster.rows import alive_rows

Matrix = NDArray[np.float32]

EDGE = 1e-5  # pairs within this of the preference may fall on either side


def grouped(n: int, m: int, spread: float) -> Matrix:
    rng = np.random.default_rng(0)
    W = rng.standard_normal((n // 10, m))[rng.integers(0, n // 10, n)]
    W += 0.4 * rng.standard_normal((n, m))
    return (W * np.exp(spread * rng.standard_normal((n, 1)))).astype(np.float32)


def found(W: Matrix, preference: float, most: int = 10**6) -> tuple[Gains, bool]:
    rows = alive_rows(W)
    return worthwhile_pairs(
        rows, np.arange(len(rows.norms)), preference, most, np.random.default_rng(0)
    )


def dense(W: Matrix, preference: float) -> NDArray[np.float64]:
    """The gain of each pair of rows, in the order of their norms."""
    rows = alive_rows(W)
    return similarity(W[rows.numbers].astype(np.float64)) - preference


@pytest.mark.parametrize("preference", [-1.1, -0.2, 0.0, 0.3, 0.6, 0.8, 0.97, 1.0, 2.0])
@pytest.mark.parametrize("spread", [0.0, 0.2, 2.0])
@pytest.mark.parametrize("tile", [300, 10**6])
def test_they_are_all_those_and_no_others(
    preference: float, spread: float, tile: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pairs, "_TILE", tile)
    W = grouped(120, 80, spread)
    gains, thinned = found(W, preference)
    expected = dense(W, preference)
    np.fill_diagonal(expected, 0)
    given = np.full((120, 120), -np.inf)
    given[gains.rows, gains.columns] = gains.values
    assert len(gains.rows) == np.isfinite(given).sum()
    assert np.isfinite(given[expected > EDGE]).all()
    assert np.isinf(given[expected < -EDGE]).all()
    np.testing.assert_allclose(given[expected > EDGE], expected[expected > EDGE], atol=2e-6)
    np.testing.assert_array_equal(given.diagonal(), 0)
    assert not thinned


def test_they_are_ordered_by_row_and_each_row_has_itself() -> None:
    gains, _ = found(grouped(120, 80, 0.2), 0.6)
    assert (np.diff(gains.rows) >= 0).all()
    assert gains.n == 120
    np.testing.assert_array_equal(gains.rows[gains.starts], np.arange(120))
    np.testing.assert_array_equal(gains.columns[gains.own], np.arange(120))


def test_only_candidates_are_followed() -> None:
    W = grouped(120, 80, 0.2)
    candidates = np.array([3, 50, 51, 119])
    rows = alive_rows(W)
    gains, _ = worthwhile_pairs(rows, candidates, 0.0, 99, np.random.default_rng(0))
    others = gains.rows != gains.columns
    assert set(gains.columns[others].tolist()) == set(candidates.tolist())
    allowed = dense(W, 0.0)[:, candidates]
    assert others.sum() == (allowed > 0).sum() - 4  # each candidate is more than 0 like itself


def test_of_too_many_the_highest_are_kept_and_some_that_all_rows_share() -> None:
    W = np.abs(np.random.default_rng(0).standard_normal((200, 30))).astype(np.float32)
    gains, thinned = found(W, 0.0, most=20)
    whole = dense(W, 0.0)
    np.fill_diagonal(whole, -1)
    assert thinned
    others = gains.rows != gains.columns
    assert np.bincount(gains.rows[others]).tolist() == [20] * 200
    for row in range(200):
        kept = gains.columns[others & (gains.rows == row)]
        assert set(np.argsort(-whole[row])[:10].tolist()) <= set(kept.tolist())
    followers = np.sort(np.bincount(gains.columns[others], minlength=200))
    assert (followers[-9:] > 180).all()


def test_rows_that_are_not_zero_come_shortest_first_with_their_lengths() -> None:
    W = np.array([[3.0, 4.0], [0.0, 0.0], [0.0, -1e-200], [0.5, 0.0]])
    rows = alive_rows(W)
    assert rows.numbers.tolist() == [2, 3, 0]
    np.testing.assert_allclose(rows.norms, [1e-200, 0.5, 5.0])
    np.testing.assert_allclose(rows.directions, [[0.0, -1.0], [1.0, 0.0], [0.6, 0.8]], rtol=1e-6)
