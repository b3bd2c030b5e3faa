"""Scopes and quotas by themselves, on both databases."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from sqlalchemy import Engine, insert

from tieshare_service.database import open_database
from tieshare_service.errors import NoSuchJob, NoSuchModel
from tieshare_service.job_rows import NewJob
from tieshare_service.queue import Queue
from tieshare_service.records import datasets, models
from tieshare_service.tenants import (
    EVERYTHING,
    QuotaExceeded,
    Quotas,
    Scope,
    is_tenant,
    owned_name,
    tenant_of,
)

NEW = NewJob("mdl_ours", "dat_ours", {})
OURS = Scope("ours", "key_1")


@pytest.fixture
def engine(database: Path | str) -> Iterator[Engine]:
    opened = open_database(database)
    with opened.begin() as connection:
        for table, upload_id in ((models, "mdl_ours"), (datasets, "dat_ours")):
            values = {"id": upload_id, "name": "digits", "sha256": "", "bytes": 1, "card": {}}
            values |= {"created_at": 0.0, "tenant": "ours", "key_id": "key_1"}
            connection.execute(insert(table).values(values))
    yield opened
    opened.dispose()


@pytest.fixture
def queue(engine: Engine) -> Queue:
    return Queue(engine, lambda: 0.0)


def test_a_job_is_seen_by_its_tenant_and_by_who_sees_all(queue: Queue) -> None:
    job = queue.of(OURS).submit(NEW)
    assert job.tenant == "ours"
    for scope in (OURS, Scope("ours", "key_2"), EVERYTHING, Scope("theirs", whole=True)):
        assert queue.of(scope).get(job.id) == job
        assert queue.of(scope).list()[0] == [job]
    for scope in (Scope("theirs"), Scope()):
        stranger = queue.of(scope)
        assert stranger.list() == ([], None)
        for ask in (stranger.get, stranger.events, stranger.artifacts, stranger.cancel):
            with pytest.raises(NoSuchJob):
                ask(job.id)
        with pytest.raises(NoSuchJob):
            stranger.retry(job.id)
        with pytest.raises(NoSuchModel):
            stranger.submit(NEW)


def test_of_many_requests_at_once_no_more_pass_than_may(queue: Queue) -> None:
    mine = queue.of(Scope("ours", "key_1", quotas=Quotas(jobs=3)))

    def submit(_: int) -> bool:
        try:
            mine.submit(NEW)
        except QuotaExceeded:
            return False
        return True

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(submit, range(16))) == 3


def test_bytes_are_those_of_the_key(engine: Engine) -> None:
    with engine.begin() as connection:
        assert OURS.used_bytes(connection) == 2
        assert Scope("ours", "key_2").used_bytes(connection) == 0
        Scope("ours", "key_1", quotas=Quotas(bytes=10)).require_bytes(connection, 8)
        with pytest.raises(QuotaExceeded, match="may have 10 bytes here and has 2") as told:
            Scope("ours", "key_1", quotas=Quotas(bytes=10)).require_bytes(connection, 9)
    assert told.value.where == "key_1"


@pytest.mark.parametrize("name", ["a", "acme", "acme-1", "0", "a" * 40])
def test_names_of_tenants(name: str) -> None:
    assert is_tenant(name)
    assert tenant_of(owned_name(name, "digits")) == name


@pytest.mark.parametrize("name", ["", "A", "a~b", "-a", "a-", "a/b", "a.b", "a" * 41, "a\n", "é"])
def test_what_no_tenant_is_called(name: str) -> None:
    assert not is_tenant(name)


def test_a_scope_asks_what_is_served_for_it() -> None:
    assert OURS.asks("ours~digits")
    assert not any(OURS.asks(name) for name in ("digits", "theirs~digits", "ours", "ours2~digits"))
    assert Scope().asks("digits")
    assert not Scope().asks("ours~digits")
    assert EVERYTHING.asks("ours~digits")
