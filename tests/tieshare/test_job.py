from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from onnx import ModelProto

from tieshare import job as job_module
from tieshare.data import Dataset
from tieshare.errors import TwinMismatch
from tieshare.graph import tensors
from tieshare.graph.tensors import with_tensors
from tieshare.job import Job, check_twin
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
    assert job_of(model, data(CLASSES), tmp_path).value == "z"
    assert job_of(model, data(NUMBERS), tmp_path).value == "y"


def test_the_loss_is_relative_for_numbers_alone(
    job_of: Callable[..., Job], model: ModelProto, tmp_path: Path
) -> None:
    assert not job_of(model, data(CLASSES), tmp_path).relative
    assert job_of(model, data(NUMBERS), tmp_path).relative


def test_the_uploaded_model_is_the_teacher(
    job_of: Callable[..., Job], model: ModelProto, tmp_path: Path
) -> None:
    job = job_of(model, data(CLASSES), tmp_path)
    values, train = tensors(model), job.splits.train
    expected = train.inputs[0] @ values["w"] + values["b"]
    assert job.trainer.train.teacher.numpy() == pytest.approx(expected, abs=1e-5)
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
