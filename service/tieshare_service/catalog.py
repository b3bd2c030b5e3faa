"""Uploaded models and data sets: received, read by the gate, kept, listed, deleted."""

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, fields
from typing import Generic, TypeVar

from anyio.to_thread import run_sync
from sqlalchemy import Column, Engine, Table, delete, insert, select

from tieshare_service import records
from tieshare_service.blobs import Blobs, DigestMismatch, Empty, Kind, Received, upload_key
from tieshare_service.database import reading
from tieshare_service.errors import NoSuchDataset, NoSuchModel, NotFound, ServiceError
from tieshare_service.gate import Card, Gate
from tieshare_service.ids import Kind as Prefix
from tieshare_service.ids import new_id, same_id
from tieshare_service.pages import page
from tieshare_service.records import ENDED, DatasetRecord, ModelRecord, from_row
from tieshare_service.tenants import EVERYTHING, QuotaExceeded, Scope

Record = TypeVar("Record", bound=ModelRecord | DatasetRecord)


class InUse(ServiceError):
    """A job that has not ended needs it."""

    type = "in-use"

    def __init__(self, upload_id: str, job_id: str) -> None:
        super().__init__(f"job {job_id} needs it and has not ended", where=upload_id)
        self.job_id = job_id


@dataclass(frozen=True)
class Sort(Generic[Record]):
    """What differs between models and data sets. ``used`` is the column of jobs that names one."""

    kind: Kind
    prefix: Prefix
    table: Table
    record: type[Record]
    used: Column[str]
    missing: Callable[[str], NotFound]


MODELS = Sort("models", "mdl", records.models, ModelRecord, records.jobs.c.model_id, NoSuchModel)
DATASETS = Sort(
    "datasets", "dat", records.datasets, DatasetRecord, records.jobs.c.dataset_id, NoSuchDataset
)


@dataclass(frozen=True)
class NewUpload:
    """A body on its way in. With no name it is called by its id.

    ``limit`` in bytes; ``sha256``, in hexadecimal, is what the sender says it will be.
    """

    chunks: AsyncIterator[bytes]
    limit: int
    name: str | None = None
    sha256: str | None = None


