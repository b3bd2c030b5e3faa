"""Penalties as theorems about matrices of rows."""

from dataclasses import replace
from itertools import combinations
from typing import Any, get_args

import numpy as np
import pytest
from numpy.typing import NDArray

from tieshare.penalties import (
    L1,
    PENALTIES,
    Matrix,
    OrderedRows,
    Penalty,
    WeightDecay,
    piecewise_linear,
    row_weights,
    slope_weights,
)
from tieshare.recipe import PenaltyName

NAMES = get_args(PenaltyName)
ORDERED: tuple[PenaltyName, ...] = ("growl", "oscar", "slope", "group_lasso")


def rows(n: int = 30, m: int = 7, seed: int = 0) -> NDArray[np.float64]:
    """Rows whose norms spread over two decades."""
    rng = np.random.default_rng(seed)
    return rng.standard_normal((n, m)) * 10 ** rng.uniform(-1, 1, (n, 1))


def objective(penalty: Penalty, X: Matrix, W: Matrix, step: float) -> float:
    return 0.5 * float(np.sum((X - W) ** 2)) + step * penalty.value(X)


def test_the_table_has_every_penalty_of_the_recipe() -> None:
    assert set(PENALTIES) == set(NAMES)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("l2", [0.0, 0.3])
def test_no_nearby_matrix_has_a_lower_objective(name: PenaltyName, l2: float) -> None:
    W = rows()
    penalty = PENALTIES[name](len(W), l2).at(2.0)
    best = penalty.prox(W, 0.7)
    lowest = objective(penalty, best, W, 0.7)
    rng = np.random.default_rng(1)
    for size in (1e-5, 1e-3, 1e-1):
        for _ in range(50):
            other = best + size * rng.standard_normal(W.shape)
            assert lowest < objective(penalty, other, W, 0.7)
            assert lowest <= objective(penalty, best * (1 + size * rng.standard_normal()), W, 0.7)


@pytest.mark.parametrize("name", NAMES)
def test_strength_zero_without_l2_changes_nothing(name: PenaltyName) -> None:
    W = rows()
    penalty = PENALTIES[name](len(W), 0.0).at(0.0)
    np.testing.assert_array_equal(penalty.prox(W, 0.7), W)
    assert penalty.value(W) == 0.0


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_prox_keeps_the_float_type_and_its_input(name: PenaltyName, dtype: Any) -> None:
    W = rows().astype(dtype)
    before = W.copy()
    answer = PENALTIES[name](len(W), 0.1).prox(W, 0.5)
    assert answer.dtype == dtype
    np.testing.assert_array_equal(W, before)
    np.testing.assert_allclose(
        answer, PENALTIES[name](len(W), 0.1).prox(before.astype(np.float64), 0.5), rtol=2e-5
    )


def ordered(name: PenaltyName, n: int, l2: float = 0.0) -> OrderedRows:
    penalty = PENALTIES[name](n, l2)
    assert isinstance(penalty, OrderedRows)
    return penalty


@pytest.mark.parametrize("name", ORDERED)
@pytest.mark.parametrize("seed", range(5))
def test_no_choice_of_tied_norms_has_a_lower_objective_than_the_prox(
    name: PenaltyName, seed: int
) -> None:
    """Norms that are tied lie side by side in their order, and are their mean less that of lam."""
    W, n = rows(n=7, seed=seed), 7
    norms = np.linalg.norm(W, axis=1)
    order = np.argsort(-norms)
    penalty = ordered(name, n).at(float(np.median(norms)))
    lowest = np.inf
    for cuts in (set(c) for k in range(n) for c in combinations(range(1, n), k)):
        new = np.zeros(n)
        for block in np.split(np.arange(n), sorted(cuts)):
            mean = (norms[order[block]] - penalty.strength * penalty.lam[block]).mean()
            new[order[block]] = max(mean, 0.0)
        lowest = min(lowest, objective(penalty, W * (new / norms)[:, None], W, 1.0))
    assert objective(penalty, penalty.prox(W, 1.0), W, 1.0) == pytest.approx(lowest, rel=1e-12)


