import asyncio
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper

from tieshare.errors import BadArray, ExternalData, NotNpz, NotOnnx, UnsupportedOperator
from tieshare_service.blobs import Kind
from tieshare_service.errors import ServiceError
from tieshare_service.gate import (
    Card,
    DatasetTooCostly,
    Gate,
    GateBroken,
    ModelTooCostly,
    ModelUnreadable,
)

ROOMY = 4 << 30

Pack = Callable[[dict[str, Any]], bytes]


@pytest.fixture
def read(tmp_path: Path) -> Callable[..., Card]:
    def read(kind: Kind, content: bytes, memory: int = ROOMY, seconds: float = 30) -> Card:
        path = tmp_path / "upload"
        path.write_bytes(content)
        return asyncio.run(Gate(memory, seconds).read(kind, path))

    return read


def test_a_model_comes_back_as_its_card(read: Callable[..., Card], model_bytes: bytes) -> None:
    card = read("models", model_bytes)
    assert card["parameters"] == 51
    assert card["inputs"] == [{"name": "x", "dtype": "float32", "shape": ["batch", 4]}]
    assert [(layer["rows"], layer["columns"]) for layer in card["layers"]] == [(4, 6), (6, 3)]


def test_a_data_set_comes_back_as_its_card(read: Callable[..., Card], dataset_bytes: bytes) -> None:
    card = read("datasets", dataset_bytes)
    assert card["samples"] == 60
    assert card["arrays"] == [
        {"name": "x", "dtype": "float32", "shape": [60, 4]},
        {"name": "y", "dtype": "int64", "shape": [60]},
    ]


def test_what_the_readers_refuse_is_raised_as_they_raised_it(
    read: Callable[..., Card], model_bytes: bytes, pack: Pack
) -> None:
    with pytest.raises(NotOnnx):
        read("models", model_bytes[: len(model_bytes) // 2])
    with pytest.raises(NotNpz):
        read("datasets", b"PK\x03\x04 and no more")
    with pytest.raises(BadArray) as caught:
        read("datasets", pack({"x": np.array([{}, []], dtype=object)}))
    assert caught.value.where == "x"


def test_an_operator_that_cannot_be_trained_is_named_through_the_pipe(
    read: Callable[..., Card], model_bytes: bytes
) -> None:
    model = onnx.load_model_from_string(model_bytes)
    model.graph.node[1].CopyFrom(helper.make_node("Bernoulli", ["hidden"], ["active"], name="step"))
    with pytest.raises(
        UnsupportedOperator, match="'step': operator Bernoulli at opset 20"
    ) as caught:
        read("models", model.SerializeToString())
    assert caught.value.where == "step"


def test_weights_in_another_file_are_not_followed(
    read: Callable[..., Card], model_bytes: bytes, tmp_path: Path
) -> None:
    (tmp_path / "secret").write_bytes(bytes(4 * 6 * 4))
    for location in ("secret", "../secret", str(tmp_path / "secret")):
        model = onnx.load_model_from_string(model_bytes)
        tensor = model.graph.initializer[0]
        tensor.ClearField("raw_data")
        tensor.data_location = onnx.TensorProto.EXTERNAL
        tensor.external_data.add(key="location", value=location)
        with pytest.raises(ExternalData):
            read("models", model.SerializeToString())


def test_a_file_that_takes_more_memory_than_the_limit_is_refused_as_too_costly(
    read: Callable[..., Card], pack: Pack
) -> None:
    million = np.zeros((1_000_000, 40), dtype=np.float32)  # 160 MB
    content = pack({"x": million, "y": np.zeros(1_000_000, dtype=np.int64)})
    with pytest.raises(DatasetTooCostly, match="memory") as caught:
        read("datasets", content, memory=200 << 20)
    assert caught.value.type == "dataset-too-costly"


def test_a_file_that_takes_longer_than_the_limit_is_killed(
    read: Callable[..., Card], model_bytes: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tieshare_service.gate._START_S", 0.0)
    with pytest.raises(ModelTooCostly, match="time ran out"):
        read("models", model_bytes, seconds=0.01)


@pytest.mark.parametrize(
    ("end", "error"),
    [
        ("exit 1", GateBroken),
        ("exit 3", ModelUnreadable),
        ("kill -SEGV $$", ModelTooCostly),
        ("kill -XCPU $$", ModelTooCostly),
        ('echo \'{"costly": "memory"}\'', ModelTooCostly),
    ],
)
def test_how_the_child_ends_is_told_apart(
    read: Callable[..., Card],
    model_bytes: bytes,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    end: str,
    error: type[ServiceError],
) -> None:
    stub = tmp_path / "python"
    stub.write_text(f"#!/bin/sh\nread -r _\n{end}\n")
    stub.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(stub))
    with pytest.raises(error):
        read("models", model_bytes)


def test_a_system_that_cannot_confine_the_child_is_told_of_once(
    read: Callable[..., Card],
    model_bytes: bytes,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    stub = tmp_path / "python"
    stub.write_text('#!/bin/sh\nread -r _\necho \'{"card": {}, "missing": ["seccomp"]}\'\n')
    stub.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(stub))
    assert read("models", model_bytes) == {}
    assert "without seccomp" in caplog.text


def test_the_child_reads_the_upload_and_what_is_installed_and_no_more(tmp_path: Path) -> None:
    upload, other = tmp_path / "upload", tmp_path / "other"
    for path in (upload, other):
        path.write_text("here")
    code = (
        "import tieshare_service.gate_child as child\n"
        "child._READERS['models'] = lambda: lambda path: print(path.read_text()) or"
        " print(path.with_name('other').read_text())\n"
        "child.main()"
    )
    request = {"kind": "models", "path": str(upload), "memory_bytes": ROOMY, "seconds": 30}
    done = subprocess.run(
        [sys.executable, "-c", code],
        input=json.dumps(request),
        capture_output=True,
        text=True,
        check=False,
    )
    if "Landlock" in done.stdout:
        pytest.skip("this system has no Landlock")
    assert done.stdout.split() == ["here"]
    assert "PermissionError" in done.stderr


def test_many_files_are_read_two_at_a_time(model_bytes: bytes, tmp_path: Path) -> None:
    path = tmp_path / "upload"
    path.write_bytes(model_bytes)

    async def run() -> list[Card]:
        gate = Gate(ROOMY, 30)
        return list(await asyncio.gather(*(gate.read("models", path) for _ in range(4))))

    assert [card["parameters"] for card in asyncio.run(run())] == [51] * 4


def test_the_child_imports_no_trainer() -> None:
    code = (
        "import sys, tieshare_service.gate_child as child\n"
        "child._model_reader(), child._dataset_reader()\n"
        "print({'torch', 'scipy', 'sklearn', 'fastapi', 'sqlalchemy'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
