from collections.abc import Callable
from itertools import count
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import ModelProto

from tieshare.data import Dataset
from tieshare.pipeline import compress
from tieshare.progress import Progress
from tieshare.recipe import Recipe, Target

Array = np.ndarray
Make = Callable[..., ModelProto]
Short = Callable[..., Recipe]
Listen = Callable[[Progress], None]


class Cut(Exception):
    """The process ended here."""


def cut_at(call: int) -> Listen:
    calls = count(1)

    def listen(_: Progress) -> None:
        if next(calls) == call:
            raise Cut

    return listen


@pytest.fixture(scope="session")
def noisy(fresh: Make, taught: Make, digits: Dataset) -> ModelProto:
    """With running statistics and with dropout: both must survive a cut."""
    text = (
        "g (float[N, 64] x) => (float[N, 10] y) <float ratio = {0.2}>"
        "{ h = MatMul (x, w1) n = BatchNormalization (h, gamma, beta, mean, var) r = Relu (n)"
        "  d = Dropout (r, ratio) m = MatMul (d, w2) y = Add (m, b) }"
    )
    vectors = dict.fromkeys(("gamma", "beta", "mean", "var"), (24,))
    model = fresh(text, w1=(64, 24), w2=(24, 10), b=(10,), **vectors)
    for tensor in model.graph.initializer:
        if tensor.name in ("gamma", "var"):
            tensor.CopyFrom(onnx.numpy_helper.from_array(np.ones(24, np.float32), tensor.name))
    model = taught(model, digits, epochs=5)
    assert isinstance(model, ModelProto)
    return model


@pytest.mark.slow
def test_a_job_that_was_cut_off_gives_the_same_bytes(
    noisy: ModelProto, digits: Dataset, tmp_path: Path, short: Short
) -> None:
    recipe = short(Target(max_drop=0.05), path_epochs=12, retrain_epochs=2, learning_rate=None)
    heard: list[Progress] = []
    whole = compress(noisy, digits, recipe, heard.append, tmp_path / "whole")
    assert [item.stage for item in heard[:3]] == ["check", "check", "path"]
    # In turn: before anything, in the path, at its end, in the first and in later points.
    for call in (1, 4, 7, 8, 3, 4, 7):
        with pytest.raises(Cut):
            compress(noisy, digits, recipe, cut_at(call), tmp_path / "cut")
    left: list[Progress] = []
    resumed = compress(noisy, digits, recipe, left.append, tmp_path / "cut")
    assert resumed.tied.SerializeToString() == whole.tied.SerializeToString()
    assert resumed.report.held_out == whole.report.held_out
    assert len(left) < len(heard) - 12


@pytest.mark.slow
def test_a_job_whose_points_are_made_at_once_gives_the_same_bytes_even_cut_off(
    mlp: ModelProto,
    digits: Dataset,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    short: Short,
) -> None:
    heard: list[Progress] = []

    def cut(progress: Progress) -> None:
        heard.append(progress)
        if (progress.stage, progress.done) == ("retrain", 4):
            raise Cut

    recipe = short(path_epochs=60, retrain_epochs=3, tie=False)
    alone = compress(mlp, digits, recipe)
    monkeypatch.setattr("tieshare.maker._WORTH_A_PROCESS", 0.0)
    monkeypatch.setattr("torch.get_num_threads", lambda: 2)
    with pytest.raises(Cut):
        compress(mlp, digits, recipe, cut, tmp_path)
    together = compress(mlp, digits, recipe, heard.append, tmp_path)
    assert together.tied.SerializeToString() == alone.tied.SerializeToString()
    assert together.report.held_out == alone.report.held_out
    assert 8 in {item.total for item in heard if item.stage == "retrain"}


def test_a_job_that_is_done_trains_nothing_again(
    mlp: ModelProto, digits: Dataset, tmp_path: Path, short: Short
) -> None:
    first = compress(mlp, digits, short(), checkpoint_dir=tmp_path)
    heard: list[Progress] = []
    again = compress(mlp, digits, short(), heard.append, tmp_path)
    assert {item.stage for item in heard} == {"check", "export", "measure"}
    assert again.tied.SerializeToString() == first.tied.SerializeToString()


def test_another_recipe_in_the_same_folder_starts_from_the_beginning(
    mlp: ModelProto, digits: Dataset, tmp_path: Path, short: Short
) -> None:
    compress(mlp, digits, short(path_epochs=2), checkpoint_dir=tmp_path)
    heard: list[Progress] = []
    compress(mlp, digits, short(path_epochs=2, seed=1), heard.append, tmp_path)
    assert [item.done for item in heard if item.stage == "path"] == [1, 2]


def test_what_another_version_kept_in_another_form_is_not_gone_on_from(
    mlp: ModelProto, digits: Dataset, tmp_path: Path, short: Short, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr("tieshare.pipeline.FORMAT", 1)
        compress(mlp, digits, short(path_epochs=2), checkpoint_dir=tmp_path)
    heard: list[Progress] = []
    compress(mlp, digits, short(path_epochs=2), heard.append, tmp_path)
    assert [item.done for item in heard if item.stage == "path"] == [1, 2]


def test_model_and_data_may_be_files_and_the_same_seed_gives_the_same_bytes(
    mlp: ModelProto, digits: Dataset, tmp_path: Path, short: Short
) -> None:
    model, data = tmp_path / "model.onnx", tmp_path / "data.npz"
    model.write_bytes(mlp.SerializeToString())
    np.savez(data, **digits.arrays)  # type: ignore[arg-type]
    made = {
        compress(given, arrays, short(path_epochs=1)).tied.SerializeToString()
        for given, arrays in ((mlp, digits), (model, data), (model.read_bytes(), digits))
    }
    assert len(made) == 1
    other = compress(mlp, digits, short(path_epochs=1, seed=1)).tied.SerializeToString()
    assert other not in made
