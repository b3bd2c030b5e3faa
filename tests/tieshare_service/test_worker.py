"""The worker with real child processes and a runner whose plan is the content of the data set."""

import hashlib
import json
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import pytest
from sqlalchemy import Engine, insert, select

from tieshare_service.blobs import Blobs
from tieshare_service.database import open_database, reading
from tieshare_service.job_rows import NewJob
from tieshare_service.liveness import Liveness
from tieshare_service.points import publish_point
from tieshare_service.publish import Point, Publisher, Served
from tieshare_service.queue import Queue
from tieshare_service.records import Job, datasets, models, versions
from tieshare_service.removal import Remover
from tieshare_service.settings import Settings
from tieshare_service.shelf import FolderShelf, shelf_of
from tieshare_service.worker import Worker

RUNNER = """
import json, os, signal, subprocess, time
from dataclasses import asdict, replace
from tieshare.errors import DataMismatch
from tieshare.progress import Progress
from tieshare.report import FrontPoint


class Result:
    def __init__(self, report):
        self.report = report

    def save(self, folder):
        (folder / "tied.onnx").write_bytes(b"tied" + os.urandom(8))
        (folder / "shared.onnx").write_bytes(b"shared" + os.urandom(8))
        (folder / "report.json").write_text(json.dumps(self.report))
        for point in self.report.get("front", []):
            name = f"point-{point['point']}.shared.onnx"
            (folder / name).write_bytes(b"shared" + os.urandom(8))


def compress(model, data, recipe, listener, checkpoint_dir):
    plan = json.loads(data.read_bytes())
    checkpoint = checkpoint_dir / "epoch"
    first = int(checkpoint.read_text()) if checkpoint.exists() else 0
    print("a library prints")
    if plan.get("orphan"):
        orphan = subprocess.Popen(["sleep", "60"])
        (checkpoint_dir / "orphan").write_text(str(orphan.pid))
    for epoch in range(first, plan["epochs"]):
        time.sleep(plan.get("seconds", 0))
        checkpoint.write_text(str(epoch + 1))
        listener(Progress("path", epoch + 1, plan["epochs"], metrics={"accuracy": epoch / 100}))
    front = [
        FrontPoint(point, 9, 2.0, 90, 30, 8, {1: 1.5, 32: 4.5}, loss=0.5)
        for point in range(1, plan.get("points", 0) + 1)
    ]
    for count in range(1, len(front) + 1):
        listener(Progress("retrain", count, len(front), front=tuple(front[:count])))
    listener(Progress("measure", 1, 1, unit="files"))
    match plan.get("end"):
        case "typed": raise DataMismatch("has 3 columns, the input has 4", where="x")
        case "untyped": raise ValueError("not today")
        case "disk": raise FileNotFoundError(2, "No such file", "/secret/place")
        case "memory": raise MemoryError
        case "exit": os._exit(3)
        case "signal": os.kill(os.getpid(), signal.SIGSEGV)
    threads, nice = os.environ["OMP_NUM_THREADS"], os.nice(0)
    report = {"first": first, "seed": recipe.seed, "threads": threads, "nice": nice}
    if front:
        front[-1] = replace(front[-1], chosen=True)
        # As JSON has them, and without the score that was not taken.
        report["front"] = [point_of(point) for point in front]
    return Result(report | {"model": model.read_text()})


def point_of(point):
    plain = {name: value for name, value in asdict(point).items() if value is not None}
    return plain | {"latency_us": {"1": 1.5, "32": 4.5}}
"""
PATIENCE_S = 60


