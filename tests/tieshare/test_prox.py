"""The prox as theorems, and an isotonic regression as its oracle."""

from collections.abc import Callable
from time import perf_counter
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray
from scipy.optimize import isotonic_regression

from tieshare import prox
from tieshare.prox import critical_scale, prox_sorted_l1

Vector = NDArray[np.float64]

VALUES = st.floats(-100, 100, allow_nan=False, width=64)
SHORT_AND_LONG = (1, 2, 17, 784, 1023, 1024, 1025, 4608, 25_088)


def omega(x: Vector, lam: Vector) -> float:
    return float(np.sort(np.abs(x))[::-1] @ lam)


def objective(x: Vector, v: Vector, lam: Vector) -> float:
    return 0.5 * float((x - v) @ (x - v)) + omega(x, lam)


def oracle(v: Vector, lam: Vector) -> Vector:
    """Sort, regress with scipy's documented function, clip, unsort."""
    order = np.argsort(-np.abs(v), kind="stable")
    fitted = isotonic_regression(np.abs(v)[order] - lam, increasing=False).x
    x = np.empty(v.size)
    x[order] = np.maximum(fitted, 0)
    return np.asarray(np.copysign(x, v))


@st.composite
def problems(draw: st.DrawFn) -> tuple[Vector, Vector]:
    """A vector with ties and zeros among its entries, and a lam of the same length."""
    n = draw(st.integers(1, 40))
    entries = st.one_of(VALUES, st.sampled_from([0.0, -0.0, 1.0, -1.0, 2.5]))
    v = draw(arrays(np.float64, n, elements=entries))
    lam = draw(arrays(np.float64, n, elements=st.floats(0, 50, width=64)))
    return v, np.sort(lam)[::-1].copy()


@given(problems())
def test_agrees_with_an_isotonic_regression(problem: tuple[Vector, Vector]) -> None:
    v, lam = problem
    np.testing.assert_allclose(prox_sorted_l1(v, lam), oracle(v, lam), rtol=0, atol=1e-10)


@pytest.mark.parametrize("n", SHORT_AND_LONG)
@pytest.mark.parametrize("floor", [0.0, 0.5, 1.5, 9.0])
def test_agrees_with_an_isotonic_regression_at_every_size(n: int, floor: float) -> None:
    rng = np.random.default_rng(n)
    v = rng.standard_normal(n)
    lam = floor + np.maximum(0, 1 - 2 * np.arange(n) / n)
    np.testing.assert_allclose(prox_sorted_l1(v, lam), oracle(v, lam), rtol=0, atol=1e-10)


@pytest.mark.parametrize("n", [500, 5000])
def test_magnitudes_that_differ_in_their_last_bits_keep_their_order(n: int) -> None:
    rng = np.random.default_rng(0)
    v = 1 + rng.permutation(n) * np.finfo(np.float64).eps
    lam = np.linspace(0.2, 0.1, n)
    x = prox_sorted_l1(v, lam)
    np.testing.assert_allclose(x, oracle(v, lam), rtol=0, atol=1e-10)
    if n >= 1024:
        assert np.all(np.diff(x[np.argsort(v)]) >= 0)


@given(problems(), st.floats(0, 50))
def test_equal_weights_are_a_soft_threshold(problem: tuple[Vector, Vector], level: float) -> None:
    v, _ = problem
    expected = np.sign(v) * np.maximum(np.abs(v) - level, 0)
    np.testing.assert_allclose(prox_sorted_l1(v, np.full(v.size, level)), expected, atol=1e-12)


@given(problems())
def test_zero_weights_are_the_identity(problem: tuple[Vector, Vector]) -> None:
    v, _ = problem
    np.testing.assert_array_equal(prox_sorted_l1(v, np.zeros(v.size)), v)


@given(problems(), st.randoms(use_true_random=False))
def test_commutes_with_permutations_and_signs(problem: tuple[Vector, Vector], random: Any) -> None:
    v, lam = problem
    places = np.array(random.sample(range(v.size), v.size))
    signs = np.array([random.choice([-1.0, 1.0]) for _ in v])
    np.testing.assert_allclose(
        prox_sorted_l1((signs * v)[places], lam),
        (signs * prox_sorted_l1(v, lam))[places],
        atol=1e-12,
    )


@given(problems())
def test_keeps_signs_and_the_order_of_magnitudes(problem: tuple[Vector, Vector]) -> None:
    v, lam = problem
    x = prox_sorted_l1(v, lam)
    assert np.all(x * v >= 0)
    assert np.all(np.abs(x) <= np.abs(v) + 1e-12)
    by_size = np.argsort(np.abs(v), kind="stable")
    assert np.all(np.diff(np.abs(x)[by_size]) >= -1e-10)


@given(problems(), st.integers(0, 2**32 - 1))
def test_no_nearby_point_is_better(problem: tuple[Vector, Vector], seed: int) -> None:
    v, lam = problem
    x = np.asarray(prox_sorted_l1(v, lam), dtype=np.float64)
    best = objective(x, v, lam)
    rng = np.random.default_rng(seed)
    for size in (1e-4, 1e-2, 1.0):
        for _ in range(5):
            other = x + size * rng.standard_normal(v.size)
            assert best <= objective(other, v, lam) + 1e-9 * (1 + best)


