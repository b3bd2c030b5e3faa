from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import ModelProto

from tieshare import rearm as rearm_module
from tieshare.checkpoint import Checkpoints
from tieshare.data import Dataset
from tieshare.exports.fold import fold_batch_norms
from tieshare.exports.rows import read_rows
from tieshare.exports.verify import differences
from tieshare.graph import to_rows
from tieshare.graph.layers import layers_of
from tieshare.graph.tensors import tensors
from tieshare.graph.view import view
from tieshare.job import Job
from tieshare.pipeline import compress
from tieshare.progress import Progress
from tieshare.recipe import Recipe, Target
from tieshare.stage1 import RATES
from tieshare.trainer import Trainer
from tieshare.twin import Twin

Make = Callable[..., ModelProto]
Jobs = Callable[..., Job]

CONVS = (
    "convs (float[N, 64] x) => (float[N, 10] logits) <int64[4] image = {0, 1, 8, 8}> {"
    " i = Reshape (x, image) h = Conv <strides = [2, 2]> (i, w1, b1) r = Relu (h)"
    " k = Conv <pads = [1, 1, 1, 1]> (r, w2, b2) a = Add (k, r) s = Relu (a)"
    " f = Flatten (s) logits = Gemm (f, w3, b3) }"
)


@pytest.fixture(scope="session")
def convs(fresh: Make, taught: Make, digits: Dataset) -> ModelProto:
    """A residual network that has no batch norm."""
    sizes = {"w1": (12, 1, 3, 3), "b1": (12,), "w2": (12, 12, 3, 3), "b2": (12,)}
    return taught(fresh(CONVS, **sizes, w3=(108, 10), b3=(10,)), digits, epochs=6)


Rates = Callable[[float, float], list[Sequence[float]]]


@pytest.fixture
def stands(monkeypatch: pytest.MonkeyPatch) -> Rates:
    """Say which rates trials find, without norms and with them; the rates that they were given."""

    def say(plain: float, normed: float) -> list[Sequence[float]]:
        asked: list[Sequence[float]] = []

        def found(twin: Twin, trainer: Trainer, rates: Sequence[float]) -> float:
            asked.append(rates)
            return normed if twin.scale_free else plain

        monkeypatch.setattr(rearm_module, "stable_rate", found)
        return asked

    return say


def operators(model: ModelProto) -> list[str]:
    return [node.op_type for node in model.graph.node]


def test_a_network_that_stands_four_times_the_rate_with_norms_gets_them(
    job_of: Jobs, convs: ModelProto, digits: Dataset, tmp_path: Path, stands: Rates
) -> None:
    asked = stands(0.01, 0.1)
    job = job_of(convs, digits, tmp_path)
    assert operators(job.start).count("BatchNormalization") == 2
    assert job.rate == 0.05
    assert asked == [RATES, (0.1, 0.05, 0.01)]
    assert max(differences(convs, job.start, job.samples).values()) < 1e-5


def test_a_network_that_needs_none_is_left_alone_and_not_tried_with_them(
    job_of: Jobs, convs: ModelProto, digits: Dataset, tmp_path: Path, stands: Rates
) -> None:
    asked = stands(0.05, 0.1)
    job = job_of(convs, digits, tmp_path)
    assert job.start is convs
    assert job.rate == 0.025
    assert asked == [RATES]


def test_a_network_that_they_help_little_is_left_alone(
    job_of: Jobs, convs: ModelProto, digits: Dataset, tmp_path: Path, stands: Rates
) -> None:
    asked = stands(0.005, 0.005)
    job = job_of(convs, digits, tmp_path)
    assert job.start is convs
    assert job.rate == 0.0025
    assert asked == [RATES, (0.1, 0.05, 0.02, 0.005)]


