"""Jobs on a Ray cluster of three nodes, with the queue in a database of their own."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from sqlalchemy import Engine, insert
from tests.ray_cluster import Cluster
from tests.waiting import until

from tieshare_service.blobs import upload_key
from tieshare_service.database import open_database
from tieshare_service.job_rows import NewJob
from tieshare_service.queue import Queue
from tieshare_service.records import Status, datasets, models
from tieshare_service.settings import Settings

pytestmark = pytest.mark.slow

RUNNER = """
import json, os, time
from tieshare.progress import Progress


class Result:
    def save(self, folder):
        (folder / "shared.onnx").write_bytes(b"shared")
        (folder / "report.json").write_text(json.dumps({"ray": os.environ["RAY_ADDRESS"]}))


def compress(model, data, recipe, listener, checkpoint_dir):
    plan = json.loads(data.read_bytes())
    checkpoint = checkpoint_dir / "epoch"
    first = int(checkpoint.read_text()) if checkpoint.exists() else 0
    for epoch in range(first, plan["epochs"]):
        time.sleep(plan["seconds"])
        checkpoint.write_text(str(epoch + 1))
        listener(Progress("path", epoch + 1, plan["epochs"], metrics={"first": first}))
    return Result()
"""
WORKER = """
from tieshare_service.ray_engine import run
from tieshare_service.settings import Settings
run(Settings.from_env())
"""


class House:
    """A queue, and what works for it on the cluster."""

    def __init__(self, settings: Settings, engine: Engine) -> None:
        self.settings = settings
        self.queue = Queue(engine, time.time)
        self._engine = engine

    def submit(self, number: int, seconds: float, epochs: int = 20) -> str:
        ids = f"mdl_{number}", f"dat_{number}"
        plan = json.dumps({"seconds": seconds, "epochs": epochs}).encode()
        for table, upload_id, key, data in (
            (models, ids[0], upload_key("models", ids[0]), b"model"),
            (datasets, ids[1], upload_key("datasets", ids[1]), plan),
        ):
            row = {"id": upload_id, "name": "net", "sha256": "", "bytes": 1, "card": {}}
            with self._engine.begin() as connection:
                connection.execute(insert(table).values({**row, "created_at": 0}))
            path = self.settings.blobs_dir / key
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
        return self.queue.submit(NewJob(*ids, {})).id

    def statuses(self, ids: list[str]) -> set[Status]:
        return {self.queue.get(job_id).status for job_id in ids}

    @contextmanager
    def working(self, cluster: Cluster) -> Iterator[subprocess.Popen[bytes]]:
        environ = {**os.environ, **self.settings.to_environ(), "RAY_ADDRESS": cluster.address}
        process = subprocess.Popen([sys.executable, "-W", "ignore", "-c", WORKER], env=environ)
        try:
            yield process
        finally:
            process.terminate()
            assert process.wait(30) == 0


@pytest.fixture(scope="module")
def code(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("code")
    (folder / "steady_runner.py").write_text(RUNNER)
    return folder


@pytest.fixture
def cluster(code: Path) -> Iterator[Cluster]:
    made = Cluster(code)
    yield made
    made.close()


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    settings = Settings(
        data_dir=tmp_path / "data",
        heartbeat_s=0.2,
        lease_s=3,
        poll_s=0.05,
        threads=1,
        engine="ray",
        runner="steady_runner:compress",
    )
    engine = open_database(settings.database)
    yield House(settings, engine)
    engine.dispose()


def test_jobs_run_where_there_is_room_and_outlive_their_nodes(
    cluster: Cluster, house: House
) -> None:
    with house.working(cluster) as dispatcher:
        ids = [house.submit(number, seconds=0.2) for number in range(3)]
        until(lambda: house.statuses(ids) == {"running", "queued"}, 60)
        until(lambda: house.queue.demand()[0] == 1, 20)  # two nodes, a core each
        until(lambda: all("first" in house.queue.get(one).metrics for one in ids[:2]), 30)
        cluster.kill(0)
        until(lambda: house.statuses(ids) == {"succeeded"}, 90)
        jobs = [house.queue.get(job_id) for job_id in ids]
        assert sorted(job.leases_lost for job in jobs) == [0, 0, 1]
        (again,) = (job for job in jobs if job.leases_lost)
        assert again.metrics["first"] > 0  # from the checkpoint of the node that died
        for job in jobs:
            assert job.result is not None
            assert job.result["artifacts"] == ["report.json", "shared.onnx"]
            assert job.result["report"]["ray"] == cluster.address
        slow = house.submit(9, seconds=0.2, epochs=10_000)
        until(lambda: "first" in house.queue.get(slow).metrics, 30)
        (worker,) = house.queue.demand()[1]
        assert f"-ray-{dispatcher.pid}-" in worker
    job = house.queue.get(slow)
    assert (job.status, job.leases_lost) == ("queued", 0)


def test_without_a_cluster_it_says_so(house: House) -> None:
    command = [sys.executable, "-W", "ignore", "-m", "tieshare_service.cli", "worker"]
    nowhere = {"RAY_ADDRESS": "127.0.0.1:1", "RAY_gcs_rpc_server_connect_timeout_s": "1"}
    environ = {**os.environ, **house.settings.to_environ(), **nowhere}
    done = subprocess.run(command, env=environ, capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert "engine: no Ray cluster answers" in done.stderr
    assert "Traceback" not in done.stderr
