from collections.abc import Callable

import numpy as np
import pytest
from onnx import ModelProto

from tieshare.checkpoint import Checkpoints
from tieshare.exports.count import count_tied
from tieshare.exports.rows import read_rows
from tieshare.graph import tensors, to_rows
from tieshare.job import Job
from tieshare.points import Points
from tieshare.progress import Listener, Progress, silent
from tieshare.rounding import rounded
from tieshare.search import Point

EPOCH = 3
USUAL, LOOSE = Point(EPOCH, 0.6), Point(EPOCH, 0.0)
COARSE = Point(EPOCH, 0.6, bits=4)


class Cut(Exception):
    """The process ended here."""


@pytest.fixture
def points_of(ready: Callable[..., Job]) -> Callable[..., Points]:
    def make(folder: str = "job", listener: Listener = silent, **recipe: object) -> Points:
        job = ready(folder, listener, **recipe)
        return Points(job, [layer.name for layer in job.structure.layers])

    return make


@pytest.mark.parametrize("point", [USUAL, LOOSE])
def test_retraining_does_not_change_the_ratio(
    points_of: Callable[..., Points], point: Point
) -> None:
    points = points_of()
    before = points.ratio(point)
    candidate = points.retrain(point)
    assert before == candidate.ratio
    assert candidate.ratio == pytest.approx(2_410 / candidate.unique)
    assert candidate.ratio > 1.5


def test_the_numbers_of_a_candidate_are_those_of_its_network(
    points_of: Callable[..., Points],
) -> None:
    points = points_of()
    candidate = points.retrain(USUAL)
    counts = count_tied(candidate.tied, points.job.structure)
    assert (candidate.unique, candidate.point) == (counts.unique_parameters, USUAL)
    right = points.job.trainer.right(points.job.twin(candidate.tied))
    assert candidate.right.tolist() == right.tolist()
    assert candidate.score == right.mean()


def test_a_lower_preference_ties_more(points_of: Callable[..., Points]) -> None:
    points = points_of()
    assert points.ratio(LOOSE) > points.ratio(USUAL)


def rows(model: ModelProto) -> dict[str, tuple[int, int]]:
    """Alive and different rows of the layers of digits, by weight."""
    found = {name: read_rows(tensors(model)[name]) for name in ("w1", "w2")}
    return {name: (len(read.alive), read.clusters) for name, read in found.items()}


def test_what_was_dead_on_the_path_stays_dead(
    points_of: Callable[..., Points], sparse: dict[str, np.ndarray]
) -> None:
    final = tensors(points_of().retrain(USUAL).tied)
    for name in ("w1", "w2"):
        dead = ~sparse[name].any(axis=1)
        assert dead.any()
        assert (~final[name].any(axis=1)).tolist() == dead.tolist()


def test_without_ties_only_zeros_are_found(points_of: Callable[..., Points]) -> None:
    tied, untied = points_of(), points_of("untied", tie=False)
    for alive, different in rows(untied.retrain(USUAL).tied).values():
        assert different == alive
    with_ties = rows(tied.retrain(USUAL).tied)
    assert any(different < alive for alive, different in with_ties.values())
    assert untied.ratio(USUAL) < tied.ratio(USUAL)


def test_layers_that_were_not_regularised_are_not_tied(points_of: Callable[..., Points]) -> None:
    points = points_of()
    first = next(layer.name for layer in points.job.structure.layers if layer.weight == "w1")
    only = Points(points.job, [first])
    found = rows(only.retrain(LOOSE).tied)
    assert found["w1"][1] < found["w1"][0]
    assert found["w2"][1] == found["w2"][0]


@pytest.mark.parametrize("point", [USUAL, COARSE, Point(EPOCH, 0.6, bits=16)])
def test_the_values_of_every_layer_are_those_of_so_many_bits(
    points_of: Callable[..., Points], point: Point
) -> None:
    candidate = points_of().retrain(point)
    bits = dict(candidate.bits)
    assert set(bits) == {"w1", "w2"}
    assert all(found >= point.bits for found in bits.values())
    values = tensors(candidate.tied)
    for name, found in bits.items():
        if found == 4:
            assert len(np.unique(values[name])) <= 16
        else:
            assert np.array_equal(rounded(values[name], found, unit_axis=1), values[name])


def test_what_does_not_depend_on_the_bits_is_retrained_once(
    points_of: Callable[..., Points],
) -> None:
    heard: list[Progress] = []
    points = points_of("both", heard.append)
    first, last = points.job.plan.retrain_epochs, points.job.plan.stage2_epochs
    points.retrain(USUAL)
    found = points.retrain(COARSE)
    assert [one.done for one in heard] == [*range(1, last + 1), *range(first + 1, last + 1)]
    alone = points_of("alone").retrain(COARSE)
    expected, values = tensors(alone.tied), tensors(found.tied)
    assert all(np.array_equal(values[name], array) for name, array in expected.items())


