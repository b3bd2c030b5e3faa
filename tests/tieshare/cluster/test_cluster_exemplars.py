"""Exemplars from gains: messages, improvement, and both together."""

from itertools import product

import numpy as np
import pytest
from numpy.typing import NDArray

from tieshare.cluster import exemplars as module
from tieshare.cluster.exemplars import exemplars
from tieshare.cluster.gains import Gains
from tieshare.cluster.improve import follow, improve, needless
from tieshare.cluster.messages import Schedule, pass_messages

Square = NDArray[np.float64]


def gains_of(G: Square) -> Gains:
    """The pairs above 0 of a matrix of gains, and the diagonal at 0."""
    G = G.copy()
    np.fill_diagonal(G, np.inf)
    rows, columns = np.nonzero(G > 0)
    values = np.where(rows == columns, 0, G[rows, columns]).astype(np.float32)
    return Gains(rows.astype(np.int32), columns.astype(np.int32), values)


def random_gains(n: int, seed: int, share: float = 0.5) -> Square:
    rng = np.random.default_rng(seed)
    G = np.where(rng.random((n, n)) < share, rng.random((n, n)), -1)
    return np.maximum(G, G.T)


def worth_of(G: Square, chosen: NDArray[np.bool_]) -> float:
    """What exemplars are worth, straight from the definition."""
    if not chosen.any():
        return 0.0
    return float(np.maximum(G[~chosen][:, chosen].max(axis=1), 0).sum())


def optimum(G: Square) -> float:
    sets = np.array(list(product([False, True], repeat=len(G))))
    return max(worth_of(G, chosen) for chosen in sets)


def test_small_problems_are_solved_to_within_a_hundredth_of_the_optimum_on_average() -> None:
    ratios = []
    for seed in range(40):
        G = random_gains(9, seed)
        answer, _ = exemplars(gains_of(G), np.random.default_rng(0))
        ratios.append(answer.worth.sum() / optimum(G))
    assert max(ratios) <= 1 + 1e-6
    assert min(ratios) > 0.9
    assert np.mean(ratios) > 0.99


def test_the_worth_of_an_answer_is_that_of_its_exemplars() -> None:
    G = random_gains(40, 0)
    answer, _ = exemplars(gains_of(G), np.random.default_rng(0))
    chosen = np.zeros(40, dtype=bool)
    chosen[answer.exemplar] = True
    np.testing.assert_array_equal(answer.exemplar[answer.exemplar], answer.exemplar)
    assert answer.worth.sum() == pytest.approx(worth_of(G, chosen), rel=1e-6)


def test_components_do_not_touch_each_other(monkeypatch: pytest.MonkeyPatch) -> None:
    G = np.full((90, 90), -1.0)
    parts = [np.arange(start, 90, 3) for start in range(3)]
    for seed, part in enumerate(parts):
        G[np.ix_(part, part)] = random_gains(30, seed)
    together, settled = exemplars(gains_of(G), np.random.default_rng(0))
    monkeypatch.setattr(module, "_BATCH", 1)
    apart, _ = exemplars(gains_of(G), np.random.default_rng(0))
    assert settled
    for part in parts:
        assert set(together.exemplar[part].tolist()) <= set(part.tolist())
        worth = together.worth[part].sum()
        assert worth == pytest.approx(apart.worth[part].sum(), rel=0.02)


def test_messages_settle_on_one_exemplar_for_each_clear_group() -> None:
    G = np.full((30, 30), -1.0)
    rng = np.random.default_rng(0)
    for start in (0, 10, 20):
        G[start : start + 10, start : start + 10] = 0.3 + 0.05 * rng.random((10, 10))
    gains = gains_of(G)
    chosen, settled = pass_messages(
        gains, gains.components(), Schedule(0.7, 1e-6, 200), np.random.default_rng(0)
    )
    assert settled.all()
    assert chosen.reshape(3, 10).sum(axis=1).tolist() == [1, 1, 1]


def test_messages_that_are_cut_short_have_not_settled() -> None:
    gains = gains_of(random_gains(30, 0))
    schedule = Schedule(0.7, 1e-6, 14)
    _, settled = pass_messages(gains, gains.components(), schedule, np.random.default_rng(0))
    assert not settled.any()


@pytest.mark.parametrize("start", ["none", "all", "some"])
def test_improvement_never_loses_and_ends_where_no_row_adds_anything(start: str) -> None:
    for seed in range(20):
        G = random_gains(40, seed, 0.2)
        gains = gains_of(G)
        chosen = {
            "none": np.zeros(40, dtype=bool),
            "all": np.ones(40, dtype=bool),
            "some": np.random.default_rng(seed).random(40) < 0.3,
        }[start]
        answer = improve(gains, gains.components(), chosen, 100)
        worth = answer.worth.sum()
        assert worth >= worth_of(G, chosen) - 1e-5
        final = np.zeros(40, dtype=bool)
        final[answer.exemplar[answer.worth > 0]] = True
        for row in np.flatnonzero(~final):
            more = final.copy()
            more[row] = True
            assert worth_of(G, more) <= worth + 1e-5


def test_an_exemplar_that_nobody_follows_is_needless_only_beside_another() -> None:
    G = np.full((4, 4), -1.0)
    G[0, 1] = G[1, 0] = 0.5
    gains = gains_of(G)
    chosen = np.array([True, True, True, False])
    assert needless(gains, follow(gains, chosen), chosen).tolist() == [True, True, False, False]
    chosen = np.array([True, False, True, False])
    assert not needless(gains, follow(gains, chosen), chosen).any()


def test_a_row_that_can_follow_nobody_is_the_exemplar_of_those_that_can_follow_it() -> None:
    rows, columns = np.array([0, 1, 1], dtype=np.int32), np.array([0, 0, 1], dtype=np.int32)
    gains = Gains(rows, columns, np.array([0, 0.4, 0], dtype=np.float32))
    chosen, settled = pass_messages(
        gains, gains.components(), Schedule(0.7, 1e-6, 200), np.random.default_rng(0)
    )
    assert settled.all()
    assert chosen.tolist() == [True, False]
