"""The path of a network with batch norm."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from onnx import ModelProto, numpy_helper

from tieshare.checkpoint import Checkpoints
from tieshare.data import Dataset
from tieshare.job import Job
from tieshare.stage1 import LAST_RATE, RATES, RisingPath, stable_rate
from tieshare.trainer import USUAL_TRIAL, Trial

Paths = Callable[..., RisingPath]

NORMED = (
    "g (float[N, 64] x) => (float[N, 10] y) { h = Gemm (x, w, b)"
    " n = BatchNormalization (h, s, t, m, v) r = Relu (n) y = Gemm (r, u, c) }"
)


@pytest.fixture(scope="session")
def normed(
    fresh: Callable[..., ModelProto], taught: Callable[..., ModelProto], digits: Dataset
) -> ModelProto:
    vectors = dict.fromkeys(("b", "s", "t", "m", "v"), (24,))
    model = fresh(NORMED, w=(64, 24), u=(24, 10), c=(10,), **vectors)
    for tensor in model.graph.initializer:
        if tensor.name in "sv":
            tensor.CopyFrom(numpy_helper.from_array(np.ones(24, np.float32), tensor.name))
    return taught(model, digits, epochs=5)


@pytest.fixture
def path_of(
    job_of: Callable[..., Job], normed: ModelProto, digits: Dataset, tmp_path: Path
) -> Paths:
    def make(strength: float, rate: float = 0.05) -> RisingPath:
        job = job_of(normed, digits, tmp_path, learning_rate=rate)
        path = RisingPath(job.twin(normed), job.structure, job.trainer, job.recipe, job.plan, 1e300)
        path.pace.strength = strength
        return path

    return make


def size(path: RisingPath, name: str) -> float:
    return float(torch.linalg.vector_norm(path.twin.parameter(name).detach()))


def test_a_weight_before_a_norm_keeps_its_size_while_others_shrink(path_of: Paths) -> None:
    path = path_of(strength=0.3)
    before = {name: size(path, name) for name in "wu"}
    for _ in range(3):
        path.epoch()
    assert size(path, "w") == pytest.approx(before["w"], rel=1e-3)
    assert size(path, "u") < 0.9 * before["u"]


def test_its_rows_die_nevertheless_and_stay_dead(path_of: Paths) -> None:
    path = path_of(strength=3.0)
    dead = 0
    for _ in range(4):
        path.epoch()
        now = int((~path.twin.parameter("w").detach().any(dim=1)).sum())
        assert now >= dead
        dead = now
    assert 5 < dead < 64


def test_the_rate_falls_to_a_tenth_and_is_even_without_norms(
    path_of: Paths, job_of: Callable[..., Job], mlp: ModelProto, digits: Dataset, tmp_path: Path
) -> None:
    path = path_of(strength=0.3)
    rates = [path.optimizer.param_groups[0]["lr"]]
    for _ in range(path.all_turns // path.turns):
        path.epoch()
        rates.append(path.optimizer.param_groups[0]["lr"])
    assert rates[0] == path.rate == 0.05
    assert rates == sorted(rates, reverse=True)
    assert rates[-1] == pytest.approx(LAST_RATE * 0.05)
    job = job_of(mlp, digits, tmp_path, learning_rate=0.05)
    plain = RisingPath(job.twin(mlp), job.structure, job.trainer, job.recipe, job.plan)
    for _ in range(2):
        plain.epoch()
    assert plain.optimizer.param_groups[0]["lr"] == plain.rate_now == 0.05


def test_the_path_goes_on_bit_for_bit(path_of: Paths, tmp_path: Path) -> None:
    whole = path_of(strength=0.3)
    whole.epoch()
    checkpoints = Checkpoints(tmp_path / "cut")
    checkpoints.save("path", whole.state())
    late = whole.epoch()
    second = path_of(strength=1.0)
    state = checkpoints.load("path")
    assert state is not None
    second.restore(state)
    assert second.epoch() == late
    for name, value in whole.twin.state_dict().items():
        assert torch.equal(second.twin.state_dict()[name], value)


def test_trials_are_longer_and_may_lose_more_with_batch_norm(
    job_of: Callable[..., Job],
    normed: ModelProto,
    mlp: ModelProto,
    digits: Dataset,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[tuple[object, ...]] = []

    def found(*given: object) -> float:
        asked.append(given[1:])
        return 0.5

    for model in (normed, mlp):
        job = job_of(model, digits, tmp_path)
        monkeypatch.setattr(job.trainer, "largest_stable_rate", found)
        assert stable_rate(job.twin(model), job.trainer) == 0.5
    assert [(rates, trial) for rates, _, trial in asked] == [
        (RATES, Trial(steps=120, lost=0.05)),
        (RATES, USUAL_TRIAL),
    ]
