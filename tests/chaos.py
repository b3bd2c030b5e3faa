"""A service whose processes are killed at random, and users who go on: ``make chaos``.

    python -m tests.chaos [--runs 500] [--seed 0] [--servers]

In every run a model and a data set are uploaded in several requests and a job is submitted, while
one process is killed by SIGKILL at a random moment: the API, the worker, the training process or
the inference server; with --servers PostgreSQL, the object store or a Ray node, too, on which the
service leans then. What users were promised has to hold each time:

    what was acknowledged as uploaded is there, byte for byte
    the job ends once, with one result; its events are 1, 2, 3, ... with no gap
    every file of it passes its digest, and is the one that is served
    the served model answers

Training takes a second and changes nothing; everything else is the service as users start it. A
job whose training process was killed fails, as it says, and is retried.
"""

import argparse
import hashlib
import json
import os
import random
import signal
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack, suppress
from functools import partial
from pathlib import Path
from typing import TypeVar
from unittest.mock import patch

import httpx
import psutil
from tests import hostile
from tests.chaos_servers import Killable, servers
from tests.serving import Serving, serving
from tests.waiting import until

from tieshare_service.client import Client, ClientError, Job, Retry, stored

RUNNER = """
import time
from pathlib import Path
from tieshare.progress import Progress

class Result:
    def __init__(self, model):
        self.model = model

    def save(self, folder):
        (folder / "report.json").write_text("{}")
        for name in ("shared.onnx", "tied.onnx"):
            (folder / name).write_bytes(self.model)

def compress(model, data, recipe, listener, checkpoint_dir):
    done = checkpoint_dir / "done"
    first = int(done.read_text()) if done.exists() else 0
    for epoch in range(first, 10):
        time.sleep(0.1)
        (checkpoint_dir / "new").write_text(str(epoch + 1))
        (checkpoint_dir / "new").replace(done)
        listener(Progress("path", epoch + 1, 10))
    return Result(Path(model).read_bytes())
"""
T = TypeVar("T")

SETTINGS = {
    "TIESHARE_RUNNER": "chaos_runner:compress",
    "TIESHARE_LEASE_S": "1",
    "TIESHARE_HEARTBEAT_S": "0.2",
    "TIESHARE_POLL_S": "0.05",
    "TIESHARE_THREADS": "1",  # as many as a node has cores
    "TIESHARE_MAX_ATTEMPTS": "100",
}
ROLES = ("api", "worker", "child", "inference")
LATEST_S = 4.5  # after the start of a run, which takes about as long
PATIENCE_S = 60.0
PATIENT = Retry(attempts=40, first_s=0.1, longest_s=1.0)


