"""The database: how it is opened, and that opening it at once from many sides is safe."""

import re
import subprocess
import sys
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import pytest
from sqlalchemy import insert, select, text
from sqlalchemy.exc import IntegrityError

from tieshare_service.database import open_database, reading
from tieshare_service.errors import BadPageToken, SettingsError
from tieshare_service.ids import is_id, new_id
from tieshare_service.liveness import Liveness
from tieshare_service.pages import page
from tieshare_service.records import events, models
from tieshare_service.settings import Settings


def add_model(name: str) -> dict[str, object]:
    """The values of a row."""
    return {"id": name, "name": name, "sha256": "", "bytes": 1, "card": {}, "created_at": 0.0}


OPENER = """
import sys
from tieshare_service.liveness import Liveness
from tieshare_service.database import open_database
print("ready", flush=True)
sys.stdin.readline()
Liveness(open_database(sys.argv[1]), lambda: 1.0).beat(sys.argv[2])
"""


def test_a_database_is_in_wal_mode_with_full_sync_and_foreign_keys(tmp_path: Path) -> None:
    engine = open_database(tmp_path / "deep" / "tieshare.db")
    with reading(engine) as connection:
        found = {
            name: connection.execute(text(f"PRAGMA {name}")).scalar_one()
            for name in ("journal_mode", "synchronous", "foreign_keys", "busy_timeout")
        }
    engine.dispose()
    assert found == {
        "journal_mode": "wal",
        "synchronous": 2,
        "foreign_keys": 1,
        "busy_timeout": 30_000,
    }


def test_six_processes_that_open_a_new_database_at_once_all_write(database: Path | str) -> None:
    names = [f"w{i}" for i in range(6)]
    with ExitStack() as stack:
        openers = [
            stack.enter_context(
                subprocess.Popen(
                    [sys.executable, "-c", OPENER, str(database), name],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    text=True,
                )
            )
            for name in names
        ]
        for opener in openers:
            assert opener.stdout is not None
            assert opener.stdout.readline() == "ready\n"
        for opener in openers:
            assert opener.stdin is not None
            opener.stdin.write("\n")
            opener.stdin.flush()
        assert [opener.wait(30) for opener in openers] == [0] * 6
    engine = open_database(database)
    assert sorted(Liveness(engine, lambda: 1.0).alive(within_s=1)) == names
    engine.dispose()


def test_a_writer_does_not_keep_readers_waiting(database: Path | str) -> None:
    engine = open_database(database)
    with engine.begin() as writing:
        writing.execute(insert(models).values(add_model("m")))
        with reading(engine) as connection:
            assert connection.scalars(select(models.c.name)).all() == []
    with reading(engine) as connection:
        assert connection.scalars(select(models.c.name)).all() == ["m"]
    engine.dispose()


@pytest.mark.parametrize("scheme", ["postgres", "postgresql", "postgresql+psycopg"])
def test_the_url_of_a_server_may_leave_out_the_driver(
    new_database: Callable[[], str], scheme: str
) -> None:
    engine = open_database(new_database().replace("postgresql+psycopg", scheme))
    assert Liveness(engine, lambda: 1.0).alive(within_s=1) == []
    engine.dispose()


@pytest.mark.parametrize(
    "url",
    [
        "oracle+none://me:secret@host/db",
        "mysql://me:secret@host/db",
        "postgresql+pg8000://h/d",
        "postgresql://me:secret@/d?host=/nowhere",
        "://",
    ],
)
def test_a_url_that_cannot_be_used_is_refused_and_not_repeated(url: str) -> None:
    with pytest.raises(SettingsError) as caught:
        open_database(url)
    assert caught.value.where == "database_url"
    assert "secret" not in str(caught.value)


def test_an_event_of_no_job_is_refused(database: Path | str) -> None:
    engine = open_database(database)
    values = {"job_id": "job_none", "seq": 1, "at": 0.0, "type": "status", "data": {}}
    with pytest.raises(IntegrityError), engine.begin() as connection:
        connection.execute(insert(events).values(values))
    engine.dispose()


