"""When a path of a network with batch norm ends: its scores come in turn from a list."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace

import pytest
from onnx import ModelProto

from tieshare.data import Dataset
from tieshare.job import Job
from tieshare.recipe import Target
from tieshare.stage1 import Snapshot
from tieshare.walk import walk

Walk = Callable[..., int]
GOOD, BAD = 0.9, 0.1


class Scripted:
    """Epochs with these (ratio, score)."""

    def __init__(self, epochs: Sequence[tuple[float, float]], *, normed: bool) -> None:
        self.epochs, self.sizes, self.done, self.rate = epochs, normed, 0, 0.1
        self.regularised = (SimpleNamespace(layers=()),)

    def epoch(self) -> Snapshot:
        ratio, score = self.epochs[self.done]
        self.done += 1
        return Snapshot(epoch=self.done, score=score, ratio=ratio, alive_rows=1)

    def state(self) -> Mapping[str, int]:
        return {}


@pytest.fixture
def last_epoch(
    job_of: Callable[..., Job],
    mlp: ModelProto,
    digits: Dataset,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Walk:
    """Where a path of these epochs ended."""

    def run(*epochs: tuple[float, float], normed: bool = True, target: Target | None = None) -> int:
        path = Scripted(epochs, normed=normed)
        monkeypatch.setattr("tieshare.walk.RisingPath", lambda *_: path)
        given = {"target": target or Target(max_drop=0.01), "path_epochs": len(epochs)}
        walk(job_of(mlp, digits, tmp_path, learning_rate=0.05, **given))
        return path.done

    return run


def test_what_a_large_rate_costs_before_anything_shrinks_does_not_end_it(last_epoch: Walk) -> None:
    assert last_epoch((1, BAD), (1, BAD), (1.1, BAD), (1.1, GOOD), (2, GOOD)) == 5


def test_it_goes_on_where_scores_come_back(last_epoch: Walk) -> None:
    assert last_epoch((1, GOOD), (2, BAD), (3, BAD), (4, GOOD), (5, BAD), (6, GOOD)) == 6


def test_it_ends_where_three_networks_in_turn_are_bad(last_epoch: Walk) -> None:
    assert last_epoch((1, GOOD), (2, GOOD), (3, BAD), (4, BAD), (5, BAD), (6, BAD)) == 5


def test_networks_that_are_hardly_smaller_are_not_two(last_epoch: Walk) -> None:
    """What was not kept does not count: here one that is only 5 % smaller, but for every second."""
    long = [(1.0, GOOD)] * 60
    assert last_epoch((1, GOOD), (2, BAD), (2.1, BAD), (2.2, BAD), (3, BAD), (4, BAD), *long) == 6


def test_without_batch_norm_one_bad_network_is_the_end(last_epoch: Walk) -> None:
    assert last_epoch((1, GOOD), (2, BAD), (3, GOOD), normed=False) == 2


def test_a_ratio_is_reached_at_once(last_epoch: Walk) -> None:
    assert last_epoch((1, GOOD), (2, BAD), (3, GOOD), target=Target(min_ratio=2.0)) == 2
