"""The tables, and one frozen dataclass a row. Times are seconds since the epoch."""

import re
import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Literal, TypeVar

import orjson
from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    Connection,
    Double,
    Engine,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    RowMapping,
    String,
    Table,
    create_engine,
    event,
    func,
    select,
)
from sqlalchemy.exc import ArgumentError, OperationalError
from sqlalchemy.pool import ConnectionPoolEntry

from tieshare_service.errors import SettingsError
from tieshare_service.upgrade import upgrade

Status = Literal["queued", "running", "cancelling", "succeeded", "failed", "cancelled"]
EventType = Literal["status", "progress", "front", "published"]
Json = dict[str, Any]

ENDED: tuple[Status, ...] = ("succeeded", "failed", "cancelled")
HELD: tuple[Status, ...] = ("running", "cancelling")
BUSY_SECONDS = 30

_POSTGRESQL = re.compile(r"^postgres(ql)?(\+psycopg)?://")
_WANTED = "must be like postgresql://USER:PASSWORD@HOST:PORT/DATABASE"

metadata = MetaData()
_json = JSON(none_as_null=True)


def _numbered(name: str, *columns: Column[Any] | Index) -> Table:
    """``number`` rises with every insert and is never used again: lists and claims go by it."""
    number = Column("number", Integer, primary_key=True, autoincrement=True)
    key = Column("id", String, nullable=False, unique=True)
    return Table(name, metadata, number, key, *columns, sqlite_autoincrement=True)


def _upload_columns() -> list[Column[Any]]:
    return [
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


@dataclass(frozen=True)
class _Upload:
    id: str
    name: str
    sha256: str
    bytes: int
    card: Json
    created_at: float


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
    ``error`` {type, message}, ``result`` {report, artifacts, served}.
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


def open_database(where: Path | str) -> Engine:
    """The database in a file or at a URL, with the tables and columns made that were missing.

    On SQLite every transaction of ``engine.begin()`` holds the write lock from its first line, so
    that what it read still stands when it writes; ``reading(engine)`` holds none. On PostgreSQL a
    transaction locks the rows that it will change, and ``alone`` what has no row yet.
    SettingsError: a URL that can't be used, or a server that does not answer.
    """
    url = where if isinstance(where, str) and "://" in where else f"sqlite:///{where}"
    try:
        engine = create_engine(
            _POSTGRESQL.sub("postgresql+psycopg://", url),
            json_serializer=lambda value: orjson.dumps(value).decode("utf-8"),
            json_deserializer=orjson.loads,
            pool_pre_ping=not url.startswith("sqlite"),
        )
    except (ArgumentError, ImportError) as error:
        missing = isinstance(error, ImportError) and _POSTGRESQL.match(url)
        why = "its driver is not installed; pip install 'tieshare[postgresql]'"
        raise SettingsError(why if missing else _WANTED, where="database_url") from error
    if engine.dialect.name == "sqlite":
        if engine.url.database:
            Path(engine.url.database).parent.mkdir(parents=True, exist_ok=True)
        event.listen(engine, "connect", _prepare_sqlite)
        event.listen(engine, "begin", _begin_sqlite)
    try:
        with engine.begin() as connection:
            alone(connection, "tables")
            metadata.create_all(connection)
            upgrade(connection, jobs, versions)
    except OperationalError as error:
        if engine.dialect.name == "sqlite":
            raise
        why, *_ = str(error.orig).splitlines()
        raise SettingsError(why, where="database_url") from error
    return engine


@contextmanager
def reading(engine: Engine) -> Iterator[Connection]:
    """A transaction that only reads: one snapshot, and no one waits for it."""
    if engine.dialect.name == "sqlite":
        options: Json = {"tieshare_reads": True}
    else:
        options = {"isolation_level": "REPEATABLE READ", "postgresql_readonly": True}
    with engine.execution_options(**options).begin() as connection:
        yield connection


def alone(connection: Connection, what: str) -> None:
    """Until this transaction ends, no other goes on from here with the same ``what``.

    For what has no row yet that could be locked. On SQLite there is no other that writes.
    """
    if connection.dialect.name == "postgresql":
        connection.execute(select(func.pg_advisory_xact_lock(func.hashtext(what))))


def _prepare_sqlite(connection: sqlite3.Connection, _: ConnectionPoolEntry) -> None:
    # The driver's own BEGIN would come late and deferred: _begin_sqlite does it.
    connection.isolation_level = None
    connection.execute(f"PRAGMA busy_timeout={BUSY_SECONDS * 1000}")
    _enter_wal(connection)
    connection.execute("PRAGMA synchronous=FULL")
    connection.execute("PRAGMA foreign_keys=ON")


def _enter_wal(connection: sqlite3.Connection) -> None:
    # SQLite answers "locked" at once, whatever the timeout, while another process does the same.
    give_up_at = time.monotonic() + BUSY_SECONDS
    while True:
        try:
            connection.execute("PRAGMA journal_mode=WAL")
        except sqlite3.OperationalError:
            if time.monotonic() >= give_up_at:
                raise
            time.sleep(0.01)
        else:
            return


def _begin_sqlite(connection: Connection) -> None:
    reads = connection.get_execution_options().get("tieshare_reads", False)
    connection.exec_driver_sql("BEGIN" if reads else "BEGIN IMMEDIATE")
