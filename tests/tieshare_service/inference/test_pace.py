"""What a run is expected to cost, from the runs before it."""

from math import inf

import pytest

from tieshare_service.inference.pace import Pace


def test_nothing_seen_may_take_for_ever() -> None:
    assert Pace().expected(1) == inf


def test_a_size_seen_is_expected_to_cost_what_it_did() -> None:
    pace = Pace()
    pace.observe(784, 0.002)
    assert pace.expected(784) == 0.002
    assert pace.expected(1000) == 0.002


def test_a_larger_size_costs_in_proportion_and_a_smaller_one_no_more() -> None:
    pace = Pace()
    pace.observe(16, 0.001)
    assert pace.expected(64) == pytest.approx(0.004)
    assert pace.expected(1) == 0.001
    assert pace.expected(0) == 0.001


def test_no_size_costs_more_than_a_larger_one() -> None:
    pace = Pace()
    pace.observe(16, 0.001)
    pace.observe(256, 0.002)
    assert pace.expected(64) == 0.002
    assert pace.expected(512) == pytest.approx(0.004)


def test_the_average_follows_a_change() -> None:
    pace = Pace()
    pace.observe(1, 0.001)
    for _ in range(30):
        pace.observe(1, 0.1)
    assert pace.expected(1) == pytest.approx(0.1, rel=0.01)


def test_one_interrupted_run_does_not_make_a_model_slow() -> None:
    pace = Pace()
    pace.observe(1, 0.0001)
    pace.observe(1, 10.0)
    assert pace.expected(1) == pytest.approx(0.000175)


def test_what_was_slow_once_is_not_when_more_is_faster() -> None:
    pace = Pace()
    pace.observe(100, 0.01)
    for _ in range(3):
        pace.observe(1000, 0.0005)
    assert pace.expected(100) == 0.0005
