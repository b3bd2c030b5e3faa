"""When a path ends, and how what was lost slows it down: its scores come in turn from a list."""

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from onnx import ModelProto

from tieshare.checkpoint import Checkpoints
from tieshare.data import Dataset
from tieshare.errors import RecipeError
from tieshare.job import Job
from tieshare.pace import Pace
from tieshare.path_end import PathEnd
from tieshare.recipe import Target
from tieshare.stage1 import LAST_RATIO, Snapshot
from tieshare.walk import walk

Walk = Callable[..., "Scripted"]
GOOD, BAD, WORTHLESS = 0.9, 0.8, 0.1


class Scripted:
    """Epochs with these (ratio, score); one without a ratio diverges."""

    def __init__(self, epochs: Sequence[tuple[float, float]], last_ratio: float) -> None:
        self.epochs, self.done, self.rate = epochs, 0, 0.1
        self.pace = Pace(strength=1.0, last=last_ratio, left=60, shrinkings=4)
        self.regularised = (SimpleNamespace(layers=()),)
        self.twin = SimpleNamespace(tensors=dict)
        self.now = (1.0, GOOD)
        self.backs = self.all_backs = 0

    def epoch(self) -> Snapshot:
        self.now = self.epochs[self.done]
        self.done += 1
        if not self.now[0]:
            raise RecipeError("training diverges", where="learning_rate")
        return self.snapshot()

    def snapshot(self) -> Snapshot:
        ratio, score = self.now
        return Snapshot(epoch=self.done, score=score, ratio=ratio, alive_rows=1)

    def state(self) -> Mapping[str, Any]:
        return {"now": self.now, "done": self.done}

    def back(self, state: Mapping[str, Any]) -> None:
        self.now = state["now"]
        self.backs += 1
        self.all_backs += 1


