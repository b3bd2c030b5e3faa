"""Versions come, take over, fail and go; something that answered goes on answering."""

from collections.abc import Callable
from pathlib import Path
from shutil import rmtree

import onnx
import pytest

from tieshare_service.inference.errors import ModelNotFound, ModelNotReady, NotLoaded
from tieshare_service.inference.model import Model, load
from tieshare_service.inference.repository import Repository

Publish = Callable[[str, int, onnx.ModelProto | bytes], Path]


@pytest.fixture
def repository(models_dir: Path) -> Repository:
    return Repository(models_dir, threads=1)


def _states(repository: Repository) -> list[tuple[str, int, str]]:
    return [(name, version, slot.state) for name, version, slot in repository.index()]


def test_nothing_is_ready_before_the_first_sync_and_an_empty_folder_is_fine(
    repository: Repository,
) -> None:
    assert not repository.ready
    repository.sync()
    assert repository.ready
    assert repository.index() == []


def test_the_highest_version_answers_for_the_name(
    repository: Repository, publish: Publish, digits: onnx.ModelProto
) -> None:
    for version in (2, 10, 9):
        publish("digits", version, digits)
    repository.sync()
    assert repository.get("digits").version == 10
    assert repository.get("digits", "2").version == 2
    assert repository.ready_versions("digits") == [2, 9, 10]


@pytest.mark.parametrize("version", ["3", "0", "-1", "x", "", "1.0", "²", "9" * 5000])
def test_an_unknown_version_is_not_found(
    repository: Repository, publish: Publish, digits: onnx.ModelProto, version: str
) -> None:
    publish("digits", 1, digits)
    repository.sync()
    with pytest.raises(ModelNotFound, match="model 'digits' has no version"):
        repository.get("digits", version)
    with pytest.raises(ModelNotFound, match="no model 'other'"):
        repository.get("other")


def test_the_old_version_answers_until_the_new_one_has_loaded(
    models_dir: Path, publish: Publish, digits: onnx.ModelProto
) -> None:
    seen: list[object] = []

    def watched(path: Path, name: str, version: int, threads: int) -> Model:
        if version == 2:
            seen.append(served.get("digits").version)
            seen.append(_states(served))
            with pytest.raises(ModelNotReady, match="model 'digits' version 2 is loading"):
                served.get("digits", "2")
        return load(path, name, version, threads)

    served = Repository(models_dir, 1, watched)
    publish("digits", 1, digits)
    served.sync()
    publish("digits", 2, digits)
    served.sync()
    assert seen == [1, [("digits", 1, "READY"), ("digits", 2, "LOADING")]]
    assert served.get("digits").version == 2


def test_a_version_that_fails_leaves_the_old_one_serving_and_says_why(
    repository: Repository, publish: Publish, digits: onnx.ModelProto
) -> None:
    publish("digits", 1, digits)
    publish("digits", 2, b"not onnx")
    repository.sync()
    assert repository.get("digits").version == 1
    assert repository.ready_versions("digits") == [1]
    assert _states(repository) == [("digits", 1, "READY"), ("digits", 2, "UNAVAILABLE")]
    with pytest.raises(ModelNotReady, match=r"version 2 failed: .*protobuf parsing failed"):
        repository.get("digits", "2")


def test_a_name_with_nothing_but_failures_is_not_ready(
    repository: Repository, publish: Publish
) -> None:
    publish("digits", 1, b"not onnx")
    repository.sync()
    assert repository.ready
    with pytest.raises(ModelNotReady, match="model 'digits' failed: "):
        repository.get("digits")


def test_a_failed_file_is_tried_again_when_it_changes_and_only_then(
    models_dir: Path, publish: Publish, digits: onnx.ModelProto
) -> None:
    loads: list[int] = []

    def counted(path: Path, name: str, version: int, threads: int) -> Model:
        loads.append(version)
        return load(path, name, version, threads)

    repository = Repository(models_dir, 1, counted)
    place = publish("digits", 1, b"not onnx")
    repository.sync()
    repository.sync()
    assert loads == [1]
    (place / "model.onnx").write_bytes(digits.SerializeToString())
    repository.sync()
    repository.sync()
    assert loads == [1, 1]
    assert repository.get("digits").version == 1


