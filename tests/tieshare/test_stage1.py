import math
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
import torch
from onnx import ModelProto

from tieshare.checkpoint import Checkpoints
from tieshare.data import Dataset
from tieshare.errors import RecipeError
from tieshare.exports.count import count_tied
from tieshare.exports.tied import tied
from tieshare.job import Job
from tieshare.recipe import PenaltyName
from tieshare.stage1 import RisingPath

Make = Callable[..., RisingPath]
Array = np.ndarray
STRONG = 0.3  # some rows of each layer die within an epoch
AT_ONCE = 1e300  # as a last ratio: any number of rows may die in a step


@pytest.fixture
def path_of(job_of: Callable[..., Job], digits: Dataset, mlp: ModelProto, tmp_path: Path) -> Make:
    """A path on the network of digits, at a rate that need not be looked for."""

    def make(
        model: ModelProto = mlp,
        strength: float | None = None,
        last: float = AT_ONCE,
        **recipe: Any,
    ) -> RisingPath:
        job = job_of(model, digits, tmp_path, **({"learning_rate": 0.05} | recipe))
        twin = job.twin(job.model)
        path = RisingPath(twin, job.structure, job.trainer, job.recipe, job.plan, last)
        if strength is not None:
            path.pace.strength = strength
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
    optimizer = torch.optim.SGD(twin.parameters(), lr=0.05, momentum=0.9, nesterov=True, fused=True)
    for epoch in range(2):
        path.epoch()
        twin.train()
        for index in path.trainer.batches(seed=0, epoch=epoch):
            path.trainer.step(twin, optimizer, index)
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
    path.pace.strength = 0.0
    for _ in range(2):
        path.epoch()
    assert {name: dead(path, name) for name in ("w1", "w2")} == before


@pytest.mark.parametrize("penalty", ["growl", "oscar", "slope", "group_lasso", "l1"])
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


def test_a_layer_that_is_left_alone_loses_no_row(path_of: Make) -> None:
    second = path_of().regularised[1].name
    path = path_of(strength=1.0, penalties={second: "none"}, path_epochs=60)
    snapshot = [path.epoch() for _ in range(3)][-1]
    assert 0 < len(dead(path, "w1")) < 64
    assert dead(path, "w2") == []
    assert snapshot.alive_rows == 64 - len(dead(path, "w1"))


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


def test_what_is_lost_within_an_epoch_is_heeded_there(path_of: Make) -> None:
    """One turn in four ends with the epoch: its score is the snapshot's."""
    path, seen = path_of(strength=STRONG, path_epochs=15, batch_size=8), list[float]()
    path.lost = lambda score: seen.append(score) or 1.0  # type: ignore[func-returns-value]
    path.epoch()
    assert path.turns == 4
    assert len(seen) == 3
    assert path.pace.strain > 1


def test_the_network_shrinks_no_faster_than_its_pace(path_of: Make) -> None:
    """At a strength at which most of it would die in one epoch; a unit more may die in a step."""
    path = path_of(strength=STRONG, last=4.0, path_epochs=10, batch_size=16)
    ratios = [path.epoch().ratio for _ in range(10)]
    assert 1.3 < ratios[4] < 4 ** (1.5 * 0.5) * 1.1
    assert max(np.diff(np.log([1.0, *ratios]))) < 2.5 * math.log(4) / 10
    assert 2.0 < ratios[-1] < 4.5
    assert path_of(strength=STRONG, batch_size=16).epoch().ratio > ratios[0]


def test_a_short_path_has_as_many_turns_as_a_long_one(path_of: Make) -> None:
    """Where it has as many steps: after each turn the rows were shrunk once more at least."""
    turns = {n: path_of(path_epochs=n, batch_size=16).turns for n in (20, 30, 60, 90)}
    assert turns == {20: 3, 30: 2, 60: 1, 90: 1}
    assert path_of(path_epochs=20, batch_size=16).pace.left == 60
    assert path_of(path_epochs=60, batch_size=16).pace.left == 60


