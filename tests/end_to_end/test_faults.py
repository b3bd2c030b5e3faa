"""Workers and training processes killed at named moments: no job is lost, and none ends twice."""

import hashlib
import json
import os
import random
import signal
import sqlite3
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest
from sqlalchemy import Engine, insert, select

from tieshare_service.blobs import Blobs, upload_key
from tieshare_service.database import open_database, reading
from tieshare_service.job_rows import NewJob
from tieshare_service.liveness import Liveness
from tieshare_service.queue import Queue
from tieshare_service.records import Job, datasets, models, versions
from tieshare_service.settings import Settings

RUNNER = """
import json, os, signal, time
from tieshare.progress import Progress


class Result:
    def __init__(self, killed_while_saving):
        self.killed = killed_while_saving

    def save(self, folder):
        (folder / "report.json").write_text("{}")
        (folder / "shared.onnx").write_bytes(b"shared" + os.urandom(1000))
        if self.killed and folder.name == "unfinished.1":
            os.kill(os.getppid() if self.killed == "worker" else os.getpid(), signal.SIGKILL)
            time.sleep(60)
        (folder / "tied.onnx").write_bytes(b"tied" + os.urandom(1000))


def compress(model, data, recipe, listener, checkpoint_dir):
    plan = json.loads(data.read_bytes())
    checkpoint = checkpoint_dir / "epoch"
    first = int(checkpoint.read_text()) if checkpoint.exists() else 0
    for epoch in range(first, plan["epochs"]):
        time.sleep(plan["seconds"])
        with open(plan["trace"], "a") as trace:
            trace.write(f"{epoch}\\n")
        (checkpoint_dir / "new").write_text(str(epoch + 1))
        (checkpoint_dir / "new").replace(checkpoint)
        listener(Progress("path", epoch + 1, plan["epochs"]))
    return Result(plan["killed_while_saving"])
"""
WORKER = """
from tieshare_service.settings import Settings
from tieshare_service.worker import run
run(Settings.from_env())
"""
# A worker that kills itself just before or just after a call, the first time it is made.
DYING_WORKER = """
import importlib, os, signal, sys
when, module, *owner, name = sys.argv[1:]
home = importlib.import_module(module)
for part in owner:
    home = getattr(home, part)
call = getattr(home, name)

def die():
    os.kill(os.getpid(), signal.SIGKILL)

def dying(*arguments):
    if when == "before":
        die()
    if call(*arguments) is not None:
        die()

setattr(home, name, dying)
"""
MOMENTS = {
    "after the claim": ["after", "tieshare_service.queue", "Queue", "claim"],
    "with the result there": ["before", "tieshare_service.blobs", "Blobs", "put_artifact"],
    "with an artifact put": ["after", "tieshare_service.blobs", "Blobs", "put_artifact"],
    "with all artifacts put": ["before", "tieshare_service.publish", "Publisher", "publish"],
    "while publishing": ["before", "tieshare_service.shelf", "rename_synced"],
    "after publishing": ["before", "tieshare_service.queue", "Queue", "succeed"],
    "after the end": ["after", "tieshare_service.queue", "Queue", "succeed"],
}
PATIENCE_S = 60


