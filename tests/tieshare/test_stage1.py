import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
import torch
from onnx import ModelProto

from tieshare.checkpoint import Checkpoints
from tieshare.data import Dataset
from tieshare.errors import RecipeError, UnsupportedModel
from tieshare.exports.count import count_tied
from tieshare.exports.tied import tied
from tieshare.graph import Layer, to_rows
from tieshare.job import Job
from tieshare.penalties import L1, PENALTIES, OrderedRows, row_weights
from tieshare.recipe import PenaltyName, Recipe
from tieshare.stage1 import RisingPath, regularised, shrink, typical_size
from tieshare.trainer import descend

Make = Callable[..., RisingPath]
Array = np.ndarray
STRONG = 0.3  # some rows of each layer die within an epoch


@pytest.fixture
def path_of(job_of: Callable[..., Job], digits: Dataset, mlp: ModelProto, tmp_path: Path) -> Make:
    """A path on the network of digits, at a rate that need not be looked for."""

    def make(model: ModelProto = mlp, strength: float | None = None, **recipe: Any) -> RisingPath:
        job = job_of(model, digits, tmp_path, **({"learning_rate": 0.05} | recipe))
        twin = job.twin(job.model)
        path = RisingPath(twin, job.structure, job.trainer, job.recipe, job.plan.path_epochs)
        if strength is not None:
            path.strength = strength
        return path

    return make


def weights(path: RisingPath) -> dict[str, Array]:
    return path.twin.tensors()


def raw(path: RisingPath) -> dict[str, bytes]:
    return {name: array.tobytes() for name, array in weights(path).items()}


def dead(path: RisingPath, layer: str) -> list[int]:
    W = weights(path)[layer]
    return np.flatnonzero(~W.any(axis=1)).tolist()


def test_without_a_penalty_it_is_plain_sgd_bit_for_bit(path_of: Make) -> None:
    path, twin = path_of(strength=0.0), path_of().twin
    optimizer = torch.optim.SGD(twin.parameters(), lr=0.05, momentum=0.9, nesterov=True)
    for epoch in range(2):
        path.epoch()
        twin.train()
        for index in path.trainer.batches(seed=0, epoch=epoch):
            descend(optimizer, path.trainer.loss(twin, index))
    expected = {name: array.tobytes() for name, array in twin.tensors().items()}
    assert raw(path) == expected
    assert raw(path) != raw(path_of())


def test_a_row_that_reached_zero_stays_zero(path_of: Make) -> None:
    path = path_of(strength=STRONG)
    for _ in range(3):
        path.epoch()
    before = {name: dead(path, name) for name in ("w1", "w2")}
    assert 0 < len(before["w1"]) < 64
    assert 0 < len(before["w2"]) < 32
    path.strength = 0.0
    for _ in range(2):
        path.epoch()
    assert {name: dead(path, name) for name in ("w1", "w2")} == before


@pytest.mark.parametrize("penalty", ["growl", "oscar", "group_lasso", "l1"])
def test_no_strength_zeroes_a_layer_whole(path_of: Make, penalty: PenaltyName) -> None:
    path = path_of(strength=1e9, penalty=penalty)
    for _ in range(2):
        snapshot = path.epoch()
    for name in ("w1", "w2"):
        assert weights(path)[name].any()
        assert np.isfinite(weights(path)[name]).all()
    assert snapshot.alive_rows >= 2
    assert np.isfinite(snapshot.ratio)


@pytest.mark.parametrize("penalty", get_args(PenaltyName))
def test_every_penalty_makes_the_weights_smaller(path_of: Make, penalty: PenaltyName) -> None:
    free, bound = path_of(strength=0.0), path_of(strength=0.02, penalty=penalty)
    free.epoch()
    bound.epoch()
    for name in ("w1", "w2"):
        assert np.linalg.norm(weights(bound)[name]) < np.linalg.norm(weights(free)[name])


def test_l1_zeroes_entries_where_the_penalties_of_rows_zero_rows(path_of: Make) -> None:
    entries, rows = path_of(strength=0.1, penalty="l1"), path_of(strength=0.1)
    entries.epoch()
    rows.epoch()
    W, V = weights(entries)["w1"], weights(rows)["w1"]
    assert ((W == 0).any(axis=1) & (W != 0).any(axis=1)).sum() > 32
    read = weights(rows)["w2"].any(axis=1)
    assert not ((V[:, read] == 0).any(axis=1) & V.any(axis=1)).any()


def test_weight_decay_kills_no_row(path_of: Make) -> None:
    path = path_of(strength=10.0, penalty="weight_decay")
    assert path.epoch().alive_rows == 96


def test_l2_shrinks_beside_the_penalty(path_of: Make) -> None:
    without, with_l2 = path_of(strength=1e-4), path_of(strength=1e-4, l2=0.1)
    without.epoch()
    with_l2.epoch()
    assert np.linalg.norm(weights(with_l2)["w1"]) < np.linalg.norm(weights(without)["w1"])


