from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from onnx import ModelProto

from tieshare.checkpoint import Checkpoints
from tieshare.data import Dataset
from tieshare.exports.tied import tied
from tieshare.graph import structure_of, tensors
from tieshare.graph.tensors import with_tensors
from tieshare.job import Job
from tieshare.measure import predict
from tieshare.rounding import rounded
from tieshare.stage2 import Retraining

Array = np.ndarray
Make = Callable[..., Retraining]

DEAD, TIED = [0, 7, 8], [10, 20, 30, 40]


@pytest.fixture
def job(job_of: Callable[..., Job], mlp: ModelProto, digits: Dataset, tmp_path: Path) -> Job:
    return job_of(mlp, digits, tmp_path)


@pytest.fixture
def retraining(job: Job, mlp: ModelProto) -> Make:
    """Of the network of digits, its first layer with dead and tied rows."""
    W = tensors(mlp)["w1"].copy()
    W[DEAD] = 0
    W[TIED] = W[TIED].mean(axis=0)
    start = tied(mlp, {"w1": W}, structure_of(mlp))

    def make(epochs: int = 1) -> Retraining:
        return Retraining(start, job.values, job.trainer, job.recipe, epochs)

    return make


def trained(training: Retraining) -> dict[str, Array]:
    while training.done < training.epochs:
        training.epoch()
    return training.network.tensors()


def test_training_goes_on_with_tied_and_other_weights_on_their_grids(retraining: Make) -> None:
    training = retraining()
    exact = trained(training)
    training.round({"w1": 8, "w2": 16}, epochs=2)
    values = trained(training)
    assert training.done == training.epochs == 3
    assert rounded(values["w1"], 8, 1).tobytes() == values["w1"].tobytes()
    assert values["w2"].astype(np.float16).astype(np.float32).tobytes() == values["w2"].tobytes()
    assert (np.abs(values["w1"] - exact["w1"]) > 1e-3).any()
    assert not values["w1"][DEAD].any()
    assert len({row.tobytes() for row in values["w1"][TIED]}) == 1


def test_four_bits_leave_16_values_of_a_weight(retraining: Make) -> None:
    training = retraining()
    training.round({"w1": 4, "w2": 4}, epochs=1)
    values = trained(training)
    assert [len(np.unique(values[name])) for name in ("w1", "w2")] == [16, 16]
    assert not values["w1"][DEAD].any()


def test_rounding_in_the_loop_brings_back_what_rounding_took(retraining: Make, job: Job) -> None:
    training = retraining(epochs=4)
    trained(training)
    whole = job.trainer.right(training.network).mean()
    training.round({"w1": 4, "w2": 4}, epochs=4)
    trained(training)
    assert job.trainer.right(training.network).mean() > whole - 0.02


def test_the_network_scores_with_the_values_that_it_gives_out(retraining: Make, job: Job) -> None:
    training = retraining()
    training.round({"w1": 4, "w2": 8}, epochs=1)
    values = trained(training)
    narrow = with_tensors(job.model, values)
    inputs = job.splits.held_out.inputs
    right = predict(narrow, "logits", inputs).argmax(axis=1) == job.splits.held_out.targets[0]
    assert right.mean() == pytest.approx(job.trainer.right(training.network).mean(), abs=1e-9)


def test_a_rounded_retraining_that_was_cut_goes_on_bit_for_bit(
    retraining: Make, tmp_path: Path
) -> None:
    bits = {"w1": 4, "w2": 8}

    def started() -> Retraining:
        training = retraining()
        training.epoch()
        training.round(bits, epochs=3)
        training.epoch()
        return training

    whole = trained(started())
    checkpoints = Checkpoints(tmp_path / "cut")
    checkpoints.save("point", started().state())
    state = checkpoints.load("point")
    assert state is not None
    second = retraining()
    second.restore(state)
    assert (second.done, second.epochs, second.bits) == (2, 4, bits)
    values = trained(second)
    assert {n: a.tobytes() for n, a in values.items()} == {n: a.tobytes() for n, a in whole.items()}


def test_the_rate_of_the_rounded_epochs_rises_less_and_falls_to_nothing_too(
    retraining: Make,
) -> None:
    training = retraining()
    training.epoch()
    training.round({"w1": 8}, epochs=2)
    rates = []
    for _ in range(2 * training.trainer.steps):
        rates.append(training.optimizer.param_groups[0]["lr"])
        training.optimizer.step()
        training.schedule.step()
    assert 0.9 * training.rate / 5 < max(rates) <= training.rate / 5
    assert rates[-1] < training.rate / 100