def test_a_network_that_stands_any_rounding_gets_the_bits_of_the_point(
    points_of: Callable[..., Points], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tieshare.bits.ALLOWED", 1.0)
    for point in (USUAL, COARSE):
        candidate = points_of().retrain(point)
        assert candidate.bits == (("w1", point.bits), ("w2", point.bits))


@pytest.mark.parametrize("point", [USUAL, COARSE])
def test_what_is_dead_or_tied_stays_so_in_any_bits(
    points_of: Callable[..., Points], point: Point
) -> None:
    """Of a few columns, more rows may come to be equal by rounding."""
    points = points_of()
    before, after = tensors(points.start(point)), tensors(points.retrain(point).tied)
    for name in ("w1", "w2"):
        groups = read_rows(before[name]).numbers
        for group in set(groups.tolist()):
            rows_of_group = after[name][groups == group]
            assert len(np.unique(rows_of_group, axis=0)) == 1
            assert group >= 0 or not rows_of_group.any()


def test_points_are_missing_until_they_are_retrained(points_of: Callable[..., Points]) -> None:
    points = points_of()
    assert points.missing([USUAL, LOOSE, COARSE]) == [USUAL, LOOSE, COARSE]
    points.retrain(LOOSE)
    assert points.missing([USUAL, LOOSE, COARSE]) == [USUAL, COARSE]
    assert points_of().missing([LOOSE]) == []


def test_a_point_that_was_retrained_is_not_trained_again(points_of: Callable[..., Points]) -> None:
    first = points_of().retrain(USUAL)
    heard: list[Progress] = []
    again = points_of(listener=heard.append).retrain(USUAL)
    assert heard == []
    assert again.tied.SerializeToString() == first.tied.SerializeToString()


@pytest.mark.parametrize("epoch", [1, 2, 3, 4])
def test_a_point_that_was_cut_off_ends_as_the_whole_one(
    points_of: Callable[..., Points], epoch: int
) -> None:
    def cut(progress: Progress) -> None:
        if progress.done == epoch:
            raise Cut

    whole = points_of("whole").retrain(USUAL)
    with pytest.raises(Cut):
        points_of("cut", cut).retrain(USUAL)
    heard: list[Progress] = []
    resumed = points_of("cut", heard.append).retrain(USUAL)
    assert [item.done for item in heard] == list(range(epoch + 1, 5))
    assert resumed.bits == whole.bits
    assert resumed.tied.SerializeToString() == whole.tied.SerializeToString()
    assert resumed.right.tolist() == whole.right.tolist()


def test_only_the_outcome_is_kept_of_a_point(points_of: Callable[..., Points]) -> None:
    points = points_of()
    points.retrain(USUAL)
    checkpoints: Checkpoints = points.job.checkpoints
    assert [path.name for path in checkpoints.folder.glob("*point*")] == ["made-point-3-0.6-8.pt"]


def test_every_epoch_is_told_with_its_numbers(points_of: Callable[..., Points]) -> None:
    heard: list[Progress] = []
    points = points_of(listener=heard.append)
    candidate = points.retrain(USUAL)
    assert [(item.stage, item.done, item.total) for item in heard] == [
        ("retrain", epoch, 4) for epoch in (1, 2, 3, 4)
    ]
    found = rows(candidate.tied).values()
    assert heard[-1].metrics == {
        "compression_ratio": candidate.ratio,
        "alive_rows": sum(alive for alive, _ in found),
        "clusters": sum(different for _, different in found),
        "accuracy": candidate.score,
    }


def test_the_uploaded_network_is_a_point_of_ratio_1_that_loses_nothing(
    points_of: Callable[..., Points],
) -> None:
    points = points_of()
    dense = points.dense()
    assert dense.ratio == 1
    assert dense.tied.SerializeToString() == points.job.model.SerializeToString()
    assert np.array_equal(dense.right, points.job.dense)


def test_a_layer_with_less_than_a_fiftieth_of_the_weights_is_left_untied(
    points_of: Callable[..., Points], monkeypatch: pytest.MonkeyPatch
) -> None:
    """32-10 has 320 of 2,368 weights: tied by the rule as it is, untied if the share were 0.2."""

    def clusters(points: Points) -> list[int]:
        values = tensors(points.start(LOOSE))
        layers = points.job.structure.layers
        return [read_rows(to_rows(layer, values[layer.weight])).clusters for layer in layers]

    both = clusters(points_of("both"))
    monkeypatch.setattr("tieshare.points._LEAST_SHARE", 0.2)
    first = clusters(points_of("first"))
    assert first[0] == both[0]
    assert first[1] > both[1]