def test_the_ratio_counts_what_is_dead_and_what_feeds_only_that(path_of: Make) -> None:
    path = path_of(strength=STRONG)
    snapshot = path.epoch()
    inputs = 64 - len(dead(path, "w1"))
    hidden = 32 - len(dead(path, "w2"))
    assert snapshot.alive_rows == inputs + hidden
    left = inputs * hidden + hidden + hidden * 10 + 10
    assert snapshot.ratio == pytest.approx(2_410 / left)
    assert snapshot.ratio > 1.1


def test_the_ratio_is_that_of_the_export_where_no_rows_are_tied(
    path_of: Make, mlp: ModelProto
) -> None:
    path = path_of(strength=STRONG, penalty="group_lasso")
    snapshot = path.epoch()
    exported = tied(mlp, weights(path), path.structure)
    assert snapshot.ratio == pytest.approx(count_tied(exported, path.structure).compression_ratio)


def test_a_unit_that_nobody_reads_has_no_weights(path_of: Make) -> None:
    path = path_of(strength=STRONG)
    path.epoch()
    unread = dead(path, "w2")
    assert unread
    assert not weights(path)["w1"][:, unread].any()
    read = np.setdiff1d(np.arange(32), unread)
    assert weights(path)["w1"][:, read].any(axis=0).all()


def test_the_score_is_measured_on_the_network_as_it_is(path_of: Make) -> None:
    path = path_of(strength=STRONG)
    snapshot = path.epoch()
    assert snapshot.score == path.trainer.right(path.twin).mean()
    assert snapshot.epoch == path.done == 1


def test_the_strength_never_falls_and_rises_by_a_limited_factor(path_of: Make) -> None:
    path = path_of(strength=0.02)
    strengths = [path.strength]
    for _ in range(6):
        path.epoch()
        strengths.append(path.strength)
    growth = np.diff(np.log(strengths))
    assert growth.min() >= 0
    assert growth.max() <= 0.5


def test_a_network_that_shrinks_too_fast_waits(path_of: Make) -> None:
    path = path_of(strength=STRONG, path_epochs=100)
    snapshot = path.epoch()
    assert math.log(snapshot.ratio) > 2 * math.log(100) / 100
    assert path.strength == STRONG


def test_a_restored_path_goes_on_bit_for_bit(path_of: Make, tmp_path: Path) -> None:
    whole = path_of(strength=STRONG, path_epochs=40)
    early = [whole.epoch() for _ in range(3)]
    whole.strength = 0.01  # weak enough that dead rows would come back to life
    checkpoints = Checkpoints(tmp_path / "cut")
    checkpoints.save("path", whole.state())
    late = [whole.epoch() for _ in range(3)]
    second = path_of(learning_rate=0.01, path_epochs=40)  # the stored rate counts
    state = checkpoints.load("path")
    assert state is not None
    second.restore(state)
    assert [second.epoch() for _ in range(3)] == late
    assert raw(second) == raw(whole)
    assert (second.strength, second.rate, second.done) == (whole.strength, 0.05, 6)
    assert early[-1].ratio > 1.3


def test_a_rate_that_is_not_given_is_half_of_what_a_trial_stands(path_of: Make) -> None:
    path, untouched = path_of(learning_rate=None), path_of()
    assert 2 * path.rate in (0.1, 0.05, 0.02, 0.01)
    assert path.optimizer.param_groups[0]["lr"] == path.rate
    assert raw(path) == raw(untouched)


def test_a_rate_at_which_training_diverges_is_named(path_of: Make) -> None:
    path = path_of(learning_rate=1e30)
    with pytest.raises(RecipeError) as caught:
        path.epoch()
    assert caught.value.where == "learning_rate"
    assert "1e+30" in caught.value.message


def lam(path: RisingPath) -> Iterator[Array]:
    for item in path.regularised:
        assert isinstance(item.penalty, OrderedRows)
        yield item.penalty.lam


@pytest.mark.parametrize(("penalty", "fraction"), [("growl", 0.5), ("oscar", 1.0)])
def test_rows_that_are_one_unit_each_get_equal_weights(
    path_of: Make, penalty: PenaltyName, fraction: float
) -> None:
    first, second = lam(path_of(penalty=penalty))
    assert first.tolist() == row_weights(64, fraction=fraction).tolist()
    assert second.tolist() == [1.0] * 32


CONV = (
    "g (float[N, 1, 8, 8] x) => (float[N, 10] y)"
    "{ h = Conv (x, k, c) r = Relu (h) p = MaxPool <kernel_shape = [2, 2], strides = [2, 2]> (r)"
    "  f = Flatten (p) y = Gemm (f, w, b) }"
)