@given(problems())
def test_the_residual_is_a_subgradient(problem: tuple[Vector, Vector]) -> None:
    """Moreau: v - x lies in the dual ball of Omega, and <v - x, x> = Omega(x)."""
    v, lam = problem
    x = np.asarray(prox_sorted_l1(v, lam), dtype=np.float64)
    residual = v - x
    excess = np.cumsum(np.sort(np.abs(residual))[::-1]) - np.cumsum(lam)
    assert np.max(excess) <= 1e-9 * (1 + np.abs(v).sum())
    assert float(residual @ x) == pytest.approx(omega(x, lam), rel=1e-9, abs=1e-9)


@given(problems(), st.integers(0, 2**32 - 1))
def test_is_non_expansive(problem: tuple[Vector, Vector], seed: int) -> None:
    v, lam = problem
    w = v + np.random.default_rng(seed).standard_normal(v.size)
    apart = np.linalg.norm(prox_sorted_l1(v, lam) - prox_sorted_l1(w, lam))
    assert apart <= np.linalg.norm(v - w) + 1e-10


@given(problems())
def test_is_zero_exactly_from_the_critical_scale_on(problem: tuple[Vector, Vector]) -> None:
    v, lam = problem
    lam = lam + 0.1
    critical = critical_scale(v, lam)
    np.testing.assert_array_equal(prox_sorted_l1(v, critical * (1 + 1e-12) * lam), 0)
    if critical > 1e-6:
        assert np.any(prox_sorted_l1(v, critical * (1 - 1e-6) * lam) != 0)


def test_two_entries_closer_than_their_weights_become_one_value() -> None:
    np.testing.assert_allclose(prox_sorted_l1([3.0, -2.5, 0.1], [2.0, 1.0, 0.5]), [1.25, -1.25, 0])


def test_the_kernel_and_the_documented_function_agree() -> None:
    z = np.random.default_rng(1).standard_normal(2000)
    np.testing.assert_allclose(
        prox._isotonic_kernel(z.copy()), prox._isotonic_public(z), rtol=0, atol=1e-13
    )


@pytest.mark.parametrize("n", [0, 1])
def test_the_shortest_vectors(n: int) -> None:
    assert prox_sorted_l1(np.full(n, -3.0), np.full(n, 1.0)).tolist() == [-2.0] * n


def test_keeps_the_float_type_and_leaves_its_inputs_alone() -> None:
    v = np.array([3, -2, 1], dtype=np.float32)
    lam = np.array([1.0, 0.5, 0.25])
    x = prox_sorted_l1(v, lam)
    assert x.dtype == np.float32
    assert x.tolist() == [2.0, -1.5, 0.75]
    assert v.tolist() == [3, -2, 1]
    assert lam.tolist() == [1.0, 0.5, 0.25]
    assert prox_sorted_l1(np.array([3, -2, 1]), lam).dtype == np.float64


def test_reads_vectors_with_any_stride() -> None:
    rng = np.random.default_rng(3)
    table = rng.standard_normal((3000, 2))
    lam = np.linspace(2, 0, 3000)
    np.testing.assert_array_equal(
        prox_sorted_l1(table[::-1, 1], lam), prox_sorted_l1(table[::-1, 1].copy(), lam)
    )


@pytest.mark.parametrize(
    ("v", "lam", "message"),
    [
        ([1.0, 2.0], [1.0], "one length"),
        ([[1.0]], [[1.0]], "vectors"),
        ([1.0, 2.0], [1.0, 2.0], "non-increasing"),
        ([1.0, 2.0], [1.0, -1.0], "non-negative"),
        ([1.0, 2.0], [1.0, np.nan], "lam"),
        ([1.0, 2.0], [np.inf, 1.0], "lam must be finite"),
        ([np.nan, 2.0], [2.0, 1.0], "v must be finite"),
        ([np.inf, 2.0], [1.0, 1.0], "v must be finite"),
        ([np.nan] + [0.0] * 2000, np.linspace(2, 1, 2001), "v must be finite"),
    ],
)
def test_refuses_what_is_no_problem_of_this_kind(v: Any, lam: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        prox_sorted_l1(v, lam)


def test_no_scale_of_zero_weights_reaches_zero() -> None:
    with pytest.raises(ValueError, match="above 0"):
        critical_scale([1.0], [0.0])


def sawtooth(n: int) -> Vector:
    return np.sort(np.arange(n) % 100 + np.arange(n) / n)[::-1].copy()


@pytest.mark.parametrize(
    "make",
    [
        np.zeros,
        np.ones,
        lambda n: np.arange(n, dtype=np.float64),
        lambda n: np.arange(n, 0, -1, dtype=np.float64),
        sawtooth,
        lambda n: 1 + np.random.default_rng(0).permutation(n) * 2.0**-52,
    ],
    ids=["zeros", "ties", "rising", "falling", "sawtooth", "last bits"],
)
def test_no_input_takes_more_than_linear_time_and_a_logarithm(
    make: Callable[[int], Vector],
) -> None:
    n = 300_000
    v = make(n)
    lam = np.linspace(2.0 * np.max(v) / n, 0, n)
    start = perf_counter()
    x = prox_sorted_l1(v, lam)
    assert perf_counter() - start < 2
    np.testing.assert_allclose(x, oracle(v, lam), atol=1e-8 * max(1, np.max(v)))