class House:
    """A data folder and the means to see what became of a job in it."""

    def __init__(self, folder: Path, engine: Engine) -> None:
        self.folder = folder
        self.engine = engine
        self.settings = Settings(data_dir=folder / "data")
        self.queue = Queue(engine, time.time)
        self.trace = folder / "trace"

    def submit(self, *, seconds: float = 0.0, killed_while_saving: str = "") -> str:
        """A job of 20 epochs, each of ``seconds``."""
        plan = {"epochs": 20, "seconds": seconds, "trace": str(self.trace)}
        plan["killed_while_saving"] = killed_while_saving
        path = self.settings.blobs_dir / upload_key("datasets", "d")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(plan))
        return self.queue.submit(NewJob("m", "d", {})).id

    @contextmanager
    def worker(self, code: str = WORKER, *arguments: str) -> Iterator[psutil.Popen]:
        """A worker process; ended by SIGTERM, and then it exits with 0 within 10 s."""
        environment = {
            "PYTHONPATH": str(self.folder),
            "TIESHARE_DATA_DIR": str(self.settings.data_dir),
            "TIESHARE_RUNNER": "patient_runner:compress",
            "TIESHARE_LEASE_S": "1",
            "TIESHARE_HEARTBEAT_S": "0.2",
            "TIESHARE_POLL_S": "0.05",
            "TIESHARE_MAX_ATTEMPTS": "100",
        }
        process = psutil.Popen(
            [sys.executable, "-c", code, *arguments], env={**os.environ, **environment}
        )
        try:
            yield process
        finally:
            if process.poll() is None:
                process.send_signal(signal.SIGCONT)
                process.terminate()
            assert process.wait(10) in (0, -signal.SIGKILL)

    def suspend_between_writes(self, worker: psutil.Popen) -> None:
        """A process that sleeps inside a write would hold SQLite's one lock until it wakes."""
        give_up_at = time.monotonic() + PATIENCE_S
        while time.monotonic() < give_up_at:
            worker.suspend()
            with closing(sqlite3.connect(self.settings.data_dir / "tieshare.db", 0.2)) as other:
                try:
                    other.execute("BEGIN IMMEDIATE")
                except sqlite3.OperationalError:
                    worker.resume()
                else:
                    return
        raise TimeoutError("the worker writes without a pause")

    def until(self, job_id: str, good: Callable[[Job], bool]) -> Job:
        """Wait for the job to be as it should."""
        give_up_at = time.monotonic() + PATIENCE_S
        while time.monotonic() < give_up_at:
            job = self.queue.get(job_id)
            if good(job):
                return job
            time.sleep(0.01)
        raise TimeoutError(f"the job is {job.status}, {job.error}")

    def training(self, worker: psutil.Popen) -> psutil.Process:
        """The child of a worker that is in mid-training."""
        give_up_at = time.monotonic() + PATIENCE_S
        while time.monotonic() < give_up_at:
            children = worker.children()
            if children and len(self.epochs()) >= 3:
                return children[0]
            time.sleep(0.01)
        raise TimeoutError("no training process")

    def epochs(self) -> list[int]:
        """The epochs that were trained, by any attempt."""
        return [int(line) for line in self.trace.read_text().split()] if self.trace.exists() else []

    def finish(self, job_id: str) -> Job:
        """Let a sound worker see the job to its end."""
        with self.worker() as worker:
            self.until(job_id, lambda job: job.ended_at is not None and self.is_up(worker))
            self.until(job_id, lambda job: not (self.settings.work_dir / job.id).exists())
        return self.queue.get(job_id)

    def is_up(self, worker: psutil.Popen) -> bool:
        """Whether the worker has started, so that SIGTERM finds its handler."""
        alive = Liveness(self.engine, time.time).alive(within_s=1)
        return any(f"-{worker.pid}-" in name for name in alive)

    def check_one_sound_result(self, job_id: str) -> None:
        """The job succeeded once; its events, files and version are whole and single."""
        events = self.queue.events(job_id)
        assert [event.seq for event in events] == list(range(1, len(events) + 1))
        statuses = [event.data["status"] for event in events if event.type == "status"]
        assert statuses.count("succeeded") == 1
        assert statuses[-1] == "succeeded"

        blobs = Blobs(self.settings.data_dir)
        stored = {}
        for artifact in self.queue.artifacts(job_id):
            stored[artifact.name] = data = blobs.artifact(artifact)
            assert hashlib.sha256(data).hexdigest() == artifact.sha256
        assert sorted(stored) == ["report.json", "shared.onnx", "tied.onnx"]

        with reading(self.engine) as connection:
            rows = connection.execute(select(versions.c.name, versions.c.version)).all()
        assert [tuple(row) for row in rows] == [("net", 1)]
        served = self.settings.models_dir / "net"
        assert sorted(path.name for path in served.iterdir()) == ["1", "config.pbtxt"]
        assert (served / "1" / "model.onnx").read_bytes() == stored["shared.onnx"]
        assert list(self.settings.work_dir.iterdir()) == []


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    (tmp_path / "patient_runner.py").write_text(RUNNER)
    engine = open_database(tmp_path / "data" / "tieshare.db")
    with engine.begin() as connection:
        for table, upload_id in ((models, "m"), (datasets, "d")):
            values: dict[str, Any] = {"id": upload_id, "name": "net", "sha256": "", "bytes": 1}
            connection.execute(insert(table).values({**values, "card": {}, "created_at": 0.0}))
    yield House(tmp_path, engine)
    engine.dispose()


def wait_gone(process: psutil.Process) -> None:
    """The process ends by itself within two seconds."""
    try:
        process.wait(2)
    except psutil.TimeoutExpired:
        assert process.status() == psutil.STATUS_ZOMBIE


