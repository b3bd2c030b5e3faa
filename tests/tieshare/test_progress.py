from collections.abc import Callable

import pytest

from tieshare.progress import Narrator, Progress, silent


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
    return Narrator(heard.append, path_epochs=10, retrain_epochs=4, clock=clock)


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


def test_the_path_counts_its_own_epochs_and_those_of_seven_points(
    narrator: Narrator, heard: list[Progress], clock: Clock
) -> None:
    epoch(clock, narrator.path, 1, 2.0)
    assert heard[-1].eta_s == 9 * 2.0 + 7 * 4 * 2.0
    epoch(clock, narrator.path, 10, 1.0)
    assert heard[-1].eta_s == 7 * 4 * 1.0


def test_what_came_before_the_first_epoch_is_not_counted(
    narrator: Narrator, heard: list[Progress], clock: Clock
) -> None:
    clock.pass_by(100.0)
    narrator.restart()
    epoch(clock, narrator.path, 10, 2.0)
    assert heard[-1].eta_s == 7 * 4 * 2.0


def test_a_point_that_is_done_leaves_one_less(
    narrator: Narrator, heard: list[Progress], clock: Clock
) -> None:
    epoch(clock, narrator.path, 10, 1.0)
    epoch(clock, narrator.retrain, 1, 3.0)
    assert heard[-1].eta_s == (3 + 6 * 4) * 3.0
    for done in (2, 3, 4):
        epoch(clock, narrator.retrain, done, 3.0)
    assert heard[-1].eta_s == 6 * 4 * 3.0


def test_the_estimate_never_rises_while_epochs_take_the_same_time(
    narrator: Narrator, heard: list[Progress], clock: Clock
) -> None:
    for done in range(1, 11):
        epoch(clock, narrator.path, done, 1.0)
    for _ in range(9):
        for done in range(1, 5):
            epoch(clock, narrator.retrain, done, 1.0)
    left = [item.eta_s for item in heard if item.eta_s is not None]
    before_the_last_points = left[: 10 + 6 * 4]
    assert before_the_last_points == sorted(before_the_last_points, reverse=True)
    assert min(left) >= 0


def test_silence_takes_anything() -> None:
    silent(Progress("path", 1, 2))
