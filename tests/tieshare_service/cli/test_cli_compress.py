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
def test_it_writes_all_files_and_prints_the_tables(
    compress: Any, folder: Path, dataset_arrays: dict[str, np.ndarray]
) -> None:
    np.savez(folder / "test.npz", x=dataset_arrays["x"][:10], y=dataset_arrays["y"][:10])
    flags = ("--min-ratio", 1, "--seed", 3, "--test", folder / "test.npz")
    done = compress("--recipe", folder / "recipe.json", *flags)

    assert done.exit_code == 0, done.output
    report = json.loads((folder / "out" / "report.json").read_text())
    points = [f"point-{point['point']}." for point in report["front"]]
    forms = ("packed.onnx", "shared.onnx", "tied.onnx")
    models = [prefix + form for prefix in ("", *points) for form in forms]
    assert names(folder / "out") == sorted([*models, "front.png", "front.svg", "report.json"])
    assert report["recipe"]["seed"] == 3
    assert report["recipe"]["path_epochs"] == 4
    assert report["shared"]["bytes"] == (folder / "out" / "shared.onnx").stat().st_size
    lines = done.stdout.splitlines()
    first_words = [line.split()[0] for line in lines if line.strip()]
    assert first_words[1:5] == ["dense", "tied", "shared", "packed"]
    assert first_words[5] == "point"
    assert [word for word in first_words if word.isdigit()] == [
        str(number) for number in range(1, len(points) + 1)
    ]
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


@pytest.mark.parametrize(
    ("flags", "named"),
    [
        (("--max-drop", 0.1, "--min-ratio", 3), "--max-drop, --min-ratio"),
        (("--max-bytes", 900, "--front"), "--max-bytes, --front"),
        (("--min-ratio", 3, "--max-latency-us", 9), "--min-ratio, --max-latency-us"),
    ],
)
def test_only_one_target_may_be_given(compress: Any, flags: tuple[object, ...], named: str) -> None:
    done = compress(*flags)

    assert done.exit_code == 2
    assert f"give only one of {named}" in done.stderr


@pytest.mark.parametrize(
    "flags", [("--max-bytes", 0), ("--max-latency-us", 0), ("--max-drop", 1), ("--min-ratio", 0.9)]
)
def test_a_target_that_can_not_be_is_refused(compress: Any, flags: tuple[object, ...]) -> None:
    done = compress(*flags)

    assert done.exit_code == 2
    assert str(flags[0]) in done.stderr


def test_a_file_that_is_not_there_is_named(compress: Any) -> None:
    done = compress(data="nothing.npz")

    assert done.exit_code == 2
    assert "nothing.npz' does not exist" in done.stderr.replace("\n", " ")