class House:
    """A data folder, its queue, and workers in threads."""

    def __init__(self, settings: Settings, engine: Engine) -> None:
        self.settings = settings
        self.engine = engine
        self.queue = Queue(engine, time.time)
        self.blobs = Blobs(settings.data_dir)

    def submit(self, **plan: Any) -> str:
        """A job that does what ``plan`` says."""
        for kind, table, data in (
            ("models", models, b"a model"),
            ("datasets", datasets, json.dumps(plan).encode()),
        ):
            with self.engine.begin() as connection:
                count = connection.execute(table.select()).all()
                values = {"id": f"{kind}{len(count)}", "name": "net", "sha256": "", "bytes": 1}
                connection.execute(insert(table).values({**values, "card": {}, "created_at": 0}))
            path = self.settings.blobs_dir / kind / f"{values['id']}"
            path = path.with_suffix(".onnx" if kind == "models" else ".npz")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
        last = len(count)
        return self.queue.submit(NewJob(f"models{last}", f"datasets{last}", {"seed": 7})).id

    @contextmanager
    def worker(self) -> Iterator[Worker]:
        """A worker at work."""
        worker = Worker(self.settings, self.engine)
        thread = threading.Thread(target=worker.run)
        thread.start()
        try:
            yield worker
        finally:
            worker.stop()
            thread.join(PATIENCE_S)

    def until(self, job_id: str, good: Callable[[Job], bool]) -> Job:
        """Wait for the job to be as it should."""
        give_up_at = time.monotonic() + PATIENCE_S
        while time.monotonic() < give_up_at:
            job = self.queue.get(job_id)
            if good(job):
                return job
            time.sleep(0.02)
        raise TimeoutError(f"the job is {job.status}, {job.error}")

    def ended(self, job_id: str) -> Job:
        """Wait for the job to end, and for its folder to be cleared."""
        job = self.until(job_id, lambda job: job.ended_at is not None)
        give_up_at = time.monotonic() + PATIENCE_S
        while self.work(job_id).exists() and time.monotonic() < give_up_at:
            time.sleep(0.02)
        return job

    def work(self, job_id: str) -> Path:
        return self.settings.work_dir / job_id


@pytest.fixture
def house(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, database: Path | str) -> Iterator[House]:
    code = tmp_path / "code"
    code.mkdir()
    (code / "planned_runner.py").write_text(RUNNER)
    monkeypatch.setenv("PYTHONPATH", str(code))
    settings = Settings(
        data_dir=tmp_path / "data",
        database_url=database if isinstance(database, str) else "",
        heartbeat_s=0.2,
        poll_s=0.05,
        threads=1,
        runner="planned_runner:compress",
    )
    engine = open_database(settings.database)
    yield House(settings, engine)
    engine.dispose()


