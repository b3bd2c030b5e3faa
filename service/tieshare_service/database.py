"""How the database is opened, on SQLite or PostgreSQL, and what a transaction keeps from others."""

import re
import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import orjson
from sqlalchemy import Connection, Engine, create_engine, event, func, select
from sqlalchemy.exc import ArgumentError, OperationalError
from sqlalchemy.pool import ConnectionPoolEntry

from tieshare_service.errors import SettingsError
from tieshare_service.migrations import migrate
from tieshare_service.records import metadata

BUSY_SECONDS = 30

_POSTGRESQL = re.compile(r"^postgres(ql)?(\+psycopg)?://")
_WANTED = "must be like postgresql://USER:PASSWORD@HOST:PORT/DATABASE"


def open_database(where: Path | str) -> Engine:
    """The database in a file or at a URL, with the tables and columns made that were missing.

    On SQLite every transaction of ``engine.begin()`` holds the write lock from its first line, so
    that what it read still stands when it writes; ``reading(engine)`` holds none. On PostgreSQL a
    transaction locks the rows that it will change, and ``alone`` what has no row yet.
    SettingsError: a URL that can't be used, a server that does not answer, or a database that a
    later version has made.
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
        _make_tables(engine)
    except BaseException:
        engine.dispose()
        raise
    return engine


def _make_tables(engine: Engine) -> None:
    try:
        with engine.begin() as connection:
            alone(connection, "tables")
            migrate(connection, metadata)
    except OperationalError as error:
        if engine.dialect.name == "sqlite":
            raise
        why, *_ = str(error.orig).splitlines()
        raise SettingsError(why, where="database_url") from error


@contextmanager
def reading(engine: Engine) -> Iterator[Connection]:
    """A transaction that only reads: one snapshot, and no one waits for it."""
    if engine.dialect.name == "sqlite":
        options: dict[str, Any] = {"tieshare_reads": True}
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
