from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from onnx import ModelProto

from tieshare import job as job_module
from tieshare.augment import UNCHANGED, Moves
from tieshare.data import Dataset
from tieshare.errors import DataMismatch, TwinMismatch
from tieshare.graph import tensors
from tieshare.graph.tensors import with_tensors
from tieshare.job import Job, check_outputs, check_twin
from tieshare.twin import Twin, from_onnx

Make = Callable[..., ModelProto]
TEXT = "g (float[N, 9] x) => (float[N, 3] y) { z = Gemm (x, w, b) y = Softmax (z) }"


@pytest.fixture
def model(fresh: Make) -> ModelProto:
    return fresh(TEXT, w=(9, 3), b=(3,))


def data(y: np.ndarray) -> Dataset:
    return Dataset({"x": np.random.default_rng(0).normal(size=(90, 9)), "y": y})


CLASSES = np.arange(90) % 3
NUMBERS = np.random.default_rng(1).uniform(size=(90, 3))


def test_labels_are_trained_on_logits_and_numbers_on_the_output_itself(
    job_of: Callable[..., Job], model: ModelProto, tmp_path: Path
) -> None:
    assert job_of(model, data(CLASSES), tmp_path).values == ["z"]
    assert job_of(model, data(NUMBERS), tmp_path).values == ["y"]


def test_the_loss_is_relative_for_numbers_alone(
    job_of: Callable[..., Job], model: ModelProto, tmp_path: Path
) -> None:
    assert not job_of(model, data(CLASSES), tmp_path).relative
    assert job_of(model, data(NUMBERS), tmp_path).relative


@pytest.fixture
def two(fresh: Make) -> ModelProto:
    text = (
        "g (float[N, 9] x) => (float[N, 3] y, float[N, 2] v, float[N, 3] z)"
        "{ z = Gemm (x, w, b) y = Softmax (z) v = MatMul (x, u) }"
    )
    return fresh(text, w=(9, 3), b=(3,), u=(9, 2))


def test_of_several_outputs_those_with_a_target_are_trained(
    job_of: Callable[..., Job], two: ModelProto, tmp_path: Path
) -> None:
    x = data(CLASSES).arrays["x"]
    arrays = {"x": x, "y_v": NUMBERS[:, :2], "y_y": CLASSES}
    job = job_of(two, Dataset(arrays), tmp_path)
    assert job.values == ["z", "v"]
    assert [head.output for head in job.heads] == ["y", "v"]
    assert not job.relative
    taught = job.trainer.teacher(torch.arange(5), Moves.drawn(5, UNCHANGED), [])
    assert [output.shape for output in taught or ()] == [(5, 3), (5, 2)]
    assert job_of(two, Dataset({"x": x, "y_z": NUMBERS, "y_v": NUMBERS[:, :2]}), tmp_path).relative


def test_the_uploaded_model_is_the_teacher(
    job_of: Callable[..., Job], model: ModelProto, tmp_path: Path
) -> None:
    job = job_of(model, data(CLASSES), tmp_path)
    values, train = tensors(model), job.splits.train
    expected = train.inputs[0] @ values["w"] + values["b"]
    moves = Moves.drawn(len(train), UNCHANGED)
    (taught,) = job.trainer.teacher(torch.arange(len(train)), moves, []) or ()
    assert taught.numpy() == pytest.approx(expected, abs=1e-5)
    assert job.dense.shape == (len(job.splits.held_out),)


def test_a_file_is_probed_with_a_few_real_samples(
    job_of: Callable[..., Job], model: ModelProto, digits: Dataset, mlp: ModelProto, tmp_path: Path
) -> None:
    assert [array.shape for array in job_of(model, data(CLASSES), tmp_path).samples] == [(9, 9)]
    job = job_of(mlp, digits, tmp_path)
    assert np.array_equal(job.samples[0], job.splits.held_out.inputs[0][:32])


def test_a_twin_that_computes_the_same_passes(
    job_of: Callable[..., Job], model: ModelProto, tmp_path: Path
) -> None:
    check_twin(job_of(model, data(CLASSES), tmp_path))


@pytest.mark.parametrize("moved", [0.1, np.nan])
def test_a_twin_that_computes_something_else_is_refused_by_the_name_of_the_output(
    job_of: Callable[..., Job],
    model: ModelProto,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    moved: float,
) -> None:
    def wrong(read: ModelProto, outputs: list[str]) -> Twin:
        bias = tensors(read)["b"] + np.array([moved, 0, 0], dtype=np.float32)
        return from_onnx(with_tensors(read, {"b": bias}), outputs)

    job = job_of(model, data(CLASSES), tmp_path)
    monkeypatch.setattr(job_module, "from_onnx", wrong)
    with pytest.raises(TwinMismatch) as caught:
        check_twin(job)
    assert caught.value.where == "y"


@pytest.fixture
def halved(fresh: Make) -> ModelProto:
    """A step of output for every two of the inputs, which have names of their own."""
    text = (
        "g (float[N, T, 9] x, float[N, U, 9] p) => (float[N, S, 3] y)"
        "<int64[1] axis = {1}> {"
        "  q = Add (x, p) u = Unsqueeze (q, axis)"
        "  s = MaxPool <kernel_shape = [2, 1], strides = [2, 1]> (u) m = Squeeze (s, axis)"
        "  y = MatMul (m, w) }"
    )
    return fresh(text, w=(9, 3))


def steps(inputs: int, other: int, labels: int) -> Dataset:
    x, p = (np.ones((40, length, 9), dtype=np.float32) for length in (inputs, other))
    y = np.arange(40 * labels).reshape(40, labels) % 3
    return Dataset({"x": x, "p": p, "y": y})


def test_the_shape_of_the_output_on_the_data_suits_the_target(
    job_of: Callable[..., Job], halved: ModelProto, tmp_path: Path
) -> None:
    check_outputs(job_of(halved, steps(8, 8, 4), tmp_path))
    with pytest.raises(DataMismatch, match=r"\(4, 4, 3\) for 4 samples.* shape \(8,\)") as caught:
        check_outputs(job_of(halved, steps(8, 8, 8), tmp_path))
    assert caught.value.where == "y"


def test_data_that_the_model_can_not_be_run_on_is_refused_in_words(
    job_of: Callable[..., Job], halved: ModelProto, tmp_path: Path
) -> None:
    with pytest.raises(DataMismatch, match="can't be run on the data"):
        check_outputs(job_of(halved, steps(8, 6, 4), tmp_path))
