"""Uploads that come in several requests: a broken connection costs no more than the rest.

    partial/ID/about.json    what it is to be, and what it became
    partial/ID/bytes         what has come of it; gone once it is whole

How far an upload is, is told only of bytes that are on the disk.

    PartialError
    ├── OffsetMismatch    the bytes do not go on where the upload ends
    ├── LengthMismatch    not as many bytes as were announced
    ├── UploadBusy        another request is writing to it
    └── UploadComplete    it is whole already
    NoSuchUpload
"""

import fcntl
import hashlib
import os
import shutil
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from io import FileIO
from pathlib import Path

import orjson
from anyio.to_thread import run_sync

from tieshare.errors import TieshareError
from tieshare_service.blobs import WRITE_BYTES, Kind, Received, TooLarge
from tieshare_service.catalog import Catalog
from tieshare_service.durable import sync, write_synced, write_whole
from tieshare_service.errors import NotFound, ServiceError
from tieshare_service.gate import GateBroken
from tieshare_service.ids import new_id
from tieshare_service.records import DatasetRecord, ModelRecord
from tieshare_service.tenants import EVERYTHING, Scope

_OLD_S = 86_400.0  # without a new byte


class PartialError(ServiceError):
    """A request does not suit the upload that it goes on with."""

    type = "upload-invalid"


class OffsetMismatch(PartialError):
    """The bytes do not go on where the upload ends. ``offset``: where that is."""

    type = "upload-offset-mismatch"

    def __init__(self, offset: int, given: int) -> None:
        super().__init__(f"the upload has {offset} bytes, not {given}", where="Upload-Offset")
        self.headers = {"Upload-Offset": str(offset)}


class LengthMismatch(PartialError):
    """Not as many bytes as were announced."""

    type = "upload-length-mismatch"

    def __init__(self, length: int, found: int) -> None:
        super().__init__(f"{length} bytes were announced, not {found}", where="Upload-Length")


class UploadBusy(PartialError):
    """Another request is writing to it."""

    type = "upload-busy"


class UploadComplete(PartialError):
    """It is whole already."""

    type = "upload-complete"


class NoSuchUpload(NotFound):
    """No upload has this id, or not any more."""

    type = "upload-not-found"

    def __init__(self, upload_id: str) -> None:
        super().__init__("no such upload, or not any more", where=upload_id)


@dataclass(frozen=True)
class Partial:
    """An upload on its way in.

    ``length`` and ``sha256``, in hexadecimal, are what the sender says it will be. ``made``: the id
    of the model or data set that it became, by then with the ``length`` that it has.
    """

    id: str
    kind: Kind
    name: str | None
    length: int | None
    sha256: str | None
    created_at: float
    made: str | None = None
    tenant: str = ""
    key_id: str | None = None