def test_a_file_replaced_by_a_bad_one_leaves_the_old_model_serving(
    repository: Repository, publish: Publish, digits: onnx.ModelProto
) -> None:
    place = publish("digits", 1, digits)
    repository.sync()
    before = repository.get("digits")
    (place / "model.onnx").write_bytes(b"not onnx")
    repository.sync()
    assert repository.get("digits") is before
    ((_, _, slot),) = repository.index()
    assert slot.state == "READY"
    assert "protobuf parsing failed" in slot.reason


def test_a_removed_version_is_forgotten_and_the_one_before_answers(
    repository: Repository, publish: Publish, digits: onnx.ModelProto
) -> None:
    publish("digits", 1, digits)
    second = publish("digits", 2, digits)
    repository.sync()
    rmtree(second)
    repository.sync()
    assert repository.get("digits").version == 1
    rmtree(second.parent)
    repository.sync()
    with pytest.raises(ModelNotFound):
        repository.get("digits")


def test_the_newest_versions_load_first(
    models_dir: Path, publish: Publish, digits: onnx.ModelProto
) -> None:
    order: list[tuple[str, int]] = []

    def noted(path: Path, name: str, version: int, threads: int) -> Model:
        order.append((name, version))
        return load(path, name, version, threads)

    for name, version in (("a", 1), ("a", 3), ("b", 2), ("b", 1)):
        publish(name, version, digits)
    Repository(models_dir, 1, noted).sync()
    assert order[:2] == [("a", 3), ("b", 2)]


def test_a_sync_that_is_stopped_goes_on_at_the_next_one(
    repository: Repository, publish: Publish, digits: onnx.ModelProto
) -> None:
    publish("digits", 1, digits)
    repository.sync(stopped=lambda: True)
    assert _states(repository) == [("digits", 1, "LOADING")]
    assert not repository.ready
    repository.sync()
    assert repository.get("digits").version == 1


def test_a_folder_that_cant_be_read_changes_nothing(
    models_dir: Path, publish: Publish, digits: onnx.ModelProto, monkeypatch: pytest.MonkeyPatch
) -> None:
    repository = Repository(models_dir, 1)
    publish("digits", 1, digits)
    repository.sync()

    def refuse(path: object) -> object:
        raise PermissionError("no")

    monkeypatch.setattr("os.scandir", refuse)
    with pytest.raises(PermissionError):
        repository.sync()
    assert repository.get("digits").version == 1


def test_an_unloaded_model_stays_so_until_it_is_loaded(
    repository: Repository, publish: Publish, digits: onnx.ModelProto
) -> None:
    publish("digits", 1, digits)
    publish("other", 1, digits)
    repository.sync()
    repository.unload("digits")
    publish("digits", 2, digits)
    repository.sync()
    assert _states(repository) == [
        ("digits", 1, "UNAVAILABLE"),
        ("digits", 2, "UNAVAILABLE"),
        ("other", 1, "READY"),
    ]
    assert {slot.reason for name, _, slot in repository.index() if name == "digits"} == {"unloaded"}
    with pytest.raises(ModelNotReady, match="model 'digits' is unloaded"):
        repository.get("digits")
    repository.load("digits")
    assert repository.get("digits").version == 2
    assert repository.ready_versions("digits") == [1, 2]


def test_loading_again_replaces_what_answers(
    repository: Repository, publish: Publish, digits: onnx.ModelProto
) -> None:
    publish("digits", 1, digits)
    repository.sync()
    before = repository.get("digits")
    repository.load("digits")
    assert repository.get("digits") is not before


def test_a_name_that_went_is_no_longer_unloaded(
    repository: Repository, publish: Publish, digits: onnx.ModelProto
) -> None:
    path = publish("digits", 1, digits)
    repository.sync()
    repository.unload("digits")
    rmtree(path.parent)
    repository.sync()
    publish("digits", 1, digits)
    repository.sync()
    assert repository.get("digits").version == 1


def test_what_can_be_loaded_or_unloaded_is_in_the_folder(
    repository: Repository, publish: Publish
) -> None:
    publish("broken", 1, b"not onnx")
    repository.sync()
    with pytest.raises(ModelNotFound):
        repository.load("other")
    with pytest.raises(ModelNotFound):
        repository.unload("other")
    with pytest.raises(NotLoaded, match="model 'broken' can't be loaded: "):
        repository.load("broken")