def main() -> None:
    """Kill, and count what happened."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos")
    parser.add_argument("--runs", type=int, default=500)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--servers", action="store_true", help="lean on PostgreSQL, S3 and Ray")
    flags = parser.parse_args()
    draw, seen = random.Random(flags.seed), Counter[str]()  # noqa: S311
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        (Path(folder) / "chaos_runner.py").write_text(RUNNER)
        os.environ.update(SETTINGS, PYTHONPATH=folder)
        beside = stack.enter_context(servers(Path(folder))) if flags.servers else []
        kills = {role: partial(_kill, role) for role in ROLES}
        kills |= {server.name: partial(_restart, server) for server in beside}
        with serving(Path(folder) / "data") as service, patch.object(stored, "LARGE", 1):
            for number in range(1, flags.runs + 1):
                role, at = draw.choice(list(kills)), draw.uniform(0, LATEST_S)
                seen[_run(service, number, kills[role], at)] += 1
                if number % 10 == 0 or number == flags.runs:
                    print(number, dict(sorted(seen.items())), flush=True)  # noqa: T201
            _check_the_rest(Path(folder) / "data")
    print("all that was promised held")  # noqa: T201


def _run(service: Serving, number: int, kill: Callable[[Serving], str], at: float) -> str:
    """What was killed, if anything of that kind was there."""
    killed: list[str] = []
    killer = threading.Timer(at, lambda: killed.append(kill(service)))
    killer.start()
    try:
        name = f"net-{number}"
        model = hostile.digits()
        model.doc_string = name
        content, data = model.SerializeToString(), hostile.samples(number, 60)
        with Client(service.api, retry=PATIENT) as client:
            sent = client.models.create(content, name), client.datasets.create(data, name)
            new = partial(client.jobs.submit, *(one.id for one in sent), name=name)
            job = _ended(client, _insist(partial(new, idempotency_key=name)).id)
            killer.join()
            model_id, dataset_id = (one.id for one in sent)
            for place, held in (f"models/{model_id}", content), (f"datasets/{dataset_id}", data):
                assert _get(f"{service.api}/v1/{place}/content") == held
            _check_job(service, job, content)
    finally:
        killer.join()
    until(lambda: _answers(service, name), PATIENCE_S)
    return killed[0]


def _kill(role: str, service: Serving) -> str:
    with suppress(LookupError, StopIteration, psutil.Error):
        process = _training() if role == "child" else psutil.Process(service.pid(role))
        process.send_signal(signal.SIGKILL)
        return role
    return "none"


def _training() -> psutil.Process:
    """The training process of a job of this service, on whatever node."""
    return next(
        process
        for process in psutil.process_iter(["cmdline"])
        if "tieshare_service.child" in (process.info["cmdline"] or ())
        and process.environ().get("TIESHARE_RUNNER") == SETTINGS["TIESHARE_RUNNER"]
        and process.environ().get("PYTHONPATH", "").startswith(os.environ["PYTHONPATH"])
    )


def _restart(server: Killable, _: Serving) -> str:
    server.kill()
    return server.name


def _ended(client: Client, job_id: str) -> Job:
    """However often it has to be asked, and retried where its training process was killed."""
    give_up_at = time.monotonic() + PATIENCE_S
    while time.monotonic() < give_up_at:
        job = _insist(lambda: client.jobs.get(job_id))
        if job.status == "succeeded":
            return job
        if job.status == "failed":
            assert job.error is not None
            assert job.error.type == "job-crashed", job.error
            with suppress(ClientError):
                client.jobs.retry(job_id)
        time.sleep(0.05)
    raise TimeoutError(f"{job_id} is {job.status}")


def _insist(call: Callable[[], T]) -> T:
    """However often: what was killed comes back."""
    give_up_at = time.monotonic() + PATIENCE_S
    while True:
        try:
            return call()
        except (ClientError, httpx.TransportError):
            if time.monotonic() > give_up_at:
                raise
            time.sleep(0.1)


def _check_job(service: Serving, job: Job, content: bytes) -> None:
    place = f"{service.api}/v1/jobs/{job.id}"
    events = json.loads(_get(f"{place}/events?page_size=1000"))["items"]
    assert [event["seq"] for event in events] == list(range(1, len(events) + 1))
    statuses = [event["data"]["status"] for event in events if event["type"] == "status"]
    assert (statuses.count("succeeded"), statuses[-1]) == (1, "succeeded")
    files = json.loads(_get(f"{place}/artifacts"))["items"]
    assert {item["name"] for item in files} == {"report.json", "shared.onnx", "tied.onnx"}
    for item in files:
        found = _get(f"{place}/artifacts/{item['name']}")
        assert hashlib.sha256(found).hexdigest() == item["sha256"]
        assert item["name"] == "report.json" or found == content


def _get(url: str) -> bytes:
    answer = _insist(partial(httpx.get, url))
    answer.raise_for_status()
    return answer.content


def _answers(service: Serving, name: str) -> bool:
    tensor = {"name": "x", "datatype": "FP32", "shape": [1, 4], "data": [1, 2, 3, 4]}
    try:
        url = f"{service.inference}/v2/models/{name}/infer"
        answer = httpx.post(url, json={"inputs": [tensor]})
    except httpx.TransportError:
        return False
    return answer.status_code == httpx.codes.OK and len(answer.json()["outputs"][0]["data"]) == 3


def _check_the_rest(data: Path) -> None:
    """Nothing half done is left; of each name there is one version."""
    until(lambda: not any((data / "work").iterdir()), PATIENCE_S)
    assert [path.name for path in (data / "models").glob("*/*/") if path.name != "1"] == []


if __name__ == "__main__":
    main()