def gone(pid: int) -> bool:
    try:
        return bool(psutil.Process(pid).status() == psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return True


def test_a_job_is_trained_stored_and_published(house: House) -> None:
    job_id = house.submit(epochs=3)
    with house.worker():
        job = house.ended(job_id)
    assert (job.status, job.attempt, job.error, job.stage) == ("succeeded", 1, None, "measure")
    report = {
        "first": 0,
        "seed": 7,
        "threads": "1",
        "nice": min(os.nice(0) + 5, 19),
        "model": "a model",
    }
    assert job.result == {
        "report": report,
        "artifacts": ["report.json", "shared.onnx", "tied.onnx"],
        "served": {"name": "net", "version": 1},
    }
    assert job.metrics == {"accuracy": 0.02}
    stored = {}
    for artifact in house.queue.artifacts(job_id):
        stored[artifact.name] = data = house.blobs.artifact(artifact)
        assert artifact.sha256 == hashlib.sha256(data).hexdigest()
        assert artifact.bytes == len(data)
    served = (house.settings.models_dir / "net" / "1" / "model.onnx").read_bytes()
    assert served == stored["shared.onnx"]
    assert not house.work(job_id).exists()


def test_the_front_is_told_as_it_grows_and_then_as_the_report_has_it(house: House) -> None:
    job_id = house.submit(epochs=1, points=2)
    with house.worker():
        job = house.ended(job_id)
    assert job.result is not None
    told = [(event.type, event.data) for event in house.queue.events(job_id)]
    fronts = [data["front"] for kind, data in told if kind == "front"]
    assert [[point["chosen"] for point in front] for front in fronts] == [
        [False],
        [False, False],
        [False, True],
    ]
    assert fronts[0] == [
        {
            "point": 1,
            "unique_parameters": 9,
            "compression_ratio": 2.0,
            "bytes": 90,
            "packed_bytes": 30,
            "macs": 8,
            "latency_us": {"1": 1.5, "32": 4.5},
            "loss": 0.5,
            "chosen": False,
        }
    ]
    assert fronts[-1] == job.result["report"]["front"] == job.front
    stages = [data["stage"] for kind, data in told if kind == "progress"]
    assert "front" not in {name for kind, data in told if kind == "progress" for name in data}
    assert stages[-1] == "measure"


def test_the_chosen_point_is_the_version_that_the_job_has(house: House) -> None:
    job_id = house.submit(epochs=1, points=3)
    with house.worker():
        house.ended(job_id)
    with reading(house.engine) as connection:
        (row,) = connection.execute(select(versions)).all()
    assert tuple(row) == ("net", 1, job_id, 3, "shared")
    served = publish_point(
        house.queue,
        house.blobs,
        Publisher(house.engine, FolderShelf(house.settings.models_dir)),
        job_id,
        Point(1),
    )
    stored = {each.name: each for each in house.queue.artifacts(job_id)}
    first = house.blobs.artifact(stored["point-1.shared.onnx"])
    assert served == Served("net", 2)
    assert (house.settings.models_dir / "net" / "2" / "model.onnx").read_bytes() == first


def test_a_result_of_an_earlier_version_has_points_with_no_number(house: House) -> None:
    job_id = house.submit(epochs=1, end="untyped")
    out = house.work(job_id) / "out"
    out.mkdir(parents=True)
    (out / "shared.onnx").write_bytes(b"shared")
    old = {"unique_parameters": 9, "compression_ratio": 2.0, "chosen": True}
    (out / "report.json").write_text(json.dumps({"front": [old]}))
    with house.worker():
        job = house.ended(job_id)
    assert (job.status, job.front) == ("succeeded", None)


@pytest.mark.parametrize(
    ("end", "error", "message"),
    [
        ("typed", "dataset-does-not-fit", "x: has 3 columns, the input has 4"),
        ("untyped", "job-error", "ValueError: not today"),
        ("disk", "job-error", "FileNotFoundError: No such file"),
        ("memory", "job-crashed", "the training process ran out of memory"),
        ("exit", "job-crashed", "the training process ended with exit code 3 and no result"),
        ("signal", "job-crashed", "the training process was killed by SIGSEGV"),
    ],
)
def test_a_job_that_goes_wrong_says_why(house: House, end: str, error: str, message: str) -> None:
    job_id = house.submit(epochs=1, end=end)
    with house.worker():
        job = house.ended(job_id)
    assert (job.status, job.error) == ("failed", {"type": error, "message": message})
    assert not house.work(job_id).exists()
    assert not house.settings.models_dir.exists()


def test_the_crash_of_one_job_does_not_touch_the_next(house: House) -> None:
    crashing, sound = house.submit(epochs=1, end="signal"), house.submit(epochs=1)
    with house.worker():
        assert house.ended(sound).status == "succeeded"
    assert house.queue.get(crashing).status == "failed"


def test_a_cancelled_job_ends_at_once_with_all_its_processes(house: House) -> None:
    job_id = house.submit(epochs=1000, seconds=0.05, orphan=True)
    with house.worker():
        house.until(job_id, lambda job: job.stage == "path")
        orphan = int((house.work(job_id) / "checkpoints" / "orphan").read_text())
        assert not gone(orphan)
        started = time.monotonic()
        house.queue.cancel(job_id)
        job = house.ended(job_id)
        assert time.monotonic() - started < 1.5
    assert (job.status, job.result) == ("cancelled", None)
    assert gone(orphan)
    assert not house.work(job_id).exists()


def test_a_stopped_worker_hands_its_job_back_and_the_next_goes_on(house: House) -> None:
    job_id = house.submit(epochs=20, seconds=0.05)
    with house.worker():
        house.until(job_id, lambda job: job.stage == "path")
        started = time.monotonic()
    assert time.monotonic() - started < 3
    job = house.queue.get(job_id)
    assert (job.status, job.worker, job.attempt) == ("queued", None, 1)
    with house.worker():
        job = house.ended(job_id)
    assert (job.status, job.attempt, job.leases_lost) == ("succeeded", 2, 0)
    assert job.result is not None
    assert 1 <= job.result["report"]["first"] <= 20


def test_a_result_that_is_there_is_not_trained_again(house: House) -> None:
    job_id = house.submit(epochs=1, end="untyped")
    out = house.work(job_id) / "out"
    out.mkdir(parents=True)
    (out / "shared.onnx").write_bytes(b"shared")
    (out / "report.json").write_text('{"kept": true}')
    with house.worker():
        job = house.ended(job_id)
    assert job.result is not None
    assert job.result["report"] == {"kept": True}
    assert [artifact.name for artifact in house.queue.artifacts(job_id)] == [
        "report.json",
        "shared.onnx",
    ]


def test_a_worker_that_lost_its_lease_stops_training_and_changes_nothing(house: House) -> None:
    job_id = house.submit(epochs=1000, seconds=0.05, orphan=True)
    later = Queue(house.engine, lambda: time.time() + 500)
    with house.worker():
        house.until(job_id, lambda job: job.stage == "path")
        orphan = int((house.work(job_id) / "checkpoints" / "orphan").read_text())
        taken = later.claim("other", 60)
        give_up_at = time.monotonic() + PATIENCE_S
        while not gone(orphan) and time.monotonic() < give_up_at:
            time.sleep(0.02)
    assert gone(orphan)
    assert house.queue.get(job_id) == taken
    assert (house.work(job_id) / "checkpoints" / "epoch").exists()


def test_a_job_that_another_worker_ended_and_its_owner_deleted_ends_no_worker(house: House) -> None:
    job_id = house.submit(epochs=1000, seconds=0.05)
    later = Queue(house.engine, lambda: time.time() + 1000)
    remover = Remover(house.engine, house.blobs, Publisher(house.engine, shelf_of(house.settings)))
    with house.worker():
        house.until(job_id, lambda job: job.stage == "path")
        taken = later.claim("other", 100)
        assert taken is not None
        later.fail(job_id, taken.attempt, {"type": "x", "message": "x"})
        remover.remove(job_id)
        assert house.ended(house.submit(epochs=1)).status == "succeeded"


def test_progress_is_told_at_most_twice_a_second_and_to_its_end(house: House) -> None:
    job_id = house.submit(epochs=300, seconds=0.003)
    with house.worker():
        job = house.ended(job_id)
    told = [event.data for event in house.queue.events(job_id) if event.type == "progress"]
    seconds = (job.ended_at or 0) - (job.started_at or 0)
    assert len(told) <= 2 * seconds + 4
    assert [data["stage"] for data in told] == ["path"] * (len(told) - 1) + ["measure"]
    assert told[-2]["done"] == 300


def test_work_of_jobs_that_ended_without_a_worker_is_removed(house: House) -> None:
    queued, cancelled = house.submit(epochs=1), house.submit(epochs=1)
    house.queue.cancel(cancelled)
    settings = replace(house.settings, runner="nowhere:compress")
    for name in (cancelled, "job_unknown"):
        (settings.work_dir / name / "checkpoints").mkdir(parents=True)
    with House(settings, house.engine).worker():
        job = house.ended(queued)
    assert job.error is not None
    assert job.error["message"] == "ModuleNotFoundError: No module named 'nowhere'"
    assert list(settings.work_dir.iterdir()) == []


def test_a_worker_tells_that_it_is_alive_while_it_trains(house: House) -> None:
    liveness = Liveness(house.engine, time.time)
    job_id = house.submit(epochs=1000, seconds=0.05)
    with house.worker() as worker:
        house.until(job_id, lambda job: job.stage == "path")
        time.sleep(0.6)
        assert liveness.alive(within_s=0.5) == [worker.name]
    assert liveness.alive(within_s=100) == []
