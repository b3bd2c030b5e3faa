"""``tieshare compress``: a whole job with no server."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
import pytest

RECIPE = {"path_epochs": 4, "retrain_epochs": 2, "batch_size": 16}


@pytest.fixture
def folder(tmp_path: Path, model_bytes: bytes, dataset_bytes: bytes) -> Path:
    (tmp_path / "model.onnx").write_bytes(model_bytes)
    (tmp_path / "data.npz").write_bytes(dataset_bytes)
    (tmp_path / "recipe.json").write_text(json.dumps(RECIPE))
    return tmp_path


@pytest.fixture
def compress(tieshare: Any, folder: Path) -> Any:
    def run(*words: object, model: str = "model.onnx", data: str = "data.npz") -> Any:
        given = ("compress", folder / model, "--data", folder / data, "--out", folder / "out")
        return tieshare(*given, *words)

    return run


def names(folder: Path) -> list[str]:
    return sorted(file.name for file in folder.iterdir())


@pytest.mark.slow
def test_it_writes_three_files_and_prints_the_table(
    compress: Any, folder: Path, dataset_arrays: dict[str, np.ndarray]
) -> None:
    np.savez(folder / "test.npz", x=dataset_arrays["x"][:10], y=dataset_arrays["y"][:10])
    flags = ("--min-ratio", 1, "--seed", 3, "--test", folder / "test.npz")
    done = compress("--recipe", folder / "recipe.json", *flags)

    assert done.exit_code == 0, done.output
    assert names(folder / "out") == ["report.json", "shared.onnx", "tied.onnx"]
    report = json.loads((folder / "out" / "report.json").read_text())
    assert report["recipe"]["seed"] == 3
    assert report["recipe"]["path_epochs"] == 4
    assert report["shared"]["bytes"] == (folder / "out" / "shared.onnx").stat().st_size
    lines = done.stdout.splitlines()
    assert [line.split()[0] for line in lines[1:4]] == ["dense", "tied", "shared"]
    assert lines[-1] == f"written to {folder / 'out'}"
    session = ort.InferenceSession(folder / "out" / "shared.onnx")
    assert session.run(None, {"x": dataset_arrays["x"]})[0].shape == (60, 3)


@pytest.mark.parametrize(
    ("model", "data", "words"),
    [
        ("data.npz", "data.npz", "not an ONNX model"),
        ("model.onnx", "model.onnx", "npz"),
        ("model.onnx", "other.npz", "x"),
    ],
)
def test_bad_files_are_one_line_and_leave_nothing(
    compress: Any, folder: Path, model: str, data: str, words: str
) -> None:
    np.savez(folder / "other.npz", x=np.zeros((60, 5), np.float32), y=np.arange(60) % 3)
    before = names(folder)
    done = compress(model=model, data=data)

    assert done.exit_code == 2
    assert words in done.stderr.splitlines()[-1]
    assert done.stderr.splitlines()[-1].startswith("Error: ")
    assert names(folder) == before


def test_a_folder_with_something_in_it_is_not_written_to(compress: Any, folder: Path) -> None:
    (folder / "out").mkdir()
    (folder / "out" / "notes.txt").write_text("mine")
    done = compress()

    assert done.exit_code == 2
    assert "exists already" in done.stderr
    assert names(folder / "out") == ["notes.txt"]


@pytest.mark.parametrize(
    ("recipe", "words"),
    [
        ("{", "not JSON"),
        ("[]", "must be a JSON object"),
        ('{"sead": 1}', "sead"),
        ('{"target": {"max_drop": 2}}', "max_drop"),
        ('{"penalty": "ridge"}', "penalty"),
    ],
)
def test_a_recipe_that_can_not_be_followed_is_refused(
    compress: Any, folder: Path, recipe: str, words: str
) -> None:
    (folder / "bad.json").write_text(recipe)
    done = compress("--recipe", folder / "bad.json")

    assert done.exit_code == 2
    assert words in done.stderr


def test_only_one_target_may_be_given(compress: Any) -> None:
    done = compress("--max-drop", 0.1, "--min-ratio", 3)

    assert done.exit_code == 2
    assert "give one of --max-drop and --min-ratio" in done.stderr


def test_a_file_that_is_not_there_is_named(compress: Any) -> None:
    done = compress(data="nothing.npz")

    assert done.exit_code == 2
    assert "nothing.npz' does not exist" in done.stderr.replace("\n", " ")
