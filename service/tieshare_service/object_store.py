"""Files as objects of a store that many machines share: S3 and what speaks like it, GCS, Azure."""

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tieshare_service.errors import SettingsError
from tieshare_service.store import Entry, Opened

if TYPE_CHECKING:
    from obstore import ObjectMeta

_READ_BYTES = 8 << 20
_PAGE = 1000
_EXTRA = "obstore is not installed; pip install 'tieshare[objects]'"


class ObjectStore:
    """Objects under ``url``: s3://BUCKET/PREFIX, gs:// or az://, with keys from the environment.

    SettingsError: no such kind of store, or obstore is not installed.
    """

    def __init__(self, url: str) -> None:
        try:
            import obstore  # noqa: PLC0415 - an extra
            from obstore.store import from_url  # noqa: PLC0415
        except ImportError as error:
            raise SettingsError(_EXTRA, where="blobs") from error
        self._calls: Any = obstore
        try:
            self._objects: Any = from_url(url)
        except (ValueError, obstore.exceptions.BaseError) as error:
            why, *_ = str(error).splitlines()
            raise SettingsError(f"must be like s3://BUCKET/PREFIX: {why}", where="blobs") from error

    def put(self, source: Path, key: str) -> None:
        """In several parts where it is large; a store shows an object when all of it is there."""
        with self._meant():
            self._calls.put(self._objects, key, source)

    def open(self, key: str) -> tuple[Opened, int]:
        """Read in ranges."""
        with self._meant():
            reader = self._calls.open_reader(self._objects, key, buffer_size=_READ_BYTES)
        return _Reader(self, reader), reader.size

    def fetch(self, key: str, folder: Path) -> Path:
        """A copy, made once."""
        target = folder / key.replace("/", "_")
        if target.is_file():
            return target.absolute()
        folder.mkdir(parents=True, exist_ok=True)
        unfinished = target.with_name(f".{target.name}.{os.getpid()}")
        try:
            with self._meant(), unfinished.open("wb") as file:
                for chunk in self._calls.get(self._objects, key).stream(_READ_BYTES):
                    file.write(chunk)
            unfinished.rename(target)
        finally:
            unfinished.unlink(missing_ok=True)
        return target.absolute()

    def delete(self, key: str) -> None:
        """One object."""
        with suppress(FileNotFoundError), self._meant():
            self._calls.delete(self._objects, key)

    def delete_under(self, prefix: str) -> None:
        """Many at a time."""
        for entries in self._pages(prefix):
            with self._meant():
                self._calls.delete(self._objects, [entry["path"] for entry in entries])

    def entries(self, prefix: str) -> Iterator[Entry]:
        """As the store lists them."""
        for entries in self._pages(prefix):
            for entry in entries:
                yield Entry(entry["path"], entry["size"], entry["last_modified"].timestamp())

    def check(self) -> None:
        """Write a few bytes."""
        with self._meant():
            self._calls.put(self._objects, "check", str(time.time()).encode())

    def _pages(self, prefix: str) -> Iterator[list["ObjectMeta"]]:
        pages = iter(self._calls.list(self._objects, prefix, chunk_size=_PAGE))
        while True:
            with self._meant():
                page = next(pages, None)
            if page is None:
                return
            yield list(page)

    @contextmanager
    def _meant(self) -> Iterator[None]:
        """What a store says in its own words, as an error of files."""
        try:
            yield
        except self._calls.exceptions.NotFoundError as error:
            raise FileNotFoundError(str(error)) from error
        except self._calls.exceptions.BaseError as error:
            raise OSError(str(error)) from error


class _Reader:
    """An object, read in ranges."""

    def __init__(self, store: ObjectStore, reader: Any) -> None:
        self._store, self._reader = store, reader

    def seek(self, offset: int, /) -> int:
        return int(self._reader.seek(offset))

    def read(self, size: int, /) -> bytes:
        with self._store._meant():
            return bytes(self._reader.read(size))

    def close(self) -> None:
        self._reader.close()
