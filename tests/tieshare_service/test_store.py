"""The same of a folder and of an object store."""

import errno
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from tieshare_service.errors import SettingsError
from tieshare_service.object_store import ObjectStore
from tieshare_service.store import FolderStore, Store

Put = Callable[[str, bytes], None]


@pytest.fixture(params=["folder", "objects"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    if request.param == "folder":
        return FolderStore(tmp_path / "store")
    return ObjectStore(request.getfixturevalue("bucket"))


@pytest.fixture
def put(store: Store, tmp_path: Path) -> Put:
    def made(key: str, data: bytes) -> None:
        source = tmp_path / "source"
        source.write_bytes(data)
        store.put(source, key)
        assert source.read_bytes() == data
        source.unlink()

    return made


def read(store: Store, key: str) -> bytes:
    file, size = store.open(key)
    with closing(file):
        found = file.read(size)
        assert file.read(1) == b""
    return found


def keys(store: Store, prefix: str) -> list[str]:
    return sorted(entry.key for entry in store.entries(prefix))


def test_what_was_put_is_read_whole_and_in_parts(store: Store, put: Put) -> None:
    data = bytes(range(256)) * 100
    put("models/a.onnx", data)
    assert read(store, "models/a.onnx") == data
    file, size = store.open("models/a.onnx")
    assert size == len(data)
    with closing(file):
        file.seek(256 * 50 + 3)
        assert file.read(4) == bytes([3, 4, 5, 6])
        assert file.read(3) == bytes([7, 8, 9])


def test_a_file_of_many_parts_is_whole(store: Store, put: Put, tmp_path: Path) -> None:
    data = bytes(range(251)) * 100_000
    put("datasets/large.npz", data)
    assert read(store, "datasets/large.npz") == data
    assert store.fetch("datasets/large.npz", tmp_path / "copies").read_bytes() == data


def test_a_second_file_takes_the_place_of_the_first(store: Store, put: Put) -> None:
    put("a", b"first")
    put("a", b"second one")
    assert read(store, "a") == b"second one"


def test_where_there_are_no_links_files_are_copied(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Path) -> None:
        raise PermissionError(errno.EPERM, "no links here")

    monkeypatch.setattr(Path, "hardlink_to", refuse)
    store, source = FolderStore(tmp_path / "store"), tmp_path / "source"
    source.write_bytes(b"data")
    store.put(source, "a/b")
    source.write_bytes(b"other")
    assert read(store, "a/b") == b"data"
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == ["source", "b"]


def test_a_copy_is_made_once(store: Store, put: Put, tmp_path: Path) -> None:
    put("jobs/1/x", b"data")
    first = store.fetch("jobs/1/x", tmp_path / "copies")
    assert first.is_absolute()
    assert first == store.fetch("jobs/1/x", tmp_path / "copies")
    assert first.read_bytes() == b"data"


def test_what_is_not_there_is_not_found(store: Store, tmp_path: Path) -> None:
    for ask in (store.open, lambda key: store.fetch(key, tmp_path / "copies").read_bytes()):
        with pytest.raises(FileNotFoundError):
            ask("models/none.onnx")
    store.delete("models/none.onnx")
    store.delete_under("jobs/none")
    assert keys(store, "jobs") == []


def test_keys_are_listed_and_deleted_under_their_prefix(store: Store, put: Put) -> None:
    before = time.time()
    for key in ("jobs/a/1/x", "jobs/a/2/y", "jobs/ab/1/x", "models/m.onnx"):
        put(key, b"data")
    assert keys(store, "jobs") == ["jobs/a/1/x", "jobs/a/2/y", "jobs/ab/1/x"]
    (entry,) = store.entries("models")
    assert (entry.key, entry.bytes) == ("models/m.onnx", 4)
    assert before - 2 < entry.changed_at < time.time() + 2
    store.delete("models/m.onnx")
    assert keys(store, "models") == []
    store.delete_under("jobs/a")
    assert keys(store, "jobs") == ["jobs/ab/1/x"]


def test_a_store_that_works_is_checked(store: Store) -> None:
    store.check()


def test_a_store_that_does_not_answer_is_an_error_of_files(
    bucket: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    assert bucket
    source = tmp_path / "source"
    source.write_bytes(b"data")
    store = ObjectStore("s3://no-such-bucket/prefix")
    for ask in (store.check, lambda: store.put(source, "a"), lambda: list(store.entries("a"))):
        with pytest.raises(OSError, match="NoSuchBucket"):
            ask()
    assert source.read_bytes() == b"data"


@pytest.mark.parametrize("url", ["nonsense", "s9://bucket", "s3://"])
def test_what_is_no_store_is_told(url: str) -> None:
    with pytest.raises(SettingsError, match="s3://BUCKET/PREFIX") as told:
        ObjectStore(url)
    assert told.value.where == "blobs"
