"""The tables, and one frozen dataclass a row. Times are seconds since the epoch."""

from dataclasses import dataclass, fields
from typing import Any, Literal, TypeVar

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    Double,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    RowMapping,
    String,
    Table,
)

Status = Literal["queued", "running", "cancelling", "succeeded", "failed", "cancelled"]
EventType = Literal["status", "progress", "front", "published"]
Json = dict[str, Any]

ENDED: tuple[Status, ...] = ("succeeded", "failed", "cancelled")
HELD: tuple[Status, ...] = ("running", "cancelling")

metadata = MetaData()
_json = JSON(none_as_null=True)


def _numbered(name: str, *columns: Column[Any] | Index) -> Table:
    """``number`` rises with every insert and is never used again: lists and claims go by it."""
    number = Column("number", Integer, primary_key=True, autoincrement=True)
    key = Column("id", String, nullable=False, unique=True)
    return Table(name, metadata, number, key, *columns, sqlite_autoincrement=True)


def _owner_columns() -> list[Column[Any]]:
    """Whose it is: "" is no tenant, None was made with no key."""
    return [
        Column("tenant", String, nullable=False, server_default=""),
        Column("key_id", String, index=True),
    ]


def _upload_columns() -> list[Column[Any]]:
    return [
        *_owner_columns(),
        Column("name", String, nullable=False),
        Column("sha256", String, nullable=False),
        Column("bytes", BigInteger, nullable=False),
        Column("card", _json, nullable=False),
        Column("created_at", Double, nullable=False),
    ]


models = _numbered("models", *_upload_columns())
datasets = _numbered("datasets", *_upload_columns())

jobs = _numbered(
    "jobs",
    *_owner_columns(),
    Column("name", String, nullable=False),
    # No foreign keys: an ended job outlives what it was made from.
    Column("model_id", String, nullable=False),
    Column("dataset_id", String, nullable=False),
    Column("recipe", _json, nullable=False),
    Column("status", String, nullable=False),
    Column("stage", String),
    Column("progress", _json),
    Column("metrics", _json, nullable=False),
    Column("front", _json),
    Column("attempt", Integer, nullable=False),
    Column("leases_lost", Integer, nullable=False),
    Column("worker", String),
    Column("lease_until", Double),
    Column("cancel_requested", Boolean, nullable=False),
    Column("error", _json),
    Column("result", _json),
    Column("idempotency_key", String, unique=True),
    Column("request_sha256", String),
    Column("created_at", Double, nullable=False),
    Column("started_at", Double),
    Column("ended_at", Double),
    Column("updated_at", Double, nullable=False),
    Index("jobs_by_status", "status", "number"),
)

events = Table(
    "events",
    metadata,
    Column("job_id", String, ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True),
    Column("seq", Integer, primary_key=True),
    Column("at", Double, nullable=False),
    Column("type", String, nullable=False),
    Column("data", _json, nullable=False),
)

artifacts = Table(
    "artifacts",
    metadata,
    Column("job_id", String, ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True),
    Column("name", String, primary_key=True),
    Column("sha256", String, nullable=False),
    Column("bytes", BigInteger, nullable=False),
)

versions = Table(
    "versions",
    metadata,
    Column("name", String, primary_key=True),
    Column("version", Integer, primary_key=True),
    Column("job_id", String, ForeignKey("jobs.id", ondelete="CASCADE"), index=True),
    Column("point", Integer),
    Column("file", String, nullable=False),
)

workers = Table(
    "workers",
    metadata,
    Column("name", String, primary_key=True),
    Column("started_at", Double, nullable=False),
    Column("beat_at", Double, nullable=False),
)

keys = _numbered(
    "keys",
    Column("role", String, nullable=False),
    Column("name", String, nullable=False),
    Column("sha256", String, nullable=False),
    Column("created_at", Double, nullable=False),
    Column("revoked_at", Double),
    Column("tenant", String, nullable=False, server_default=""),
    Column("max_bytes", BigInteger),
    Column("max_jobs", Integer),
    Column("max_requests", Integer),
)

changes = Table(
    "changes",
    metadata,
    Column("number", Integer, primary_key=True, autoincrement=True),
    Column("at", Double, nullable=False, index=True),
    # No foreign key: what was done stays known.
    Column("key_id", String),
    Column("what", String, nullable=False),
    Column("of", String, nullable=False),
    sqlite_autoincrement=True,
)


@dataclass(frozen=True)
class _Upload:
    id: str
    name: str
    sha256: str
    bytes: int
    card: Json
    created_at: float
    tenant: str = ""


@dataclass(frozen=True)
class ModelRecord(_Upload):
    """An uploaded ONNX file; ``card`` is what the gate read in it."""


@dataclass(frozen=True)
class DatasetRecord(_Upload):
    """An uploaded npz file; ``card`` is what the gate read in it."""


@dataclass(frozen=True)
class Job:
    """One job as it stands.

    ``attempt`` counts claims and fences writes: 0 before the first one. ``leases_lost`` counts
    the workers that died on it since it was queued. ``progress`` is {done, total, unit, eta_s},
    ``error`` {type, message}, ``result`` {report, artifacts, served}; ``tenant`` "" where it
    belongs to none.
    """

    id: str
    name: str
    model_id: str
    dataset_id: str
    recipe: Json
    status: Status
    stage: str | None
    progress: Json | None
    metrics: Json
    front: list[Json] | None
    attempt: int
    leases_lost: int
    worker: str | None
    lease_until: float | None
    cancel_requested: bool
    error: Json | None
    result: Json | None
    idempotency_key: str | None
    request_sha256: str | None
    created_at: float
    started_at: float | None
    ended_at: float | None
    updated_at: float
    tenant: str = ""


@dataclass(frozen=True)
class Event:
    """Something that happened to a job; ``seq`` is 1, 2, 3, ... with no gap."""

    job_id: str
    seq: int
    at: float
    type: EventType
    data: Json


@dataclass(frozen=True)
class Artifact:
    """One file of a finished job."""

    job_id: str
    name: str
    sha256: str
    bytes: int


Row = TypeVar("Row")


def from_row(kind: type[Row], row: RowMapping) -> Row:
    """The dataclass of a row, without the columns that it does not have."""
    return kind(**{item.name: row[item.name] for item in fields(kind)})  # type: ignore[arg-type]