class Partials:
    """All of them, in the folder ``partial`` of ``root``.

    ``limit``: bytes of one upload; ``scope``: of which those are seen.
    """

    def __init__(
        self,
        root: Path,
        catalogs: Mapping[Kind, Catalog[ModelRecord] | Catalog[DatasetRecord]],
        limit: int,
        now: Callable[[], float],
        scope: Scope = EVERYTHING,
    ) -> None:
        self._root = root
        self._folder = root / "partial"
        self._catalogs = catalogs
        self.limit = limit
        self._now = now
        self._scope = scope

    def of(
        self,
        scope: Scope,
        catalogs: Mapping[Kind, Catalog[ModelRecord] | Catalog[DatasetRecord]],
    ) -> "Partials":
        """What this one sees of it; ``catalogs`` are its own."""
        return Partials(self._root, catalogs, self.limit, self._now, scope)

    def create(
        self, kind: Kind, name: str | None, length: int | None, sha256: str | None
    ) -> Partial:
        """An upload without a byte. Raises QuotaExceeded, TooLarge where it says it will be."""
        if length is not None and length > self.limit:
            raise TooLarge(self.limit)
        self._require_bytes(kind, max(1, length or 0))
        about = kind, name, length, sha256, self._now(), None
        partial = Partial(new_id("upl"), *about, self._scope.tenant, self._scope.key_id)
        folder = self._folder / partial.id
        folder.mkdir(parents=True)
        self._bytes(partial).touch()
        self._write(partial)
        sync(self._folder)
        return partial

    def get(self, upload_id: str) -> tuple[Partial, int]:
        """One by its id, and how many bytes of it are on the disk. Raises NoSuchUpload."""
        partial = self._about(upload_id)
        if partial.made is not None:
            return partial, partial.length or 0
        try:
            sync(self._bytes(partial))
            return partial, self._bytes(partial).stat().st_size
        except FileNotFoundError:
            raise NoSuchUpload(upload_id) from None

    def delete(self, upload_id: str) -> None:
        """Forget it. Raises NoSuchUpload. What it became stays."""
        self._about(upload_id)
        try:
            shutil.rmtree(self._folder / upload_id)
        except FileNotFoundError:
            raise NoSuchUpload(upload_id) from None

    def clear(self) -> None:
        """Forget those to which nothing came for a day."""
        for folder in self._folder.glob("*"):
            with suppress(FileNotFoundError):
                newest = max(path.stat().st_mtime for path in (folder, *folder.iterdir()))
                if newest < time.time() - _OLD_S:
                    shutil.rmtree(folder)

    async def append(
        self, upload_id: str, offset: int, chunks: AsyncIterator[bytes], *, last: bool
    ) -> tuple[Partial, int]:
        """Go on with it from ``offset``; with the ``last`` bytes it becomes what it is to be.

        All that comes before the connection breaks is kept. Where these are too many bytes it is
        as long as before; where they make a file that is refused it is gone.
        Raises NoSuchUpload, PartialError, QuotaExceeded, TooLarge, and what ``Catalog.take`` does.
        """
        partial, _ = await run_sync(self.get, upload_id)
        if partial.made is not None:
            raise UploadComplete(f"it is whole already: {partial.made}", where=upload_id)
        with await run_sync(self._opened, partial) as file:
            size = await run_sync(file.seek, 0, os.SEEK_END)
            # Before this was noted the process ended, or the database did not answer.
            taken = await run_sync(self._catalogs[partial.kind].taken, partial.id)
            if taken is not None:
                await run_sync(self._note, partial, taken)
                raise UploadComplete(f"it is whole already: {taken.id}", where=upload_id)
            if size != offset:
                raise OffsetMismatch(size, offset)
            size = await self._extend(partial, file, size, chunks)
            if last:
                partial = await self._finish(partial, size)
        return partial, size

    def _opened(self, partial: Partial) -> FileIO:
        """To be written to by this request alone."""
        try:
            file = self._bytes(partial).open("r+b", buffering=0)
        except FileNotFoundError:
            raise NoSuchUpload(partial.id) from None
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.close()
            raise UploadBusy("another request is writing to it", where=partial.id) from None
        return file

    async def _extend(
        self, partial: Partial, file: FileIO, start: int, chunks: AsyncIterator[bytes]
    ) -> int:
        """How long the upload is now."""
        size, waiting = start, bytearray()
        most = self.limit if partial.length is None else partial.length

        def write() -> None:
            nonlocal waiting
            coming, waiting = waiting, bytearray()
            self._require_bytes(partial.kind, len(coming))
            write_whole(file, coming)

        def settle() -> None:
            write()
            os.fsync(file.fileno())

        try:
            async for chunk in chunks:
                size += len(chunk)
                if size > most:
                    waiting = bytearray()
                    await run_sync(file.truncate, start)
                    raise TooLarge(most) if partial.length is None else LengthMismatch(most, size)
                waiting += chunk
                if len(waiting) >= WRITE_BYTES:
                    await run_sync(write)
        except BaseException:
            settle()  # here: who is cancelled can't wait for a thread
            raise
        await run_sync(settle)
        return size

    async def _finish(self, partial: Partial, size: int) -> Partial:
        if partial.length not in (None, size):
            raise LengthMismatch(partial.length, size)
        digest = await run_sync(_digest, self._bytes(partial))
        received = Received(self._bytes(partial), digest, size)
        try:
            catalog = self._catalogs[partial.kind]
            record = await catalog.take(received, partial.name, partial.sha256, partial.id)
        except GateBroken:
            raise
        except (ServiceError, TieshareError):
            await run_sync(shutil.rmtree, self._folder / partial.id)
            raise
        return await run_sync(self._note, partial, record)

    def _note(self, partial: Partial, record: ModelRecord | DatasetRecord) -> Partial:
        """What it became; its bytes are there by now."""
        whole = replace(partial, length=record.bytes, made=record.id)
        self._write(whole)
        self._bytes(partial).unlink(missing_ok=True)
        return whole

    def _require_bytes(self, kind: Kind, more: int) -> None:
        """Raise QuotaExceeded where so many more than those on the disk would be too many."""
        if self._scope.quotas.bytes is not None and more:
            self._catalogs[kind].require_bytes(more + sum(self._unfinished()))

    def _unfinished(self) -> Iterator[int]:
        """Bytes of those that are the key's."""
        for folder in self._folder.glob("*"):
            with suppress(NoSuchUpload, FileNotFoundError):
                partial = self._about(folder.name)
                if partial.key_id == self._scope.key_id and partial.made is None:
                    yield self._bytes(partial).stat().st_size

    def _about(self, upload_id: str) -> Partial:
        """One that is seen. Raises NoSuchUpload."""
        try:
            about = (self._folder / upload_id / "about.json").read_bytes()
        except FileNotFoundError:
            raise NoSuchUpload(upload_id) from None
        partial = Partial(**orjson.loads(about))
        if not self._scope.whole and partial.tenant != self._scope.tenant:
            raise NoSuchUpload(upload_id)
        return partial

    def _bytes(self, partial: Partial) -> Path:
        return self._folder / partial.id / "bytes"

    def _write(self, partial: Partial) -> None:
        folder = self._folder / partial.id
        write_synced(folder / "about.new", orjson.dumps(asdict(partial)))
        (folder / "about.new").rename(folder / "about.json")
        sync(folder)


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