@pytest.fixture
def walked(
    job_of: Callable[..., Job],
    mlp: ModelProto,
    digits: Dataset,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Walk:
    """A path of these epochs, at its end."""

    def run(
        *epochs: tuple[float, float], target: Target | None = None, rate: float | None = None
    ) -> Scripted:
        made: list[Scripted] = []

        def path(*given: object) -> Scripted:
            *_, last_ratio, _ = given
            assert isinstance(last_ratio, float)
            made.append(Scripted(epochs, last_ratio))
            return made[0]

        monkeypatch.setattr("tieshare.walk.RisingPath", path)
        given = {"target": target or Target(max_drop=0.01), "path_epochs": len(epochs)}
        walk(job_of(mlp, digits, tmp_path, learning_rate=rate, **given))
        return made[0]

    return run


def test_what_a_large_rate_costs_before_anything_shrinks_does_not_end_it(walked: Walk) -> None:
    assert walked((1, BAD), (1, BAD), (1.1, BAD), (1.1, GOOD), (2, GOOD)).done == 5


def test_it_goes_on_where_scores_come_back(walked: Walk) -> None:
    assert walked((1, GOOD), (2, BAD), (3, BAD), (4, GOOD), (5, BAD), (6, GOOD)).done == 6


def test_it_ends_where_three_networks_in_turn_are_bad(walked: Walk) -> None:
    assert walked((1, GOOD), (2, GOOD), (3, BAD), (4, BAD), (5, BAD), (6, BAD)).done == 5


def test_networks_that_are_hardly_smaller_are_not_two(walked: Walk) -> None:
    """What was not kept does not count: here one that is only 5 % smaller, but for every second."""
    long = [(1.0, GOOD)] * 60
    bad = [(2.0, BAD), (2.1, BAD), (2.2, BAD), (3.0, BAD), (4.0, BAD)]
    assert walked((1, GOOD), *bad, *long).done == 6


def test_a_ratio_is_reached_at_once(walked: Walk) -> None:
    assert walked((1, GOOD), (2, BAD), (3, GOOD), target=Target(min_ratio=2.0)).done == 2


def test_where_it_became_worthless_it_goes_back(walked: Walk) -> None:
    path = walked((1, GOOD), (2, GOOD), (9, WORTHLESS))
    assert (path.done, path.all_backs) == (3, 1)
    assert path.now == (2, GOOD)


def test_where_going_back_does_not_help_it_goes_on_while_it_gets_better(walked: Walk) -> None:
    bad = [(2.0, WORTHLESS)] * 5
    better = [(2.0, WORTHLESS + 0.3), (2.0, WORTHLESS + 0.4)]
    path = walked((1, GOOD), *bad, *better, (3, GOOD))
    assert path.all_backs == 2
    assert path.pace.rise == pytest.approx(0.2)


def test_where_it_gets_no_better_it_goes_back_once_more(walked: Walk) -> None:
    path = walked((1, GOOD), *[(2.0, WORTHLESS)] * 6)
    assert path.all_backs == 3
    assert path.now == (1, GOOD)


def test_networks_that_are_worthless_are_not_kept(
    walked: Walk, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept: list[str] = []
    monkeypatch.setattr(Checkpoints, "save_arrays", lambda _, name, _arrays: kept.append(name))
    walked((1, GOOD), (2, GOOD), (9, WORTHLESS), (9, WORTHLESS), (9, WORTHLESS))
    assert [name for name in kept if "epoch" in name] == [f"epoch-{n}" for n in range(1, 5)]


def test_where_training_diverges_at_a_rate_that_was_found_it_goes_back_at_once(
    walked: Walk,
) -> None:
    path = walked((0, 0), (2, GOOD), (0, 0), (0, 0))
    assert (path.done, path.all_backs, path.backs) == (4, 3, 2)
    assert path.now == (2, GOOD)


def test_where_training_diverges_at_a_rate_that_was_given_that_is_told(walked: Walk) -> None:
    with pytest.raises(RecipeError, match="diverges"):
        walked((1, GOOD), (0, 0), rate=0.05)


def test_where_a_ratio_is_asked_for_no_network_is_worthless(walked: Walk) -> None:
    path = walked((2, WORTHLESS), (3, WORTHLESS), target=Target(min_ratio=5.0))
    assert path.all_backs == 0


def test_what_was_lost_of_the_score_slows_it_down(walked: Walk) -> None:
    """Of 0.1 that may be lost 0.05 are: half."""
    assert walked((1, BAD)).pace.strain > 1
    dense = PathEnd(None, score=0.9, allowed=0.1)
    assert dense.lost(0.85) == pytest.approx(0.5)


@pytest.mark.parametrize(
    "target", [Target(min_ratio=5.0), Target(max_bytes=100), Target(max_latency_us=1.0)]
)
def test_where_a_size_is_asked_for_no_score_slows_it_down(walked: Walk, target: Target) -> None:
    assert walked((1, BAD), (1.3, BAD), target=target).pace.strain == 0


@pytest.mark.parametrize(
    ("target", "last"),
    [
        (Target(min_ratio=4.0), 5.0),
        (Target(min_ratio=1e6), LAST_RATIO),
        (Target(max_drop=0.01), LAST_RATIO),
        (Target(max_latency_us=5.0), LAST_RATIO),
    ],
)
def test_it_leads_a_little_beyond_what_is_asked_for(
    walked: Walk, target: Target, last: float
) -> None:
    assert walked((1, GOOD), target=target).pace.last == last


def test_for_bytes_it_leads_beyond_the_ratio_of_the_whole_file(
    walked: Walk, mlp: ModelProto
) -> None:
    path = walked((1, GOOD), target=Target(max_bytes=5_000))
    assert path.pace.last == pytest.approx(1.25 * mlp.ByteSize() / 5_000)


def test_of_an_error_a_part_may_be_lost() -> None:
    ended = PathEnd(None, score=-2.0, allowed=0.2)
    assert ended.lost(-2.4) == pytest.approx(2.0)
    assert math.isinf(PathEnd(2.0, 0.9, math.inf).allowed)