def test_a_rate_that_is_asked_for_is_tried_alone(
    job_of: Jobs, convs: ModelProto, digits: Dataset, tmp_path: Path, stands: Rates
) -> None:
    asked = stands(0.4, 0.4)
    job = job_of(convs, digits, tmp_path / "stands", learning_rate=0.4)
    assert job.start is convs
    assert job.rate == 0.4
    stands(0.05, 0.4)
    fails = job_of(convs, digits, tmp_path / "fails", learning_rate=0.4)
    assert operators(fails.start).count("BatchNormalization") == 2
    assert fails.rate == 0.4
    assert asked == [(0.4, 0.1)]


def test_small_batches_and_networks_without_a_place_for_norms_are_not_tried(
    job_of: Jobs,
    convs: ModelProto,
    fresh: Make,
    digits: Dataset,
    tmp_path: Path,
    stands: Rates,
) -> None:
    asked = stands(0.01, 0.1)
    single = fresh(
        "g (float[N, 64] x) => (float[N, 10] y) { y = Gemm (x, w, b) }", w=(64, 10), b=(10,)
    )
    assert job_of(single, digits, tmp_path / "single").start is single
    job = job_of(convs, digits, tmp_path / "small", batch_size=7)
    assert job.start is convs
    assert job.rate is None
    assert asked == []


def test_a_job_that_goes_on_finds_the_same_without_a_trial(
    job_of: Jobs, convs: ModelProto, digits: Dataset, tmp_path: Path, stands: Rates
) -> None:
    stands(0.01, 0.1)
    first = job_of(convs, digits, tmp_path)
    start, rate = first.start.SerializeToString(), first.rate
    asked = stands(0.1, 0.1)
    again = job_of(convs, digits, tmp_path)
    assert again.start.SerializeToString() == start
    assert again.rate == rate
    assert asked == []


def test_a_job_that_goes_on_without_norms_has_no_trial_either(
    job_of: Jobs, convs: ModelProto, digits: Dataset, tmp_path: Path, stands: Rates
) -> None:
    stands(0.05, 0.1)
    job_of(convs, digits, tmp_path).start  # noqa: B018 - works out what is kept
    asked = stands(0.01, 0.1)
    again = job_of(convs, digits, tmp_path)
    assert again.start is convs
    assert (again.rate, asked) == (0.025, [])


def test_the_tied_file_is_the_uploaded_graph_and_other_files_of_it_pass(
    job_of: Jobs, convs: ModelProto, digits: Dataset, tmp_path: Path, stands: Rates
) -> None:
    stands(0.01, 0.1)
    job = job_of(convs, digits, tmp_path)
    file = job.tied_file(job.start)
    assert list(file.graph.node) == list(convs.graph.node)
    assert max(differences(convs, file, job.samples).values()) < 1e-5
    assert job.tied_file(convs) is convs
    assert job.count(job.start) == job.count(convs)
    assert job.count(convs).compression_ratio == 1


def test_a_real_trial_leaves_a_shallow_network_alone(
    job_of: Jobs, convs: ModelProto, digits: Dataset, tmp_path: Path
) -> None:
    job = job_of(convs, digits, tmp_path)
    assert job.start is convs
    assert job.checkpoints.load("norms") is not None


@pytest.fixture(scope="session")
def deep(fresh: Make, taught: Make, digits: Dataset) -> ModelProto:
    """Ten layers that can be trained with batch norm, which is then folded away."""
    layers = range(1, 11)
    lines = ["r0 = Reshape (x, image)"]
    sizes: dict[str, tuple[int, ...]] = {"v": (36, 10), "c": (10,)}
    for i in layers:
        stride = 2 if i in (1, 5) else 1
        lines.append(
            f"h{i} = Conv <pads = [1, 1, 1, 1], strides = [{stride}, {stride}]> (r{i - 1}, w{i})"
            f" n{i} = BatchNormalization (h{i}, s{i}, t{i}, m{i}, u{i}) r{i} = Relu (n{i})"
        )
        sizes |= {f"w{i}": (9, 1 if i == 1 else 9, 3, 3)}
        sizes |= {f"{name}{i}": (9,) for name in "stmu"}
    text = " ".join(lines)
    model = fresh(
        "deep (float[N, 64] x) => (float[N, 10] y) <int64[4] image = {0, 1, 8, 8}> {"
        f" {text} f = Flatten (r10) y = Gemm (f, v, c) }}",
        **sizes,
    )
    for tensor in model.graph.initializer:
        if tensor.name[0] in "su":
            ones = onnx.numpy_helper.from_array(np.ones(9, np.float32), tensor.name)
            tensor.CopyFrom(ones)
    return fold_batch_norms(taught(model, digits, epochs=12))