def test_a_turn_has_sixteen_steps_at_least_but_an_epoch_has_one(path_of: Make) -> None:
    short, tiny = (path_of(path_epochs=1, batch_size=size) for size in (16, 256))
    assert short.turns == min(short.trainer.steps // 16, math.ceil(short.trainer.steps / 20))
    assert tiny.trainer.steps < 16
    assert tiny.turns == 1


def test_a_restored_path_goes_on_bit_for_bit(path_of: Make, tmp_path: Path) -> None:
    whole = path_of(strength=STRONG, path_epochs=40)
    early = [whole.epoch() for _ in range(3)]
    whole.pace.strength = 0.01  # weak enough that dead rows would come back to life
    checkpoints = Checkpoints(tmp_path / "cut")
    checkpoints.save("path", whole.state())
    late = [whole.epoch() for _ in range(3)]
    second = path_of(learning_rate=0.01, path_epochs=40)  # the stored rate counts
    state = checkpoints.load("path")
    assert state is not None
    second.restore(state)
    assert [second.epoch() for _ in range(3)] == late
    assert raw(second) == raw(whole)
    assert (second.pace.strength, second.rate, second.done) == (whole.pace.strength, 0.05, 6)
    assert early[-1].ratio > 1.3


def test_going_back_spends_the_epoch_and_halves_the_strength(path_of: Make, tmp_path: Path) -> None:
    path = path_of(strength=STRONG, path_epochs=40)
    path.epoch()
    checkpoints = Checkpoints(tmp_path / "cut")
    checkpoints.save("path", path.state())
    before, strength, left = raw(path), path.pace.strength, path.pace.left
    path.epoch()
    state = checkpoints.load("path")
    assert state is not None
    path.back(state)
    assert raw(path) == before
    assert (path.done, path.pace.left) == (2, left - path.turns)
    assert path.pace.strength == strength / 2
    assert path.snapshot().epoch == 2


def test_going_back_in_vain_halves_the_rate(path_of: Make, tmp_path: Path) -> None:
    path = path_of(strength=STRONG, path_epochs=40)
    checkpoints = Checkpoints(tmp_path / "cut")
    checkpoints.save("path", path.state())
    state = checkpoints.load("path")
    assert state is not None
    rates = []
    for _ in range(4):
        path.epoch()
        path.back(state)
        rates.append(path.rate)
        checkpoints.save("path", path.state())
        state = checkpoints.load("path")
        assert state is not None
    assert rates == [0.05, 0.05, 0.025, 0.0125]
    assert path.optimizer.param_groups[0]["lr"] == 0.0125


def test_a_rate_that_is_not_given_is_half_of_what_a_trial_stands(path_of: Make) -> None:
    path, untouched = path_of(learning_rate=None), path_of()
    assert 2 * path.rate in (0.1, 0.05, 0.02, 0.01)
    assert path.optimizer.param_groups[0]["lr"] == path.rate
    assert raw(path) == raw(untouched)


def test_a_rate_at_which_training_diverges_is_named(path_of: Make) -> None:
    path = path_of(learning_rate=1e30, path_epochs=20)
    with pytest.raises(RecipeError) as caught:
        path.epoch()
    assert caught.value.where == "learning_rate"
    assert "1e+30" in caught.value.message


CONV = (
    "g (float[N, 1, 8, 8] x) => (float[N, 10] y)"
    "{ h = Conv (x, k, c) r = Relu (h) p = MaxPool <kernel_shape = [2, 2], strides = [2, 2]> (r)"
    "  f = Flatten (p) y = Gemm (f, w, b) }"
)


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
    (item,) = path.regularised
    path.alive[item.name][[*range(9, 18), 20]] = False
    path.pace.strength = 0.0
    path.epoch()
    assert not weights(path)["w"][[*range(9, 18), 20]].any()
    alive = weights(path)["k"].any(axis=(1, 2, 3))
    assert alive.tolist() == [True, False, True, True, True, True]


def test_a_unit_of_a_residual_stream_dies_in_all_layers_that_read_it(
    path_of: Make,
    fresh: Callable[..., ModelProto],
    taught: Callable[..., ModelProto],
    digits: Dataset,
) -> None:
    text = (
        "g (float[N, 64] x) => (float[N, 10] y)"
        "{ a = Gemm (x, w1, b1) r = Relu (a) h = Gemm (r, w2, b2) s = Relu (h)"
        "  i = Gemm (s, w3, b3) j = Add (a, i) y = Gemm (j, w4, b4) }"
    )
    matrices = {"w1": (64, 24), "w2": (24, 16), "w3": (16, 24), "w4": (24, 10)}
    biases = {"b1": (24,), "b2": (16,), "b3": (24,), "b4": (10,)}
    model = taught(fresh(text, **matrices, **biases), digits, epochs=5)
    path = path_of(model, strength=0.3, learning_rate=0.01)
    snapshot = [path.epoch() for _ in range(8)][-1]
    unread = dead(path, "w2")
    assert unread == dead(path, "w4")
    assert 0 < len(unread) < 24
    for name in ("w1", "w3"):
        assert not weights(path)[name][:, unread].any()
    assert snapshot.alive_rows == sum(size[0] - len(dead(path, n)) for n, size in matrices.items())