class Catalog(Generic[Record]):
    """All models, or all data sets: a row and a file each. ``scope``: of which those are seen."""

    def __init__(
        self,
        sort: Sort[Record],
        engine: Engine,
        blobs: Blobs,
        gate: Gate,
        now: Callable[[], float],
        scope: Scope = EVERYTHING,
    ) -> None:
        self._sort = sort
        self._engine = engine
        self._blobs = blobs
        self._gate = gate
        self._now = now
        self._scope = scope

    def of(self, scope: Scope) -> "Catalog[Record]":
        """What this one sees of it."""
        made_of = self._sort, self._engine, self._blobs, self._gate, self._now
        return Catalog(*made_of, scope)

    async def add(self, new: NewUpload) -> Record:
        """Receive, check and keep an upload; once it returns, nothing of it can be lost.

        Raises QuotaExceeded, TooLarge, Empty, DigestMismatch, whatever the gate raises.
        """
        await run_sync(self.require_bytes, 1)
        async with self._blobs.receive(new.chunks, new.limit) as upload:
            return await self.take(upload, new.name, new.sha256)

    async def take(
        self, upload: Received, name: str | None, sha256: str | None, like: str | None = None
    ) -> Record:
        """Check what was received, and keep it, under an id that is ``like`` another one, if given.

        Raises QuotaExceeded, Empty, DigestMismatch, and the gate's.
        """
        if upload.bytes == 0:
            raise Empty("the body has no bytes; send the file itself", where="body")
        if sha256 not in (None, upload.sha256):
            raise DigestMismatch(f"the body has SHA-256 {upload.sha256}", where="body")
        card = await self._gate.read(self._sort.kind, upload.path)
        prefix = self._sort.prefix
        upload_id = new_id(prefix) if like is None else same_id(prefix, like)
        return await run_sync(self._keep, upload, upload_id, name, card)

    def taken(self, like: str) -> Record | None:
        """What was kept under the id that is like this one."""
        with suppress(NotFound):
            return self.get(same_id(self._sort.prefix, like))
        return None

    def require_bytes(self, more: int) -> None:
        """Raise QuotaExceeded where so many more bytes would be too many."""
        if self._scope.quotas.bytes is not None:
            with self._engine.begin() as connection:
                self._scope.require_bytes(connection, more)

    def get(self, upload_id: str) -> Record:
        """One by its id. Raises NoSuchModel, NoSuchDataset."""
        table = self._sort.table
        with reading(self._engine) as connection:
            query = select(table).where(table.c.id == upload_id, self._scope.sees(table))
            row = connection.execute(query).mappings().one_or_none()
        if row is None:
            raise self._sort.missing(upload_id)
        return from_row(self._sort.record, row)

    def list(self, page_size: int, page_token: str | None) -> tuple[list[Record], str | None]:
        """One page, newest first, and the token of the next. Raises BadPageToken."""
        table = self._sort.table
        columns = (table.c[item.name] for item in fields(self._sort.record))
        query = select(*columns).where(self._scope.sees(table))
        with reading(self._engine) as connection:
            rows, token = page(connection, query, table.c.number, page_size, page_token)
        return [from_row(self._sort.record, row) for row in rows], token

    def key(self, upload_id: str) -> str:
        """Where its file lies in the store."""
        return upload_key(self._sort.kind, upload_id)

    def delete(self, upload_id: str) -> None:
        """Forget it. Raises InUse, NoSuchModel, NoSuchDataset."""
        table, jobs = self._sort.table, records.jobs
        user = select(jobs.c.id).where(self._sort.used == upload_id, jobs.c.status.not_in(ENDED))
        with self._engine.begin() as connection:
            # Locked before the jobs are looked at: a submission holds the same row.
            row = select(table.c.id).where(table.c.id == upload_id, self._scope.sees(table))
            if connection.scalars(row.with_for_update()).one_or_none() is None:
                raise self._sort.missing(upload_id)
            job_id = connection.scalars(user.limit(1)).one_or_none()
            if job_id is not None:
                raise InUse(upload_id, job_id)
            connection.execute(delete(table).where(table.c.id == upload_id))
        self._blobs.delete(self._sort.kind, upload_id)

    def unused(self, before: float) -> Sequence[str]:
        """Those that came before this time and that no job names, ended or not."""
        table, named = self._sort.table, select(self._sort.used)
        old = select(table.c.id).where(table.c.created_at < before, table.c.id.not_in(named))
        with reading(self._engine) as connection:
            return connection.scalars(old).all()

    def sweep(self) -> None:
        """Remove old files without a row, which a stopped process left.

        Others may be those of an upload whose row comes now.
        """
        table = self._sort.table
        left = self._blobs.ids(self._sort.kind, old=True)
        with reading(self._engine) as connection:
            known = set(connection.scalars(select(table.c.id)))
        for upload_id in left:
            if upload_id not in known:
                self._blobs.delete(self._sort.kind, upload_id)

    def _keep(self, upload: Received, upload_id: str, name: str | None, card: Card) -> Record:
        record = self._sort.record(
            id=upload_id,
            name=name or upload_id,
            sha256=upload.sha256,
            bytes=upload.bytes,
            card=card,
            created_at=self._now(),
            tenant=self._scope.tenant,
        )
        # The file first: a row is never without one.
        self._blobs.keep(upload, self._sort.kind, upload_id)
        values = asdict(record) | {"key_id": self._scope.key_id}
        try:
            with self._engine.begin() as connection:
                self._scope.require_bytes(connection, record.bytes)
                connection.execute(insert(self._sort.table).values(values))
        except QuotaExceeded:
            self._blobs.delete(self._sort.kind, upload_id)
            raise
        return record
