"""Where files lie for good: in a folder of this machine, or in an object store that many share.

A key is a path such as ``models/mdl_x.onnx``. A file is there whole, with all of its bytes kept, or
it is not there. What does not work raises OSError, in either.
"""

import os
import shutil
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from tieshare_service.durable import sync
from tieshare_service.settings import Settings


class Opened(Protocol):
    """A file to read from."""

    def seek(self, offset: int, /) -> int:
        """Go on reading there."""

    def read(self, size: int, /) -> bytes:
        """At most so many bytes; none at the end."""

    def close(self) -> None:
        """Read no more."""


@dataclass(frozen=True)
class Entry:
    """A file that is there. ``changed_at``: seconds since the epoch."""

    key: str
    bytes: int
    changed_at: float


class Store(Protocol):
    """Files by their keys."""

    def put(self, source: Path, key: str) -> None:
        """Keep a copy of a file of this machine, whose bytes are on the disk."""

    def open(self, key: str) -> tuple[Opened, int]:
        """A file and its size in bytes. Raises FileNotFoundError."""

    def fetch(self, key: str, folder: Path) -> Path:
        """The file on this machine, to be read alone: in ``folder`` where it was not before.

        Raises FileNotFoundError.
        """

    def delete(self, key: str) -> None:
        """Forget a file; no error if it is not there."""

    def delete_under(self, prefix: str) -> None:
        """Forget all whose keys begin with ``prefix/``."""

    def entries(self, prefix: str) -> Iterator[Entry]:
        """All whose keys begin with ``prefix/``."""

    def check(self) -> None:
        """Raise OSError where nothing can be kept."""


class FolderStore:
    """Files under ``root``, which is on the same disk as what is put there."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def path(self, key: str) -> Path:
        """Where it lies."""
        return self.root / key

    def put(self, source: Path, key: str) -> None:
        """Link it; copy it where there are no links, or another file is in its place."""
        target = self.path(key)
        missing = [folder for folder in target.parents if not folder.is_dir()]
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            target.hardlink_to(source)
        except OSError:
            unfinished = source.with_name(f"{source.name}.copy")
            shutil.copyfile(source, unfinished)
            sync(unfinished)
            unfinished.replace(target)
        for folder in (target.parent, *(folder.parent for folder in missing)):
            sync(folder)

    def open(self, key: str) -> tuple[Opened, int]:
        """As it lies there."""
        file = self.path(key).open("rb")
        return file, os.fstat(file.fileno()).st_size

    def fetch(self, key: str, folder: Path) -> Path:
        """It is on this machine."""
        del folder
        return self.path(key).absolute()

    def delete(self, key: str) -> None:
        """Unlink it."""
        self.path(key).unlink(missing_ok=True)

    def delete_under(self, prefix: str) -> None:
        """Remove the folder."""
        with suppress(FileNotFoundError):
            shutil.rmtree(self.path(prefix))

    def entries(self, prefix: str) -> Iterator[Entry]:
        """Those in the folder; one that goes meanwhile is none of them."""
        for path in self.path(prefix).rglob("*"):
            with suppress(FileNotFoundError):
                if path.is_file():
                    found = path.stat()
                    key = path.relative_to(self.root).as_posix()
                    yield Entry(key, found.st_size, found.st_mtime)

    def check(self) -> None:
        """That it can be written to shows where files come from."""


def shared_store(settings: Settings) -> Store | None:
    """That of all machines; None where there is the data folder alone. Raises SettingsError."""
    if not settings.blobs:
        return None
    from tieshare_service.object_store import ObjectStore  # noqa: PLC0415 - an extra

    return ObjectStore(settings.blobs)
