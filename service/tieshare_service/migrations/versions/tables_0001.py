"""The tables as they were when alembic came, whatever an earlier state of 0.1.0 had of them."""

from typing import Any

import sqlalchemy as sa
from alembic import op
from sqlalchemy import Column, Connection, MetaData, Table

revision, down_revision = "0001", None

_metadata = MetaData()


def _text(name: str, *, needed: bool = True, unique: bool = False) -> Column[str]:
    return Column(name, sa.String, nullable=not needed, unique=unique)


def _numbered(name: str, *columns: Column[Any]) -> None:
    number = Column("number", sa.Integer, primary_key=True, autoincrement=True)
    Table(name, _metadata, number, *columns, sqlite_autoincrement=True)


def _job_id(*, key: bool) -> Column[str]:
    job = sa.ForeignKey("jobs.id", ondelete="CASCADE")
    return Column("job_id", sa.String, job, primary_key=key, index=not key)


def _owner() -> list[Column[Any]]:
    tenant = Column("tenant", sa.String, nullable=False, server_default="")
    return [tenant, Column("key_id", sa.String, index=True)]


def _upload() -> list[Column[Any]]:
    return [
        _text("id", unique=True),
        *_owner(),
        _text("name"),
        _text("sha256"),
        Column("bytes", sa.BigInteger, nullable=False),
        Column("card", sa.JSON, nullable=False),
        Column("created_at", sa.Double, nullable=False),
    ]


_numbered("models", *_upload())
_numbered("datasets", *_upload())
_numbered(
    "jobs",
    _text("id", unique=True),
    *_owner(),
    *(_text(name) for name in ("name", "model_id", "dataset_id")),
    Column("recipe", sa.JSON, nullable=False),
    _text("status"),
    _text("stage", needed=False),
    Column("progress", sa.JSON),
    Column("metrics", sa.JSON, nullable=False),
    Column("front", sa.JSON),
    *(Column(name, sa.Integer, nullable=False) for name in ("attempt", "leases_lost")),
    _text("worker", needed=False),
    Column("lease_until", sa.Double),
    Column("cancel_requested", sa.Boolean, nullable=False),
    *(Column(name, sa.JSON) for name in ("error", "result")),
    _text("idempotency_key", needed=False, unique=True),
    _text("request_sha256", needed=False),
    Column("created_at", sa.Double, nullable=False),
    *(Column(name, sa.Double) for name in ("started_at", "ended_at")),
    Column("updated_at", sa.Double, nullable=False),
)
sa.Index("jobs_by_status", *(_metadata.tables["jobs"].c[it] for it in ("status", "number")))
Table(
    "events",
    _metadata,
    _job_id(key=True),
    Column("seq", sa.Integer, primary_key=True),
    Column("at", sa.Double, nullable=False),
    _text("type"),
    Column("data", sa.JSON, nullable=False),
)
Table(
    "artifacts",
    _metadata,
    _job_id(key=True),
    Column("name", sa.String, primary_key=True),
    _text("sha256"),
    Column("bytes", sa.BigInteger, nullable=False),
)
Table(
    "versions",
    _metadata,
    Column("name", sa.String, primary_key=True),
    Column("version", sa.Integer, primary_key=True),
    _job_id(key=False),
    Column("point", sa.Integer),
    _text("file"),
)
Table(
    "workers",
    _metadata,
    Column("name", sa.String, primary_key=True),
    *(Column(name, sa.Double, nullable=False) for name in ("started_at", "beat_at")),
)
_numbered(
    "keys",
    _text("id", unique=True),
    *(_text(name) for name in ("role", "name", "sha256")),
    Column("created_at", sa.Double, nullable=False),
    Column("revoked_at", sa.Double),
    Column("tenant", sa.String, nullable=False, server_default=""),
    Column("max_bytes", sa.BigInteger),
    *(Column(name, sa.Integer) for name in ("max_jobs", "max_requests")),
)
_numbered(
    "changes",
    Column("at", sa.Double, nullable=False, index=True),
    _text("key_id", needed=False),
    _text("what"),
    _text("of"),
)


def upgrade() -> None:
    """Make what is missing: tables, columns, indexes; let a job have several versions."""
    connection = op.get_bind()
    _metadata.create_all(connection)
    versions = _metadata.tables["versions"]
    if "file" in _lacking(connection, versions):
        # SQLite takes no constraint from a table; nothing refers to this one, so it is made anew.
        query = sa.text("SELECT name, version, job_id FROM versions")
        rows = [{**row, "file": "shared"} for row in connection.execute(query).mappings()]
        versions.drop(connection)
        versions.create(connection)
        op.bulk_insert(versions, rows)
    for table in _metadata.sorted_tables:
        new = _lacking(connection, table)
        for name in new:
            column = table.c[name]
            default = column.server_default
            bare = Column(name, column.type, nullable=column.nullable, server_default=default)
            op.add_column(table.name, bare)
        for index in table.indexes:
            if any(column.name in new for column in index.columns):
                index.create(connection)


def _lacking(connection: Connection, table: Table) -> list[str]:
    known = {found["name"] for found in sa.inspect(connection).get_columns(table.name)}
    return [column.name for column in table.columns if column.name not in known]