@pytest.mark.slow
def test_a_deep_network_whose_norms_were_folded_gets_them_back(
    job_of: Jobs, deep: ModelProto, digits: Dataset, tmp_path: Path
) -> None:
    assert "BatchNormalization" not in operators(deep)
    job = job_of(deep, digits, tmp_path, batch_size=32)
    assert operators(job.start).count("BatchNormalization") == 10
    assert job.rate is not None
    assert job.rate >= 0.025


class Cut(Exception):
    """The process ended here."""


def recipe(**options: Any) -> Recipe:
    given: dict[str, Any] = {"path_epochs": 8, "retrain_epochs": 1, "batch_size": 64}
    return Recipe(Target(min_ratio=2.0), **(given | options))


@pytest.mark.slow
def test_a_job_with_norms_gives_files_of_the_uploaded_network(
    convs: ModelProto, digits: Dataset, tmp_path: Path, stands: Rates
) -> None:
    stands(0.01, 0.1)
    result = compress(convs, digits, recipe(), checkpoint_dir=tmp_path)
    tied = result.tied
    assert list(tied.graph.node) == list(convs.graph.node)
    assert {n: a.shape for n, a in tensors(tied).items()} == {
        n: a.shape for n, a in tensors(convs).items()
    }
    assert max(differences(tied, result.shared).values()) < 1e-4
    assert "BatchNormalization" not in operators(result.shared)
    report = result.report
    assert report.baseline.parameters == sum(
        array.size for name, array in tensors(convs).items() if name != "image"
    )
    assert report.tied.parameters == report.baseline.parameters
    assert report.tied.compression_ratio >= 2
    found = {
        layer.name: read_rows(to_rows(layer, tensors(tied)[layer.weight]))
        for layer in layers_of(view(tied))
    }
    assert [(item.alive, item.clusters) for item in report.layers] == [
        (len(rows.alive), rows.clusters) for rows in found.values()
    ]
    assert any("batch normalisation was put back" in note for note in report.notes)
    assert any(item.clusters < item.alive for item in report.layers)


@pytest.mark.slow
def test_a_job_with_norms_that_was_cut_off_gives_the_same_bytes(
    convs: ModelProto, digits: Dataset, tmp_path: Path, stands: Rates
) -> None:
    stands(0.01, 0.1)
    whole = compress(convs, digits, recipe(), checkpoint_dir=tmp_path / "whole")
    heard: list[Progress] = []

    def listen(progress: Progress) -> None:
        heard.append(progress)
        if len(heard) in (4, 9, 14):
            raise Cut

    for _ in range(3):
        with pytest.raises(Cut):
            compress(convs, digits, recipe(), listen, tmp_path / "cut")
    stands(0.1, 0.1)
    resumed = compress(convs, digits, recipe(), checkpoint_dir=tmp_path / "cut")
    assert resumed.tied.SerializeToString() == whole.tied.SerializeToString()


def test_the_state_that_is_kept_is_small(
    job_of: Jobs, convs: ModelProto, digits: Dataset, tmp_path: Path, stands: Rates
) -> None:
    stands(0.01, 0.1)
    job_of(convs, digits, tmp_path).start  # noqa: B018 - works out what is kept
    state = Checkpoints(tmp_path).load("norms")
    assert state is not None
    assert sum(tensor.numel() for tensor in state["tensors"].values()) == 2 * 4 * 12