def test_a_few_channels_of_an_image_get_no_penalty(
    path_of: Make, fresh: Callable[..., ModelProto]
) -> None:
    model = fresh(CONV, k=(6, 1, 3, 3), c=(6,), w=(54, 10), b=(10,))
    path = path_of(model)
    (only,) = path.regularised
    assert only.layer.weight == "w"
    # Nine rows a channel: ordered weights. A row's death saves a ninth of a channel beside its
    # ten weights: sqrt((10 + (9 + 1) / 9) / 10) of the mean norm.
    (weights_of_rows,) = lam(path)
    assert weights_of_rows[0] > weights_of_rows[-1]
    mean = np.linalg.norm(path.twin.tensors()["w"], axis=1).mean()
    assert only.unit == pytest.approx(mean * math.sqrt((10 + 10 / 9) / 10))


def test_a_channel_goes_when_all_of_its_rows_are_dead(
    path_of: Make,
    fresh: Callable[..., ModelProto],
    taught: Callable[..., ModelProto],
    digits: Dataset,
) -> None:
    model = taught(fresh(CONV, k=(6, 1, 3, 3), c=(6,), w=(54, 10), b=(10,)), digits, epochs=3)
    path = path_of(model, strength=STRONG)
    with torch.no_grad():
        path.twin.parameter("w")[9:18] = 0
        path.twin.parameter("w")[20] = 0
    for item in path.regularised:
        path.alive[item.layer.name][9:18] = False
        path.alive[item.layer.name][20] = False
    path.strength = 0.0
    path.epoch()
    assert not weights(path)["w"][[*range(9, 18), 20]].any()
    alive = weights(path)["k"].any(axis=(1, 2, 3))
    assert alive.tolist() == [True, False, True, True, True, True]


def test_a_network_of_few_inputs_alone_has_nothing_to_compress(
    fresh: Callable[..., ModelProto], job_of: Callable[..., Job], tmp_path: Path
) -> None:
    model = fresh("g (float[N, 7] x) => (float[N, 3] y) { y = Gemm (x, w, b) }", w=(7, 3), b=(3,))
    rng = np.random.default_rng(0)
    data = Dataset({"x": rng.normal(size=(50, 7)), "y": rng.integers(0, 3, 50)})
    job = job_of(model, data, tmp_path)
    with pytest.raises(UnsupportedModel, match="8 inputs"):
        regularised(job.twin(model), job.structure, Recipe())


def layer_of(shape: tuple[int, ...]) -> Layer:
    """A Conv weight (out, in, kh, kw) or a Gemm weight (in, out)."""
    conv = len(shape) == 4
    rows, units = (shape[1], shape[0]) if conv else shape
    return Layer(
        name="layer",
        operator="Conv" if conv else "Gemm",
        weight="w",
        bias=None,
        row_axis=1 if conv else 0,
        unit_axis=0 if conv else 1,
        rows=rows,
        units=units,
        columns=int(np.prod(shape)) // rows,
        kernel=shape[2:],
        input="x",
        output="y",
        node=0,
        bias_node=None,
        uses=1,
    )


@pytest.mark.parametrize("shape", [(9, 4), (3, 9, 2, 2)])
@pytest.mark.parametrize("name", get_args(PenaltyName))
def test_a_shrunk_weight_is_the_prox_of_its_rows(name: PenaltyName, shape: tuple[int, ...]) -> None:
    layer, penalty = layer_of(shape), PENALTIES[name](9, 0.3).at(0.7)
    weight = torch.from_numpy(np.random.default_rng(0).normal(size=shape).astype(np.float32))
    expected = penalty.prox(to_rows(layer, weight.numpy()), 0.5)
    alive = shrink(weight, layer, penalty, step=0.5, alive=torch.ones(9, dtype=torch.bool))
    assert to_rows(layer, weight.numpy()) == pytest.approx(expected, abs=1e-6)
    assert alive.tolist() == expected.any(axis=1).tolist()


def test_shrinking_zeroes_the_rows_that_were_dead_before() -> None:
    weight = torch.ones(3, 9, 2, 2)
    was = torch.tensor([True] * 5 + [False] * 4)
    alive = shrink(weight, layer_of((3, 9, 2, 2)), PENALTIES["growl"](9, 0.0), step=0.0, alive=was)
    assert alive.tolist() == was.tolist()
    assert weight[:, :5].eq(1).all()
    assert weight[:, 5:].eq(0).all()


def test_the_prox_that_would_leave_nothing_is_not_taken() -> None:
    weight = torch.ones(9, 4)
    was = torch.tensor([True] * 5 + [False] * 4)
    penalty = PENALTIES["growl"](9, 0.0).at(1e9)
    alive = shrink(weight, layer_of((9, 4)), penalty, step=1.0, alive=was)
    assert alive.tolist() == was.tolist()
    assert weight.sum(1).tolist() == [4.0] * 5 + [0.0] * 4


def test_a_threshold_is_in_the_units_of_what_it_is_compared_with() -> None:
    W = np.array([[3.0, -4.0], [0.0, 1.0]])
    assert typical_size(PENALTIES["growl"](2, 0.0), W) == 3.0  # norms 5 and 1
    assert typical_size(L1(), W) == 2.0
    assert typical_size(PENALTIES["weight_decay"](2, 0.0), W) == 1.0
    assert typical_size(PENALTIES["growl"](2, 0.0), np.zeros((2, 2))) == 1.0
