import numpy as np
import pytest
from benchmarks.stability import Problem, outcome_of, overlap


def test_the_overlap_is_the_mean_over_all_pairs() -> None:
    masks = [np.array(mask, dtype=bool) for mask in ([1, 1, 0, 0], [0, 1, 1, 0], [1, 1, 1, 0])]
    assert overlap(masks) == pytest.approx((1 / 3 + 2 / 3 + 2 / 3) / 3)


def test_inputs_of_a_group_are_as_correlated_as_was_asked() -> None:
    rng = np.random.default_rng(0)
    problem = Problem.made(rng, useful=5, correlation=0.9, lone=False)
    X = problem.sample(rng, 20_000).X
    correlation = X.T @ X / len(X)
    assert correlation[0, 4] == pytest.approx(0.9, abs=0.01)
    assert correlation[0, 5] == pytest.approx(0.0, abs=0.03)
    assert np.count_nonzero(problem.labels >= 0) == 25


def test_growl_selects_the_same_inputs_and_group_lasso_does_not() -> None:
    rng = np.random.default_rng(0)
    problem = Problem.made(rng, useful=5, correlation=0.95, lone=False)
    held_out, samples = problem.sample(rng, 500), [problem.sample(rng, 100) for _ in range(4)]
    growl, lasso = (
        overlap([found.selected for found in outcome_of(name, problem, samples, held_out).best])
        for name in ("GrOWL", "group lasso")
    )
    assert growl > 0.9
    assert lasso < 0.7