@pytest.mark.parametrize("moment", MOMENTS)
def test_a_worker_killed_at_any_moment_costs_no_job_and_no_result(
    house: House, moment: str
) -> None:
    job_id = house.submit()
    with house.worker(DYING_WORKER + WORKER, *MOMENTS[moment]) as worker:
        assert worker.wait(PATIENCE_S) == -signal.SIGKILL
    job = house.finish(job_id)
    assert job.attempt == (1 if moment == "after the end" else 2)
    house.check_one_sound_result(job_id)
    assert house.epochs() == list(range(20))


def test_training_dies_with_its_worker_and_goes_on_from_the_checkpoint(house: House) -> None:
    job_id = house.submit(seconds=0.05)
    with house.worker() as worker:
        training = house.training(worker)
        worker.kill()
        wait_gone(training)
    job = house.finish(job_id)
    assert (job.attempt, job.leases_lost) == (2, 1)
    house.check_one_sound_result(job_id)
    epochs = house.epochs()
    assert sorted(set(epochs)) == list(range(20))
    # The epoch in hand when the blow fell may have been written down and not yet kept.
    assert len(epochs) <= 21


def test_a_worker_killed_while_results_are_written_leaves_no_half_result(house: House) -> None:
    job_id = house.submit(killed_while_saving="worker")
    with house.worker() as worker:
        assert worker.wait(PATIENCE_S) == -signal.SIGKILL
    assert house.finish(job_id).attempt == 2
    house.check_one_sound_result(job_id)
    assert house.epochs() == list(range(20))


def test_a_killed_training_process_fails_its_job_alone_and_a_retry_succeeds(house: House) -> None:
    job_id, next_id = house.submit(seconds=0.05), house.submit(seconds=0.05)
    with house.worker() as worker:
        house.training(worker).kill()
        failed = house.until(job_id, lambda job: job.ended_at is not None)
        house.until(next_id, lambda job: job.stage == "path")
        house.queue.cancel(next_id)
        house.until(next_id, lambda job: job.status == "cancelled")
    assert failed.error is not None
    assert failed.error["type"] == "job-crashed"
    assert "SIGKILL" in failed.error["message"]
    house.queue.retry(job_id)
    house.finish(job_id)
    house.check_one_sound_result(job_id)


def test_a_training_process_killed_while_it_saves_leaves_no_half_result(house: House) -> None:
    job_id = house.submit(killed_while_saving="child")
    failed = house.finish(job_id)
    assert (failed.status, house.queue.artifacts(job_id)) == ("failed", [])
    assert not house.settings.models_dir.exists()
    house.queue.retry(job_id)
    assert house.finish(job_id).attempt == 2
    house.check_one_sound_result(job_id)


def test_sigterm_hands_the_job_back_and_the_next_worker_goes_on(house: House) -> None:
    job_id = house.submit(seconds=0.05)
    with house.worker() as worker:
        training = house.training(worker)
        worker.terminate()
        assert worker.wait(10) == 0
        wait_gone(training)
    job = house.queue.get(job_id)
    assert (job.status, job.attempt, job.worker) == ("queued", 1, None)
    assert house.finish(job_id).leases_lost == 0
    house.check_one_sound_result(job_id)
    assert len(house.epochs()) <= 21


def test_a_worker_that_wakes_up_after_another_did_its_job_changes_nothing(house: House) -> None:
    job_id = house.submit(seconds=0.05)
    with house.worker() as sleeper:
        training = house.training(sleeper)
        house.suspend_between_writes(sleeper)
        job = house.finish(job_id)
        before = house.queue.events(job_id)
        sleeper.resume()
        wait_gone(training)
        sleeper.terminate()
        assert sleeper.wait(10) == 0
    assert job.attempt == 2
    assert house.queue.get(job_id) == job
    assert house.queue.events(job_id) == before
    house.check_one_sound_result(job_id)


@pytest.mark.slow
def test_workers_killed_at_random_moments_end_with_one_result(house: House) -> None:
    moments = random.Random(3)  # noqa: S311
    job_id = house.submit(seconds=0.2)
    for _ in range(4):
        with house.worker() as worker:
            time.sleep(moments.uniform(0.5, 2.5))
            children = worker.children()
            worker.kill()
            for child in children:
                wait_gone(child)
    house.finish(job_id)
    house.check_one_sound_result(job_id)
    assert sorted(set(house.epochs())) == list(range(20))