@pytest.mark.parametrize("name", ORDERED)
def test_a_matrix_is_its_prox_and_its_projection_onto_the_dual_ball(name: PenaltyName) -> None:
    """Moreau: what the prox takes away has dual norm `strength`, and is a subgradient there."""
    W, strength = rows(), 0.8
    penalty = ordered(name, len(W)).at(strength)
    X = penalty.prox(W, 1.0)
    taken = W - X
    dual = penalty.critical_strength(np.linalg.norm(taken, axis=1))
    assert dual == pytest.approx(strength, rel=1e-12)
    assert np.vdot(taken, X) == pytest.approx(penalty.value(X), rel=1e-12)


@pytest.mark.parametrize("name", NAMES)
def test_l2_beside_a_penalty_is_a_shorter_step_from_a_smaller_matrix(name: PenaltyName) -> None:
    """prox of t (Omega + l2/2 ||.||^2) at W = prox of t' Omega at W / (1 + t l2), t' likewise."""
    W, step, l2 = rows(), 0.7, 0.4
    both = PENALTIES[name](len(W), l2).prox(W, step)
    smaller = 1 + step * l2
    alone = PENALTIES[name](len(W), 0.0).prox(W / smaller, step / smaller)
    np.testing.assert_allclose(both, alone, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("name", ORDERED)
def test_all_rows_are_zero_exactly_from_the_critical_strength_on(name: PenaltyName) -> None:
    W = rows()
    penalty = ordered(name, len(W))
    critical = penalty.critical_strength(np.linalg.norm(W, axis=1))
    assert np.all(penalty.at(critical * (1 + 1e-12)).prox(W, 1.0) == 0)
    assert np.any(penalty.at(critical * (1 - 1e-9)).prox(W, 1.0) != 0)


def test_equal_weights_are_group_lasso() -> None:
    W = rows()
    flat = OrderedRows(row_weights(len(W), fraction=1.0, contrast=1.0), strength=0.8)
    norms = np.linalg.norm(W, axis=1, keepdims=True)
    np.testing.assert_allclose(flat.prox(W, 1.0), W * np.maximum(1 - 0.8 / norms, 0), atol=1e-12)
    assert flat.value(W) == pytest.approx(0.8 * norms.sum())
    np.testing.assert_array_equal(flat.lam, np.ones(len(W)))


def test_rows_of_one_column_under_group_lasso_are_the_lasso() -> None:
    W = rows(m=1)
    group = PENALTIES["group_lasso"](len(W), 0.0).at(0.6)
    np.testing.assert_allclose(group.prox(W, 1.0), L1(strength=0.6).prox(W, 1.0), atol=1e-12)
    assert group.value(W) == pytest.approx(L1(strength=0.6).value(W))


def test_l1_is_a_soft_threshold_of_every_entry() -> None:
    W = np.array([[3.0, -0.5], [-2.0, 0.0]])
    np.testing.assert_allclose(L1(strength=2.0).prox(W, 0.5), [[2.0, 0.0], [-1.0, 0.0]])
    assert L1(strength=2.0).value(W) == 11.0


def test_weight_decay_divides() -> None:
    W = np.array([[3.0, -1.0]])
    np.testing.assert_allclose(WeightDecay(strength=2.0, l2=1.0).prox(W, 0.5), W / 2.5)
    assert WeightDecay(strength=2.0, l2=1.0).value(W) == 15.0


def test_rows_keep_their_directions_and_near_norms_become_equal() -> None:
    W = np.array([[3.0, 0.0], [0.0, 2.9], [0.1, 0.0], [0.0, 0.0]])
    penalty = OrderedRows(np.array([2.0, 1.0, 0.5, 0.5]))
    X = penalty.prox(W, 1.0)
    np.testing.assert_allclose(X, [[1.45, 0.0], [0.0, 1.45], [0.0, 0.0], [0.0, 0.0]])


def test_row_scales_give_the_prox_and_leave_zero_rows_at_zero() -> None:
    W = rows()
    W[3] = 0.0
    penalty = PENALTIES["growl"](len(W), 0.2).at(1.5)
    assert isinstance(penalty, OrderedRows)
    scales = penalty.row_scales(np.linalg.norm(W, axis=1).astype(np.float32), 0.7)
    assert scales.dtype == np.float64
    assert scales[3] == 0.0
    assert np.all((scales >= 0) & (scales <= 1))
    np.testing.assert_allclose(W * scales[:, None], penalty.prox(W, 0.7), rtol=1e-5, atol=1e-7)


def test_another_strength_shares_the_weights() -> None:
    penalty = OrderedRows(row_weights(10), l2=0.5)
    stronger = penalty.at(3.0)
    assert (stronger.strength, stronger.l2, penalty.strength) == (3.0, 0.5, 1.0)
    assert stronger.lam is penalty.lam
    assert replace(L1(l2=0.5), strength=3.0) == L1(l2=0.5).at(3.0)


@pytest.mark.parametrize("n", [1, 2, 3, 10, 784])
@pytest.mark.parametrize("fraction", [0.01, 0.5, 1.0])
@pytest.mark.parametrize("contrast", [1.0, 4.0, 16.0])
def test_row_weights_fall_have_mean_one_and_the_contrast_asked_for(
    n: int, fraction: float, contrast: float
) -> None:
    lam = row_weights(n, fraction=fraction, contrast=contrast)
    assert lam.shape == (n,)
    assert np.all(np.diff(lam) <= 0)
    assert lam.mean() == pytest.approx(1.0)
    if n > 1 and round(fraction * n) < n:
        assert lam[0] / lam[-1] == pytest.approx(contrast)
    assert np.all(lam[max(1, round(fraction * n)) :] == lam[-1])


@pytest.mark.parametrize("name", NAMES)
def test_equal_rows_stay_equal(name: PenaltyName) -> None:
    W = rows()
    W[[3, 11, 20]] = W[7]
    X = PENALTIES[name](len(W), 0.2).at(0.5).prox(W.astype(np.float32), 0.7)
    assert len({row.tobytes() for row in X[[3, 7, 11, 20]]}) == 1


def test_slope_weights_are_the_normal_quantiles_of_benjamini_and_hochberg() -> None:
    """1 - 0.1 i / 2n for n = 2: 0.975 and 0.95, whose quantiles are in every table."""
    quantiles = np.array([1.959964, 1.644854])
    np.testing.assert_allclose(slope_weights(2), quantiles / quantiles.mean(), rtol=1e-6)


@pytest.mark.parametrize("n", [1, 2, 784, 1_000_000])
@pytest.mark.parametrize("q", [1e-6, 0.1, 0.999])
def test_slope_weights_fall_stay_above_zero_and_have_mean_one(n: int, q: float) -> None:
    lam = slope_weights(n, q=q)
    assert lam.shape == (n,)
    assert np.all(np.diff(lam) < 0)
    assert lam[-1] > 0
    assert lam.mean() == pytest.approx(1.0)


def test_a_low_rate_of_false_discovery_makes_slope_group_lasso() -> None:
    contrasts = [lam[0] / lam[-1] for lam in (slope_weights(100, q=q) for q in (0.5, 0.1, 1e-300))]
    assert contrasts == sorted(contrasts, reverse=True)
    assert contrasts[-1] == pytest.approx(1.0, abs=0.01)


def test_decay_over_all_rows_is_oscar() -> None:
    n, lambda1, lambda2 = 9, 0.5, 0.25
    expected = [lambda1 + lambda2 * (n - i) for i in range(1, n + 1)]
    np.testing.assert_allclose(piecewise_linear(n, lambda1, lambda2, n), expected)


def test_the_papers_mnist_weights() -> None:
    lam = piecewise_linear(784, 12.0, 0.235, 392)
    assert lam[0] == pytest.approx(12 + 0.235 * 783)
    assert np.all(lam[391:] == 12.0)
    assert lam[0] / lam[-1] == pytest.approx(16.3, abs=0.1)


@pytest.mark.parametrize(
    "make",
    [
        lambda: row_weights(0),
        lambda: slope_weights(0),
        lambda: slope_weights(5, q=0.0),
        lambda: slope_weights(5, q=1.0),
        lambda: row_weights(5, fraction=0.0),
        lambda: row_weights(5, fraction=1.1),
        lambda: row_weights(5, contrast=0.9),
        lambda: row_weights(5, contrast=np.inf),
        lambda: piecewise_linear(5, 1.0, 1.0, 6),
        lambda: piecewise_linear(5, 1.0, 1.0, 0),
        lambda: piecewise_linear(5, -1.0, 1.0, 2),
    ],
)
def test_weights_that_make_no_norm_are_refused(make: Any) -> None:
    with pytest.raises(ValueError, match=r"must|at least"):
        make()
