from collections.abc import Callable
from pathlib import Path

import pytest
from onnx import ModelProto

from tieshare.data import Dataset
from tieshare.job import Job
from tieshare.progress import Listener, Progress, silent
from tieshare.recipe import Target
from tieshare.walk import Walked, walk

Make = Callable[..., Job]


class Cut(Exception):
    """The process ended here."""


def cut_after(epoch: int) -> Listener:
    def listen(progress: Progress) -> None:
        if progress.done == epoch:
            raise Cut

    return listen


ENDLESS = Target(min_ratio=1e6)


@pytest.fixture
def path_of(job_of: Callable[..., Job], mlp: ModelProto, digits: Dataset, tmp_path: Path) -> Make:
    """A job in a folder of this name, of a short path to its end at a rate that is given."""

    def make(folder: str, listener: Listener = silent, **recipe: object) -> Job:
        given = {"learning_rate": 0.05, "path_epochs": 12, "target": ENDLESS} | recipe
        return job_of(mlp, digits, tmp_path / folder, listener, **given)

    return make


def files(job: Job, walked: Walked) -> list[dict[str, bytes]]:
    stored = [job.checkpoints.load_arrays(f"epoch-{item.epoch}") for item in walked.snapshots]
    assert None not in stored
    return [{name: array.tobytes() for name, array in (kept or {}).items()} for kept in stored]


@pytest.mark.parametrize("cuts", [(1,), (4, 5, 11), (12,)])
def test_a_path_that_was_cut_off_ends_as_the_whole_one(
    path_of: Make, cuts: tuple[int, ...]
) -> None:
    whole = path_of("whole")
    expected = walk(whole)
    for epoch in cuts:
        with pytest.raises(Cut):
            walk(path_of("cut", cut_after(epoch)))
    last = path_of("cut")
    walked = walk(last)
    assert walked.snapshots == expected.snapshots
    assert walked.layers == expected.layers
    assert files(last, walked) == files(whole, expected)


def test_what_was_trained_before_the_cut_is_not_trained_again(path_of: Make) -> None:
    with pytest.raises(Cut):
        walk(path_of("cut", cut_after(5)))
    heard: list[Progress] = []
    walk(path_of("cut", heard.append))
    assert [item.done for item in heard] == [*range(6, 13)]


def test_a_path_that_is_finished_is_not_trained_again(path_of: Make) -> None:
    first = walk(path_of("finished"))
    heard: list[Progress] = []
    again = walk(path_of("finished", heard.append))
    assert heard == []
    assert again.snapshots == first.snapshots


def test_a_rate_that_was_looked_for_is_not_looked_for_again(
    path_of: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(Cut):
        walk(path_of("cut", cut_after(2), learning_rate=None))
    job = path_of("cut", cut_after(3), learning_rate=None)
    asked: list[object] = []
    monkeypatch.setattr(job.trainer, "largest_stable_rate", lambda *given: asked.append(given))
    with pytest.raises(Cut):
        walk(job)
    assert asked == []


def test_it_ends_where_the_ratio_is_reached(path_of: Make) -> None:
    walked = walk(path_of("ratio", target=Target(min_ratio=1.3), path_epochs=25))
    ratios = [item.ratio for item in walked.snapshots]
    assert max(ratios[:-1]) < 1.3 <= ratios[-1]
    assert walked.snapshots[-1].epoch < 25


def test_it_ends_where_the_unique_values_would_fit_as_whole_floats(path_of: Make) -> None:
    """Further than it has to: the packed file has them in fewer bits."""
    job = path_of("bytes", target=Target(max_bytes=7_500), path_epochs=25)
    ratios = [item.ratio for item in walk(job).snapshots]
    assert max(ratios[:-1]) < job.model.ByteSize() / 7_500 <= ratios[-1]


def test_it_goes_on_to_its_end_where_a_latency_is_asked_for(path_of: Make) -> None:
    target = Target(max_latency_us=1_000.0)
    assert walk(path_of("latency", target=target)).snapshots[-1].epoch == 12


@pytest.mark.parametrize("target", [Target(max_drop=0.0), Target(front=True)])
def test_it_does_not_go_where_the_accuracy_lies_far_behind(path_of: Make, target: Target) -> None:
    job = path_of("drop", target=target, path_epochs=40)
    snapshots = walk(job).snapshots
    lost = [float(job.dense.mean()) - item.score for item in snapshots]
    assert max(lost) < 0.25
    assert snapshots[-1].ratio > 3


def test_the_snapshots_lead_from_the_whole_network_to_the_smallest(path_of: Make) -> None:
    walked = walk(path_of("path", path_epochs=20))
    epochs = [item.epoch for item in walked.snapshots]
    ratios = [item.ratio for item in walked.snapshots]
    assert epochs[0] == 1
    assert epochs == sorted(set(epochs))
    assert ratios == sorted(ratios)
    assert ratios[-1] > 1.2


def test_the_first_and_the_last_epoch_are_kept(path_of: Make) -> None:
    assert [item.epoch for item in walk(path_of("two", path_epochs=2)).snapshots] == [1, 2]
    assert [item.epoch for item in walk(path_of("one", path_epochs=1)).snapshots] == [1]


def test_every_epoch_is_told_with_its_numbers(path_of: Make) -> None:
    heard: list[Progress] = []
    walked = walk(path_of("told", heard.append, path_epochs=6))
    assert [(item.stage, item.done, item.total) for item in heard] == [
        ("path", epoch, 6) for epoch in range(1, 7)
    ]
    assert heard[-1].metrics == {
        "compression_ratio": walked.snapshots[-1].ratio,
        "alive_rows": walked.snapshots[-1].alive_rows,
        "accuracy": walked.snapshots[-1].score,
    }
