from collections.abc import Callable
from dataclasses import replace

import pytest

from tieshare.progress import Narrator, Progress, silent
from tieshare.report import FrontPoint


class Clock:
    """Time passes when it is told to."""

    def __init__(self) -> None:
        self.now = 0.0

    def pass_by(self, seconds: float) -> None:
        self.now += seconds

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def heard() -> list[Progress]:
    return []


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def narrator(heard: list[Progress], clock: Clock) -> Narrator:
    made = Narrator(heard.append, clock)
    made.expect(path_epochs=10, retrain_epochs=4)
    return made


def epoch(clock: Clock, tell: Callable[[int, dict[str, float]], None], done: int, s: float) -> None:
    clock.pass_by(s)
    tell(done, {})


def test_an_epoch_is_told_with_what_is_known_by_then(
    narrator: Narrator, heard: list[Progress]
) -> None:
    narrator.path(3, {"accuracy": 0.9})
    assert (heard[0].stage, heard[0].done, heard[0].total) == ("path", 3, 10)
    assert (heard[0].unit, heard[0].metrics) == ("epochs", {"accuracy": 0.9})


def test_a_step_without_epochs_is_told_as_it_begins_and_as_it_ends(
    narrator: Narrator, heard: list[Progress]
) -> None:
    with narrator.step("export"):
        assert heard == [Progress("export", 0, 1, unit="steps", eta_s=None, metrics={})]
    assert heard[1:] == [Progress("export", 1, 1, unit="steps", eta_s=None, metrics={})]


def test_a_step_that_fails_does_not_end(narrator: Narrator, heard: list[Progress]) -> None:
    with pytest.raises(KeyError), narrator.step("check"):
        raise KeyError
    assert [item.done for item in heard] == [0]


def test_the_path_counts_its_own_epochs_and_those_of_ten_points(
    narrator: Narrator, heard: list[Progress], clock: Clock
) -> None:
    epoch(clock, narrator.path, 1, 2.0)
    assert heard[-1].eta_s == 9 * 2.0 + 10 * 4 * 2.0
    epoch(clock, narrator.path, 10, 1.0)
    assert heard[-1].eta_s == 10 * 4 * 1.0


def test_what_came_before_the_first_epoch_is_not_counted(
    narrator: Narrator, heard: list[Progress], clock: Clock
) -> None:
    clock.pass_by(100.0)
    narrator.restart()
    epoch(clock, narrator.path, 10, 2.0)
    assert heard[-1].eta_s == 10 * 4 * 2.0


def test_a_point_that_is_done_leaves_one_less(
    narrator: Narrator, heard: list[Progress], clock: Clock
) -> None:
    epoch(clock, narrator.path, 10, 1.0)
    epoch(clock, narrator.retrain, 1, 3.0)
    assert heard[-1].eta_s == (3 + 9 * 4) * 3.0
    for done in (2, 3, 4):
        epoch(clock, narrator.retrain, done, 3.0)
    assert heard[-1].eta_s == 9 * 4 * 3.0


def test_points_that_are_made_at_once_count_their_epochs_together(
    narrator: Narrator, heard: list[Progress], clock: Clock
) -> None:
    epoch(clock, narrator.path, 10, 1.0)
    with narrator.together(2) as told:
        for done in range(1, 9):
            epoch(clock, told, done, 1.5)
    assert [(item.stage, item.done, item.total) for item in heard[1:]] == [
        ("retrain", done, 8) for done in range(1, 9)
    ]
    assert heard[1].eta_s == (7 + 8 * 4) * 1.5
    assert heard[-1].eta_s == 8 * 4 * 1.5
    epoch(clock, narrator.retrain, 1, 3.0)
    assert heard[-1].eta_s == (3 + 7 * 4) * 3.0


def test_epochs_of_two_points_that_end_together_do_not_make_the_estimate_jump(
    narrator: Narrator, heard: list[Progress], clock: Clock
) -> None:
    with narrator.together(2) as told:
        for done in range(1, 9):
            epoch(clock, told, done, 4.0 * (done % 2))
    left = [item.eta_s for item in heard]
    assert left[1:] == [2.0 * (8 - done + 8 * 4) for done in range(2, 9)]


def test_what_comes_before_and_after_points_made_at_once_is_not_counted(
    narrator: Narrator, heard: list[Progress], clock: Clock
) -> None:
    clock.pass_by(100.0)
    with narrator.together(1) as told:
        epoch(clock, told, 4, 2.0)
        clock.pass_by(100.0)
    epoch(clock, narrator.retrain, 1, 1.0)
    assert [item.eta_s for item in heard] == [9 * 4 * 2.0, (3 + 8 * 4) * 1.0]


def point(number: int) -> FrontPoint:
    return FrontPoint(number, 1_000, 10.0, 4_500, 1_500, 900, {1: 9.0}, accuracy=0.98)


def test_a_front_is_told_with_the_step_that_it_came_to(
    narrator: Narrator, heard: list[Progress], clock: Clock
) -> None:
    epoch(clock, narrator.path, 10, 1.0)
    epoch(clock, narrator.retrain, 4, 1.0)
    narrator.front((point(1), point(2)))
    assert [item.front for item in heard] == [None, None, (point(1), point(2))]
    assert replace(heard[-1], front=None) == heard[-2]
    epoch(clock, narrator.retrain, 1, 1.0)
    assert heard[-1].front is None


def test_the_estimate_never_rises_while_epochs_take_the_same_time(
    narrator: Narrator, heard: list[Progress], clock: Clock
) -> None:
    for done in range(1, 11):
        epoch(clock, narrator.path, done, 1.0)
    for _ in range(12):
        for done in range(1, 5):
            epoch(clock, narrator.retrain, done, 1.0)
    left = [item.eta_s for item in heard if item.eta_s is not None]
    before_the_last_points = left[: 10 + 9 * 4]
    assert before_the_last_points == sorted(before_the_last_points, reverse=True)
    assert min(left) >= 0


def test_silence_takes_anything() -> None:
    silent(Progress("path", 1, 2))
