"""A database of an earlier version opens, with all that is in it, and does what a new one does."""

import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Engine, func, select

from tieshare_service import migrations
from tieshare_service.database import open_database, reading
from tieshare_service.errors import SettingsError
from tieshare_service.migrations import HEAD, migrate
from tieshare_service.publish import Point, Publisher, Served
from tieshare_service.queue import Queue
from tieshare_service.records import events, metadata, versions
from tieshare_service.shelf import FolderShelf

OLD = """
CREATE TABLE jobs (
    number INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT, id VARCHAR NOT NULL, name VARCHAR NOT NULL,
    model_id VARCHAR NOT NULL, dataset_id VARCHAR NOT NULL, recipe JSON NOT NULL,
    status VARCHAR NOT NULL, stage VARCHAR, progress JSON, metrics JSON NOT NULL,
    attempt INTEGER NOT NULL, leases_lost INTEGER NOT NULL, worker VARCHAR, lease_until DOUBLE,
    cancel_requested BOOLEAN NOT NULL, error JSON, result JSON, idempotency_key VARCHAR,
    request_sha256 VARCHAR, created_at DOUBLE NOT NULL, started_at DOUBLE, ended_at DOUBLE,
    updated_at DOUBLE NOT NULL, UNIQUE (id), UNIQUE (idempotency_key)
);
CREATE INDEX jobs_by_status ON jobs (status, number);
CREATE TABLE events (
    job_id VARCHAR NOT NULL, seq INTEGER NOT NULL, at DOUBLE NOT NULL, type VARCHAR NOT NULL,
    data JSON NOT NULL, PRIMARY KEY (job_id, seq),
    FOREIGN KEY (job_id) REFERENCES jobs (id) ON DELETE CASCADE
);
CREATE TABLE versions (
    name VARCHAR NOT NULL, version INTEGER NOT NULL, job_id VARCHAR, PRIMARY KEY (name, version),
    UNIQUE (job_id), FOREIGN KEY (job_id) REFERENCES jobs (id) ON DELETE CASCADE
);
"""
JOB = """
INSERT INTO jobs (
    id, name, model_id, dataset_id, recipe, status, metrics, attempt, leases_lost,
    cancel_requested, result, created_at, updated_at
) VALUES (
    ?, 'digits', 'm', 'd', '{"seed":3}', 'succeeded', '{"accuracy":0.5}', 1, 0, 0,
    '{"report":{},"artifacts":[],"served":{"name":"digits","version":1}}', 1.5, 2.5
)
"""
OPENER = """
import sys
from tieshare_service.database import open_database
open_database(sys.argv[1]).dispose()
"""


@pytest.fixture
def old(tmp_path: Path) -> Path:
    """The database of a service that has done two jobs."""
    path = tmp_path / "tieshare.db"
    with closing(sqlite3.connect(path)) as database, database:
        database.executescript(OLD)
        for version, job_id in ((1, "job_a"), (2, "job_b")):
            database.execute(JOB, [job_id])
            database.execute("INSERT INTO versions VALUES ('digits', ?, ?)", [version, job_id])
            told = [job_id, '{"status":"succeeded"}']
            database.execute("INSERT INTO events VALUES (?, 1, 2.5, 'status', ?)", told)
    return path


@pytest.fixture
def engine(old: Path) -> Iterator[Engine]:
    engine = open_database(old)
    yield engine
    engine.dispose()


@pytest.fixture
def tables_of_alembic(database: Path | str) -> Iterator[Engine]:
    """A database with nothing in it for which every migration was run."""
    engine = open_database(database)
    with engine.begin() as connection:
        metadata.drop_all(connection)
        connection.exec_driver_sql("DELETE FROM alembic_version")
        migrate(connection, metadata)
    yield engine
    engine.dispose()


def differences(engine: Engine) -> list[object]:
    with engine.connect() as connection:
        return list(compare_metadata(MigrationContext.configure(connection), metadata))


def test_every_table_is_as_in_a_new_one(engine: Engine) -> None:
    assert differences(engine) == []


def test_all_migrations_together_make_the_tables(tables_of_alembic: Engine) -> None:
    assert differences(tables_of_alembic) == []


def test_a_new_database_has_the_newest_revision(tmp_path: Path) -> None:
    engine = open_database(tmp_path / "new.db")
    with engine.connect() as connection:
        assert MigrationContext.configure(connection).get_current_revision() == HEAD
    engine.dispose()
    assert ScriptDirectory(str(Path(migrations.__file__).parent)).get_heads() == [HEAD]


def test_a_database_of_a_later_version_is_refused_and_left_alone(database: Path | str) -> None:
    engine = open_database(database)
    with engine.begin() as connection:
        connection.exec_driver_sql("UPDATE alembic_version SET version_num = 'later'")
    with pytest.raises(SettingsError, match="a later version of tieshare made it"):
        open_database(database)
    with engine.connect() as connection:
        assert connection.exec_driver_sql("SELECT * FROM alembic_version").scalar() == "later"
    engine.dispose()


def test_jobs_events_and_versions_are_as_they_were(engine: Engine) -> None:
    queue = Queue(engine, lambda: 9.0)
    job = queue.get("job_a")
    assert (job.recipe, job.metrics, job.front) == ({"seed": 3}, {"accuracy": 0.5}, None)
    assert [event.data for event in queue.events("job_b")] == [{"status": "succeeded"}]
    with reading(engine) as connection:
        rows = connection.execute(select(versions).order_by(versions.c.version)).all()
    assert [tuple(row) for row in rows] == [
        ("digits", 1, "job_a", None, "shared"),
        ("digits", 2, "job_b", None, "shared"),
    ]


def test_an_old_job_may_have_one_more_version(engine: Engine, tmp_path: Path) -> None:
    publisher = Publisher(engine, FolderShelf(tmp_path / "models"))
    served = publisher.publish_other("job_a", "digits", b"packed", Point(1, "packed"))
    assert served == Served("digits", 3)
    Queue(engine, lambda: 9.0).published("job_a", served, Point(1, "packed"))
    result = Queue(engine, lambda: 9.0).get("job_a").result
    assert result is not None
    assert result["served"] == {"name": "digits", "version": 3}


def test_processes_that_open_it_at_once_upgrade_it_once(old: Path) -> None:
    command = [sys.executable, "-c", OPENER, str(old)]
    openers = [subprocess.Popen(command) for _ in range(4)]
    assert [opener.wait(60) for opener in openers] == [0] * 4
    engine = open_database(old)
    with reading(engine) as connection:
        counts = [
            connection.scalar(select(func.count()).select_from(table))
            for table in (versions, events)
        ]
    engine.dispose()
    assert counts == [2, 2]
