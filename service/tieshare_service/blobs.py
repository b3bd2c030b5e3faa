"""The files of the service: uploads on their way in, models, data sets, artifacts.

A file comes into the store only when all of its bytes are on the disk: it is written under ``tmp``,
synced, and put. ``tmp`` holds nothing that anyone was promised.

    BlobError
    ├── TooLarge           more bytes than the limit
    ├── Empty              no byte at all
    ├── DigestMismatch     not the bytes that the sender meant
    └── NoSuchBlob         no such file
"""

import errno
import hashlib
import os
import shutil
import tempfile
import time
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping
from contextlib import asynccontextmanager, closing, suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Literal

from anyio.to_thread import run_sync

from tieshare_service.durable import write_synced, write_whole
from tieshare_service.errors import ServiceError
from tieshare_service.records import Artifact
from tieshare_service.settings import Settings
from tieshare_service.store import FolderStore, Opened, Store, shared_store

Kind = Literal["models", "datasets"]

_SUFFIX: Mapping[Kind, str] = {"models": ".onnx", "datasets": ".npz"}
_UPLOAD, _ARTIFACT = "upload-", "artifact-"  # how names in tmp begin
_OLD_S = 3600.0
LEAST_FREE_BYTES = 16 << 20
WRITE_BYTES = 1 << 20  # a hop to a thread costs as much as writing some 50 KB


class BlobError(ServiceError):
    """The bytes of an upload, or a file that is not there."""

    type = "blob-invalid"


class TooLarge(BlobError):
    """A body has more bytes than the limit allows."""

    type = "body-too-large"

    def __init__(self, limit: int) -> None:
        super().__init__(f"the body has more than the {limit} bytes allowed", where=f"byte {limit}")


class Empty(BlobError):
    """A body has no byte."""

    type = "body-empty"


class DigestMismatch(BlobError):
    """The bytes that arrived are not those that the sender's digest names."""

    type = "body-digest-mismatch"


class NoSuchBlob(BlobError):
    """No file under this name."""

    type = "no-such-file"


@dataclass(frozen=True)
class Received:
    """A whole upload, synced to the disk, not yet under a name. ``sha256`` in hexadecimal."""

    path: Path
    sha256: str
    bytes: int


class Blobs:
    """Files of the data folder ``root``, or of a store that many machines share."""

    def __init__(self, root: Path, store: Store | None = None) -> None:
        self.store = store or FolderStore(root / "blobs")
        self._tmp = root / "tmp"

    @classmethod
    def of(cls, settings: Settings) -> "Blobs":
        """Where the settings have them. Raises SettingsError."""
        return cls(settings.data_dir, shared_store(settings))

    def clear_tmp(self) -> None:
        """Remove what a stopped process left half way: nothing was written to it for an hour."""
        for path in _old(self._tmp.glob("*")):
            path.unlink(missing_ok=True)

    def try_writing(self) -> None:
        """Raise OSError where no file can be written, or next to none."""
        path = self._new_file(_UPLOAD)
        path.unlink()
        if shutil.disk_usage(path.parent).free < LEAST_FREE_BYTES:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        self.store.check()

    @asynccontextmanager
    async def receive(self, chunks: AsyncIterator[bytes], limit: int) -> AsyncIterator[Received]:
        """Stream an upload to ``tmp``; at the end of the block it is gone unless it was kept.

        Raises TooLarge at the first byte over ``limit``.
        """
        path = await run_sync(self._new_file, _UPLOAD)
        try:
            yield await _fill(path, chunks, limit)
        finally:
            path.unlink(missing_ok=True)

    def keep(self, received: Received, kind: Kind, blob_id: str) -> None:
        """Give an upload its name, durably."""
        self.store.put(received.path, upload_key(kind, blob_id))

    def delete(self, kind: Kind, blob_id: str) -> None:
        """Remove the file; no error if it is not there."""
        self.store.delete(upload_key(kind, blob_id))

    def ids(self, kind: Kind, *, old: bool = False) -> list[str]:
        """The models or data sets that have a file, or have had one for an hour."""
        before = time.time() - _OLD_S
        return sorted(
            PurePosixPath(entry.key).stem
            for entry in self.store.entries(kind)
            if entry.key.endswith(_SUFFIX[kind]) and (entry.changed_at < before or not old)
        )

    def put_artifact(self, job_id: str, name: str, data: bytes) -> Artifact:
        """Store one result of a job."""
        artifact = Artifact(job_id, name, hashlib.sha256(data).hexdigest(), len(data))
        path = self._new_file(_ARTIFACT)
        try:
            write_synced(path, data)
            self.store.put(path, artifact_key(artifact))
        finally:
            path.unlink(missing_ok=True)
        return artifact

    def artifact(self, artifact: Artifact) -> bytes:
        """All of it. Raises NoSuchBlob."""
        file, size = self.open(artifact_key(artifact))
        with closing(file):
            return file.read(size)

    def open(self, key: str) -> tuple[Opened, int]:
        """A file and its size. Raises NoSuchBlob."""
        try:
            return self.store.open(key)
        except FileNotFoundError as error:
            raise NoSuchBlob("its file is gone", where=PurePosixPath(key).name) from error

    def delete_artifacts(self, job_id: str) -> None:
        """Remove all results of a job; no error if there are none."""
        self.store.delete_under(f"jobs/{job_id}")

    def _new_file(self, prefix: str) -> Path:
        self._tmp.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=self._tmp, prefix=prefix)
        os.close(handle)
        return Path(name)


def upload_key(kind: Kind, blob_id: str) -> str:
    """Where the file of this model or data set lies in the store."""
    return f"{kind}/{blob_id}{_SUFFIX[kind]}"


def artifact_key(artifact: Artifact) -> str:
    """Where an artifact lies: by its digest, so that an attempt that lost its job and does not know
    it yet can't replace a file of the one that won.
    """
    return f"jobs/{artifact.job_id}/{artifact.sha256[:16]}/{artifact.name}"


def _old(paths: Iterable[Path]) -> Iterator[Path]:
    """Those that are an hour old; one that goes meanwhile is none of them."""
    for path in paths:
        with suppress(FileNotFoundError):
            if path.stat().st_mtime < time.time() - _OLD_S:
                yield path


async def _fill(path: Path, chunks: AsyncIterator[bytes], limit: int) -> Received:
    digest = hashlib.sha256()
    size = 0
    with path.open("wb", buffering=0) as file:
        waiting = bytearray()

        def write() -> None:
            digest.update(waiting)
            write_whole(file, waiting)

        async for chunk in chunks:
            size += len(chunk)
            if size > limit:
                raise TooLarge(limit)
            waiting += chunk
            if len(waiting) >= WRITE_BYTES:
                await run_sync(write)
                waiting = bytearray()
        await run_sync(write)
        await run_sync(os.fsync, file.fileno())
    return Received(path, digest.hexdigest(), size)
