"""Served models of a store come into the folder that the endpoint looks into, and go with it."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tieshare_service.inference.folder import scan
from tieshare_service.inference.mirror import Mirror
from tieshare_service.object_store import ObjectStore
from tieshare_service.shelf import StoreShelf
from tieshare_service.store import Entry, FolderStore, Opened, Store


class Counted(FolderStore):
    """Counts what is read, and may be out of reach."""

    reads = 0
    broken = False

    def open(self, key: str) -> tuple[Opened, int]:
        self.reads += 1
        return super().open(key)

    def entries(self, prefix: str) -> Iterator[Entry]:
        if self.broken:
            raise OSError("no route to host")
        return super().entries(prefix)


@pytest.fixture
def store(tmp_path: Path) -> Counted:
    return Counted(tmp_path / "store")


@pytest.fixture
def shelf(store: Store, tmp_path: Path) -> StoreShelf:
    return StoreShelf(store, tmp_path / "tmp")


@pytest.fixture
def copies(tmp_path: Path) -> Path:
    return tmp_path / "copies"


@pytest.fixture
def mirror(store: Store, copies: Path) -> Mirror:
    return Mirror(store, copies, every_s=0)


def held(copies: Path) -> dict[tuple[str, int], bytes]:
    return {version: Path(found.path).read_bytes() for version, found in scan(copies).items()}


def test_a_copy_is_made_once_and_again_where_the_original_changed(
    store: Counted, shelf: StoreShelf, mirror: Mirror, copies: Path
) -> None:
    shelf.put("digits", 1, b"one")
    shelf.put("acme~digits", 2, b"two")
    for _ in range(3):
        mirror.follow()
    assert held(copies) == {("digits", 1): b"one", ("acme~digits", 2): b"two"}
    assert store.reads == 2
    assert (copies / "digits" / "config.pbtxt").is_file()
    shelf.put("digits", 1, b"another")
    mirror.follow()
    assert held(copies)["digits", 1] == b"another"
    assert store.reads == 3


def test_another_process_on_the_same_folder_copies_nothing_again(
    store: Counted, shelf: StoreShelf, mirror: Mirror, copies: Path
) -> None:
    shelf.put("digits", 1, b"one")
    mirror.follow()
    Mirror(store, copies).follow()
    assert store.reads == 1


def test_what_is_withdrawn_goes(shelf: StoreShelf, mirror: Mirror, copies: Path) -> None:
    shelf.put("digits", 1, b"one")
    shelf.put("digits", 2, b"two")
    mirror.follow()
    shelf.remove("digits", 1)
    shelf.remove("digits", 7)
    mirror.follow()
    assert held(copies) == {("digits", 2): b"two"}


def test_while_the_store_does_not_answer_what_is_here_stays(
    store: Counted, shelf: StoreShelf, mirror: Mirror, copies: Path
) -> None:
    shelf.put("digits", 1, b"one")
    mirror.follow()
    store.broken = True
    mirror.follow()
    assert held(copies) == {("digits", 1): b"one"}
    store.broken = False
    shelf.put("digits", 2, b"two")
    mirror.follow()
    assert len(held(copies)) == 2


def test_keys_that_are_no_versions_are_passed_over(
    store: Store, mirror: Mirror, copies: Path, tmp_path: Path
) -> None:
    for key in (
        "served/../1/model.onnx",
        "served/.hidden/1/model.onnx",
        "served/digits/0/model.onnx",
        "served/digits/one/model.onnx",
        "served/digits/1/other.onnx",
        "served/digits/1/2/model.onnx",
        "served/model.onnx",
    ):
        source = tmp_path / "source"
        source.write_bytes(b"onnx")
        store.put(source, key)
    mirror.follow()
    assert held(copies) == {}
    assert not (tmp_path / "1").exists()


def test_it_looks_again_when_it_is_time(store: Counted, shelf: StoreShelf, copies: Path) -> None:
    mirror = Mirror(store, copies, every_s=3600)
    mirror.follow()
    shelf.put("digits", 1, b"one")
    mirror.follow()
    assert held(copies) == {}


def test_out_of_an_object_store(bucket: str, copies: Path, tmp_path: Path) -> None:
    store = ObjectStore(bucket)
    shelf, mirror = StoreShelf(store, tmp_path / "tmp"), Mirror(store, copies, every_s=0)
    shelf.put("digits", 1, b"one")
    for _ in range(2):
        mirror.follow()
    assert held(copies) == {("digits", 1): b"one"}
    shelf.remove("digits", 1)
    mirror.follow()
    assert held(copies) == {}
