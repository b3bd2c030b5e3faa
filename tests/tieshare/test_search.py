"""Which points are retrained, and which of them is the result."""

from collections.abc import Callable

import numpy as np
import pytest
from onnx import ModelProto

from tieshare.recipe import Target
from tieshare.search import Candidate, Point, Search, loss_of_score

SAMPLES = 10_000
EPOCHS = tuple(range(1, 21))
PARAMETERS = 100_000


def ratio(point: Point) -> float:
    """Epoch 1 is the dense network; each later one is a fifth smaller, looser ties as much."""
    looser = (0.6 - point.preference) / 0.3
    return float(1.25 ** (point.epoch - 1 + looser))


def scores(accuracy: float) -> np.ndarray:
    right = np.zeros(SAMPLES)
    right[: round(accuracy * SAMPLES)] = 1
    return right


DENSE = Candidate(Point(0, 0.6), ModelProto(), scores(0.98), PARAMETERS, 1.0)


class Front:
    """Made results: ``accuracy`` of a point, and the points that were retrained."""

    def __init__(self, accuracy: Callable[[Point], float]) -> None:
        self.accuracy = accuracy
        self.retrained: list[Point] = []

    def retrain(self, point: Point) -> Candidate:
        self.retrained.append(point)
        right = scores(self.accuracy(point))
        unique = round(PARAMETERS / ratio(point))
        return Candidate(point, ModelProto(), right, unique, ratio(point))

    def search(self, *, tie: bool = True) -> Search:
        return Search(EPOCHS, self.retrain, ratio, DENSE, relative=False, preference=0.6, tie=tie)


def falls_after(epoch: int) -> Callable[[Point], float]:
    return lambda point: 0.98 if point.epoch <= epoch and point.preference > 0.5 else 0.90


@pytest.mark.parametrize("epoch", [5, 9, 13, 17])
def test_the_smallest_point_that_keeps_the_promise_is_found_within_a_snapshot_or_two(
    epoch: int,
) -> None:
    choice = Front(falls_after(epoch)).search().run(Target(max_drop=0.01))
    assert choice.reached
    assert epoch - 1 <= choice.chosen.point.epoch <= epoch
    assert choice.chosen.score == 0.98


def test_ties_are_loosened_where_that_costs_nothing() -> None:
    choice = Front(lambda point: 0.98).search().run(Target(max_drop=0.01))
    assert choice.chosen.point.preference == pytest.approx(0.0)
    tied = Front(lambda point: 0.98).search(tie=False).run(Target(max_drop=0.01))
    assert tied.chosen.point.preference == 0.6


def test_no_more_than_ten_points_are_retrained_and_none_twice() -> None:
    for epoch in EPOCHS:
        front = Front(falls_after(epoch))
        front.search().run(Target(max_drop=0.01))
        assert len(front.retrained) == len(set(front.retrained)) <= 10


def test_an_unlucky_large_network_does_not_hide_the_smaller_ones_behind_it() -> None:
    def accuracy(point: Point) -> float:
        return 0.9785 if point.epoch == 5 else falls_after(13)(point)

    choice = Front(accuracy).search().run(Target(max_drop=0.002))
    assert choice.chosen.point.epoch >= 12


def test_a_small_network_is_not_chosen_for_its_luck() -> None:
    """Its neighbours on both sides lose three times what is allowed."""

    def accuracy(point: Point) -> float:
        if point.epoch == 12 and point.preference == 0.6:
            return 0.9785
        return 0.98 if point.epoch <= 4 else 0.974

    choice = Front(accuracy).search().run(Target(max_drop=0.002))
    assert choice.chosen.point.epoch != 12


def test_the_chosen_point_itself_never_loses_more_than_was_allowed() -> None:
    rng = np.random.default_rng(0)
    for _ in range(50):
        noise = rng.normal(0, 0.001, size=(len(EPOCHS) + 1, 3))

        def accuracy(point: Point, noise: np.ndarray = noise) -> float:
            fall = 0.0002 * point.epoch + 0.001 * (0.6 - point.preference)
            return float(0.98 - fall + noise[point.epoch, round((0.6 - point.preference) / 0.3)])

        choice = Front(accuracy).search().run(Target(max_drop=0.002))
        assert choice.chosen.score >= 0.978 - 1e-9 or not choice.reached


def test_where_nothing_keeps_the_promise_the_uploaded_network_is_given_and_said_so() -> None:
    choice = Front(lambda point: 0.9).search().run(Target(max_drop=0.001))
    assert not choice.reached
    assert choice.chosen is DENSE


def test_a_ratio_is_reached_by_the_first_epochs_that_have_it_and_the_best_of_them_wins() -> None:
    front = Front(lambda point: 0.98 - 0.001 * point.epoch - 0.05 * (0.6 - point.preference))
    choice = front.search().run(Target(min_ratio=10))
    assert choice.reached
    assert [point.epoch for point in front.retrained] == [12, 11, 11, 10]
    assert choice.chosen.point == Point(12, 0.6)
    assert choice.chosen.ratio >= 10


def test_a_ratio_out_of_reach_gives_the_smallest_point() -> None:
    choice = Front(lambda point: 0.98).search().run(Target(min_ratio=1e6))
    assert not choice.reached
    assert choice.chosen.point == Point(20, 0.0)


def test_the_loss_of_accuracy_is_a_difference_and_its_error_that_of_paired_samples() -> None:
    before, after = np.ones(100), np.ones(100)
    after[:4] = 0
    lost, error = loss_of_score(before, after, relative=False)
    assert lost == pytest.approx(0.04)
    assert error == pytest.approx(np.sqrt(0.04 * 0.96 / 100))


def test_the_loss_of_a_squared_error_is_its_rise_as_a_fraction() -> None:
    lost, _ = loss_of_score(np.full(10, -2.0), np.full(10, -2.5), relative=True)
    assert lost == pytest.approx(0.25)
