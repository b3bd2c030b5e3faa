"""Uploaded files: models and data sets have the same verbs."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Generic, TypeVar

from tieshare_service.client.downloads import download
from tieshare_service.client.files import Dataset, Model
from tieshare_service.client.records import Json
from tieshare_service.client.resumable import LARGE, Kind, send
from tieshare_service.client.transport import Call, Transport
from tieshare_service.client.uploads import OnBytes, Upload, ignore

T = TypeVar("T", bound=Model | Dataset)


class Stored(Generic[T]):
    """One kind of uploaded file."""

    def __init__(self, transport: Transport, kind: Kind, reader: Callable[[Json], T]) -> None:
        self._transport = transport
        self._kind: Kind = kind
        self._path = (kind,)
        self._reader = reader

    def create(
        self, source: str | Path | bytes, name: str | None = None, progress: OnBytes = ignore
    ) -> T:
        """Upload a file, by its path, or bytes.

        Where ``name`` is left out it is the file's own without its ending; bytes are called by
        their id. A large file goes on where it was if the connection breaks. ``progress`` is
        called with (bytes sent, bytes in all). Raises Invalid where the service refuses what the
        file holds, TooLarge, DigestMismatch, and OSError where the file can't be read.
        """
        upload = Upload(source, progress)
        if upload.size < LARGE:
            stored = self._transport.read(upload.call(self._path, name), self._reader)
        else:
            stored = self.get(send(self._transport, self._kind, upload, name))
        upload.check(stored.sha256)
        return stored

    def list(self, page_size: int = 100) -> Iterator[T]:
        """All of them, newest first, fetched ``page_size`` at a time."""
        return self._transport.every(self._path, {"page_size": page_size}, self._reader)

    def get(self, file_id: str) -> T:
        """One of them; raises NotFound."""
        return self._transport.read(
            Call("GET", (*self._path, file_id), replayable=True), self._reader
        )

    def delete(self, file_id: str) -> None:
        """Delete it; raises NotFound, and Conflict while a job that goes on needs it."""
        self._transport.send(Call("DELETE", (*self._path, file_id), replayable=True))

    def download(self, file_id: str, to: str | Path, progress: OnBytes = ignore) -> Path:
        """Write the file as it was uploaded to the path ``to``; whole or not at all."""
        return download(self._transport, (*self._path, file_id, "content"), to, progress)
