"""What is cleared or taken away, and what stays, on every database."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, insert

from tieshare_service.audit import Audit
from tieshare_service.blobs import Blobs, upload_key
from tieshare_service.catalog import DATASETS, MODELS, Catalog
from tieshare_service.database import open_database
from tieshare_service.errors import NoSuchJob
from tieshare_service.gate import Gate
from tieshare_service.housekeeping import Housekeeping
from tieshare_service.job_rows import NewJob
from tieshare_service.partial import Partials
from tieshare_service.points import publish_point
from tieshare_service.publish import Point, Publisher, Served
from tieshare_service.queue import Queue
from tieshare_service.removal import Remover
from tieshare_service.shelf import FolderShelf

DAY = 86_400.0


@dataclass
class House:
    """A data folder with jobs in it. ``at``: the time, in seconds."""

    engine: Engine
    folder: Path
    at: float = 0.0
    blobs: Blobs = field(init=False)
    queue: Queue = field(init=False)
    publisher: Publisher = field(init=False)
    remover: Remover = field(init=False)
    shelf: FolderShelf = field(init=False)

    def __post_init__(self) -> None:
        self.blobs = Blobs(self.folder)
        self.queue = Queue(self.engine, self.now)
        self.shelf = FolderShelf(self.folder / "models")
        self.publisher = Publisher(self.engine, self.shelf)
        self.remover = Remover(self.engine, self.blobs, self.publisher)

    def now(self) -> float:
        return self.at

    def upload(self, number: int) -> None:
        """A model and a data set of this number, with their files."""
        rest = {"name": "x", "sha256": "", "bytes": 1, "card": {}, "created_at": self.at}
        for sort in (MODELS, DATASETS):
            upload_id = f"{sort.prefix}_{number}"
            with self.engine.begin() as connection:
                connection.execute(insert(sort.table).values({"id": upload_id, **rest}))
            path = self.folder / "blobs" / upload_key(sort.kind, upload_id)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()

    def job(self, number: int, served: str | None = None, made: str = "report.json") -> str:
        """One that ended now, with one result, of the uploads with this number."""
        new = self.queue.submit(NewJob(f"mdl_{number}", f"dat_{number}", {}))
        job = self.queue.claim("w", 30.0)
        assert job is not None
        assert job.id == new.id
        result = self.blobs.put_artifact(job.id, made, b"{}")
        if served:
            self.publisher.publish(job.id, served, b"onnx", Point(1))
        self.queue.succeed(job.id, job.attempt, {}, [result])
        return job.id

    def keep(self, days: float = 0.0, versions: int = 0) -> None:
        """Housekeeping, once."""
        gate = Gate(1, 1)
        models = Catalog(MODELS, self.engine, self.blobs, gate, self.now)
        datasets = Catalog(DATASETS, self.engine, self.blobs, gate, self.now)
        Housekeeping(
            self.engine,
            self.blobs,
            models,
            datasets,
            Partials(self.folder, {"models": models, "datasets": datasets}, 1, self.now),
            self.remover,
            Audit(self.engine, self.now),
            days,
            versions,
            self.now,
        ).run()

    def files(self) -> set[str]:
        return {path.name for path in self.folder.rglob("*") if path.is_file()}

    def served(self) -> list[str]:
        """NAME/VERSION of every model file."""
        paths = (self.folder / "models").glob("*/*/model.onnx")
        return sorted("/".join(path.parts[-3:-1]) for path in paths)


@pytest.fixture
def house(database: Path | str, tmp_path: Path) -> Iterator[House]:
    engine = open_database(database)
    yield House(engine, tmp_path / "data")
    engine.dispose()


def test_an_old_job_goes_with_all_that_it_left(house: House) -> None:
    house.upload(1)
    old = house.job(1)
    house.at = 10 * DAY
    house.upload(2)
    new = house.job(2)
    house.keep(days=7)
    with pytest.raises(NoSuchJob):
        house.queue.get(old)
    assert house.queue.events(new)
    assert [item.name for item in house.queue.artifacts(new)] == ["report.json"]
    assert house.files() == {"mdl_2.onnx", "dat_2.npz", "report.json"}
    assert not (house.folder / "blobs" / "jobs" / old).exists()
    told = {(change.what, change.of) for change in Audit(house.engine, house.now).last(10)}
    assert told == {("expired", old), ("expired", "mdl_1"), ("expired", "dat_1")}


def test_without_a_limit_all_stays(house: House) -> None:
    house.upload(1)
    job = house.job(1)
    house.at = 1e6 * DAY
    house.keep()
    assert house.queue.get(job).status == "succeeded"
    assert house.files() == {"mdl_1.onnx", "dat_1.npz", "report.json"}


def test_a_job_that_has_not_ended_stays_with_its_uploads(house: House) -> None:
    house.upload(1)
    job = house.queue.submit(NewJob("mdl_1", "dat_1", {}))
    house.at = 100 * DAY
    house.keep(days=1)
    assert house.queue.get(job.id).status == "queued"
    assert house.files() == {"mdl_1.onnx", "dat_1.npz"}


def test_what_is_served_stays_with_its_job(house: House) -> None:
    house.upload(1)
    jobs = [house.job(1, served="digits") for _ in range(3)]
    house.at = 100 * DAY
    house.keep(days=1)
    assert house.served() == ["digits/1", "digits/2", "digits/3"]
    assert [house.queue.get(job).status for job in jobs] == ["succeeded"] * 3


def test_of_a_served_name_the_newest_versions_stay(house: House) -> None:
    house.upload(1)
    house.job(1, served="other")
    first, second, third = (house.job(1, served="digits") for _ in range(3))
    house.at = 100 * DAY
    house.keep(days=1, versions=2)
    assert house.served() == ["digits/2", "digits/3", "other/1"]
    with pytest.raises(NoSuchJob):
        house.queue.get(first)
    assert [house.queue.get(job).id for job in (second, third)] == [second, third]
    house.job(1, served="digits")
    house.keep(days=1, versions=2)
    assert house.served() == ["digits/3", "digits/4", "other/1"]


def test_a_job_stays_for_the_newest_of_its_versions(house: House) -> None:
    house.upload(1)
    first, second = (house.job(1, served="digits") for _ in range(2))
    again = house.publisher.publish_other(first, "digits", b"another", Point(2))
    assert again == Served("digits", 3)
    house.at = 100 * DAY
    house.keep(days=1, versions=1)
    assert house.served() == ["digits/1", "digits/3"]
    with pytest.raises(NoSuchJob):
        house.queue.get(second)


def test_what_was_cut_off_is_done_the_next_time(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    house.upload(1)
    job = house.job(1)
    house.at = 100 * DAY

    def fail(_: str) -> None:
        raise OSError("the disk is away")

    with monkeypatch.context() as broken:
        broken.setattr(house.blobs, "delete_artifacts", fail)
        house.keep(days=1)
    assert house.queue.get(job).status == "succeeded"
    house.keep(days=1)
    with pytest.raises(NoSuchJob):
        house.queue.get(job)


def test_what_was_taken_out_of_service_keeps_none_of_its_name(house: House) -> None:
    house.upload(1)
    first, second, third = (house.job(1, served="digits") for _ in range(3))
    house.remover.remove(third)
    assert house.served() == ["digits/1", "digits/2"]
    house.at = 100 * DAY
    house.keep(days=1, versions=1)
    assert house.served() == ["digits/2"]
    with pytest.raises(NoSuchJob):
        house.queue.get(first)
    assert house.queue.get(second).id == second


def test_the_number_of_a_version_is_given_once(house: House) -> None:
    house.upload(1)
    for _ in range(2):
        house.remover.remove(house.job(1, served="digits"))
    house.job(1, served="digits")
    assert house.served() == ["digits/3"]


def test_a_job_that_is_published_while_it_is_deleted_leaves_no_version(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    house.upload(1)
    name = "point-1.shared.onnx"
    job = house.job(1, made=name)
    put = house.publisher.publish_other

    def put_too_late(*asked: Any) -> Served:
        served = put(*asked)
        house.remover.remove(job)
        house.shelf.put(served.name, served.version, b"late")
        return served

    monkeypatch.setattr(house.publisher, "publish_other", put_too_late)
    with pytest.raises(NoSuchJob):
        publish_point(house.queue, house.blobs, house.publisher, job, Point(1))
    assert house.served() == []
