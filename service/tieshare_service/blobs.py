"""The files of the data folder: uploads on their way in, models, data sets, artifacts.

A name under ``blobs`` exists only when all of its bytes are on the disk: a file is written under
``tmp``, synced, and renamed. ``tmp`` holds nothing that anyone was promised.

    BlobError
    ├── TooLarge           more bytes than the limit
    ├── Empty              no byte at all
    ├── DigestMismatch     not the bytes that the sender meant
    └── NoSuchBlob         no such file
"""

import hashlib
import os
import shutil
import tempfile
import time
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from anyio.to_thread import run_sync

from tieshare_service.durable import sync, write_synced, write_whole
from tieshare_service.errors import ServiceError
from tieshare_service.records import Artifact

Kind = Literal["models", "datasets"]

_SUFFIX: Mapping[Kind, str] = {"models": ".onnx", "datasets": ".npz"}
_UPLOAD, _ARTIFACT = "upload-", "artifact-"  # how names in tmp begin
_OLD_S = 3600.0
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
    """Files under ``root``, the data folder."""

    def __init__(self, root: Path) -> None:
        self._blobs = root / "blobs"
        self._tmp = root / "tmp"

    def clear_tmp(self) -> None:
        """Remove what a stopped process left half way: nothing was written to it for an hour."""
        for path in _old(self._tmp.glob("*")):
            path.unlink(missing_ok=True)

    def try_writing(self) -> None:
        """Raise OSError where no file can be written."""
        self._new_file(_UPLOAD).unlink()

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
        self._rename(received.path, self.path(kind, blob_id))

    def path(self, kind: Kind, blob_id: str) -> Path:
        """Where the file of this model or data set lies."""
        return self._blobs / kind / f"{blob_id}{_SUFFIX[kind]}"

    def delete(self, kind: Kind, blob_id: str) -> None:
        """Remove the file; no error if it is not there."""
        self.path(kind, blob_id).unlink(missing_ok=True)

    def ids(self, kind: Kind, *, old: bool = False) -> list[str]:
        """The models or data sets that have a file, or have had one for an hour."""
        paths = (self._blobs / kind).glob(f"*{_SUFFIX[kind]}")
        return sorted(path.stem for path in (_old(paths) if old else paths))

    def put_artifact(self, job_id: str, name: str, data: bytes) -> Artifact:
        """Store one result of a job."""
        artifact = Artifact(job_id, name, hashlib.sha256(data).hexdigest(), len(data))
        target = self.artifact_path(artifact)
        path = self._new_file(_ARTIFACT)
        try:
            write_synced(path, data)
            self._rename(path, target)
        finally:
            path.unlink(missing_ok=True)
        return artifact

    def artifact_path(self, artifact: Artifact) -> Path:
        """Where an artifact lies: by its digest, so that an attempt that lost its job and does not
        know it yet can't replace a file of the one that won.
        """
        return self._blobs / "jobs" / artifact.job_id / artifact.sha256[:16] / artifact.name

    def delete_artifacts(self, job_id: str) -> None:
        """Remove all results of a job; no error if there are none."""
        with suppress(FileNotFoundError):
            shutil.rmtree(self._blobs / "jobs" / job_id)

    def _new_file(self, prefix: str) -> Path:
        self._tmp.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=self._tmp, prefix=prefix)
        os.close(handle)
        return Path(name)

    @staticmethod
    def _rename(source: Path, target: Path) -> None:
        missing = [folder for folder in target.parents if not folder.is_dir()]
        target.parent.mkdir(parents=True, exist_ok=True)
        source.replace(target)
        for folder in (target.parent, *(folder.parent for folder in missing)):
            sync(folder)


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