def test_numbers_that_json_lacks_are_stored_as_null(database: Path | str) -> None:
    engine = open_database(database)
    row = add_model("m") | {"card": {"loss": float("nan"), "top": float("inf")}}
    with engine.begin() as connection:
        connection.execute(insert(models).values(row))
        stored = connection.scalars(select(models.c.card)).one()
    engine.dispose()
    assert stored == {"loss": None, "top": None}


def test_pages_follow_each_other_whatever_is_inserted_between_them(database: Path | str) -> None:
    engine = open_database(database)
    query = select(models.c.name)
    with engine.begin() as connection:
        connection.execute(insert(models), [add_model(f"m{i}") for i in range(5)])
        first, token = page(connection, query, models.c.number, 2, None)
        connection.execute(insert(models).values(add_model("late")))
        second, token = page(connection, query, models.c.number, 2, token)
        third, end = page(connection, query, models.c.number, 2, token)
    engine.dispose()
    names = [[row["name"] for row in rows] for rows in (first, second, third)]
    assert names == [["m4", "m3"], ["m2", "m1"], ["m0"]]
    assert end is None


@pytest.mark.parametrize("token", ["", "x", "é", "AAAA", "YmVmb3JlOjA", "YmVmb3JlOi0x", "Zm9vOjU"])
def test_a_token_that_no_list_returned_is_refused(tmp_path: Path, token: str) -> None:
    engine = open_database(tmp_path / "t.db")
    with reading(engine) as connection, pytest.raises(BadPageToken) as caught:
        page(connection, select(models.c.name), models.c.number, 2, token)
    engine.dispose()
    assert caught.value.where == "page_token"


def test_ids_have_their_kind_and_twenty_characters_and_never_repeat() -> None:
    ids = {new_id("job") for _ in range(1000)}
    assert len(ids) == 1000
    assert all(re.fullmatch("job_[a-z2-7]{20}", one) for one in ids)


@pytest.mark.parametrize(
    "text", ["", "job_", "job_../../etc/passwd", "mdl_" + "a" * 20, "job_" + "a" * 21, "job_A1"]
)
def test_other_texts_are_not_ids_of_jobs(text: str) -> None:
    assert not is_id("job", text)


def test_settings_come_from_the_environment_and_flags_win_over_it() -> None:
    environ = {"TIESHARE_PORT": "9000", "TIESHARE_LEASE_S": "60", "TIESHARE_DATA_DIR": "there"}
    settings = Settings.from_env({"port": 9001, "host": None}, environ)
    assert (settings.port, settings.lease_s, settings.host) == (9001, 60.0, "127.0.0.1")
    assert settings.database == Path("there/tieshare.db")


@pytest.mark.parametrize(
    ("text", "on"), [("1", True), ("true", True), ("True", True), ("0", False), ("false", False)]
)
def test_a_switch_is_set_by_a_number_or_a_word(text: str, on: bool) -> None:
    assert Settings.from_env(environ={"TIESHARE_TRACING": text}).tracing is on
    assert Settings.from_env({"tracing": True}, {"TIESHARE_TRACING": text}).tracing is True


@pytest.mark.parametrize(
    ("environ", "where"),
    [
        ({"TIESHARE_PORT": "many"}, "TIESHARE_PORT"),
        ({"TIESHARE_PORT": "65536"}, "port"),
        ({"TIESHARE_POLL_S": "0"}, "poll_s"),
        ({"TIESHARE_LEASE_S": "9.9"}, "lease_s"),
        ({"TIESHARE_LEASE_S": "601"}, "lease_s"),
        ({"TIESHARE_TRACING": "maybe"}, "TIESHARE_TRACING"),
        ({"TIESHARE_RUNNER": "tieshare.compress"}, "runner"),
    ],
)
def test_a_setting_that_cannot_be_used_is_named(environ: dict[str, str], where: str) -> None:
    with pytest.raises(SettingsError) as caught:
        Settings.from_env(environ=environ)
    assert caught.value.where == where
