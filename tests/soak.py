"""A service under mixed load for a while, and what it holds meanwhile: ``make soak``.

    python -m tests.soak [--minutes 30] [--seed 0]

Users upload models, each in one request, and data, each in several, and submit jobs, which train.
They cancel some, put other points of a front into service, and take away what they
sent; versions of served models come from that all the time. Others ask those models. Allowed is
what is promised: 404 where there is no such model yet, 503 with Retry-After where too much waits.

    memory, open files and threads of each role are as many in the last third as in the first
    when all have gone, no process is left but the roles, and no temporary file
"""

import argparse
import os
import random
import statistics
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from unittest.mock import patch

import httpx
import psutil
from tests import hostile
from tests.serving import QUICK, Serving, serving

from tieshare_service.client import Client, JobCancelled, Problem, stored

ROLES = ("api", "worker", "inference")
NAMES = tuple(f"net-{number}" for number in range(4))
LARGE = 1024  # bytes: data sets are sent in several requests, models in one
USERS = 2
EVERY_S = 2.0
GROWTH, SPARE_MIB = 1.1, 16.0  # of memory; one worse than this is a leak
SPARE = 8  # files and threads
REST_S = 60.0


@dataclass(frozen=True)
class Held:
    """By one role at one moment."""

    mib: float
    files: int
    threads: int


class Soak:
    """All that goes on with one service until ``until`` (on the monotonic clock)."""

    def __init__(self, service: Serving, until_: float) -> None:
        self._service = service
        self._until = until_
        self.done: Counter[str] = Counter()
        self.held: dict[str, list[Held]] = {role: [] for role in ROLES}

    @property
    def _going(self) -> bool:
        return time.monotonic() < self._until

    def user(self, seed: int) -> None:
        """One after another: a model, data, a job, and what may be done with it."""
        draw = random.Random(seed)  # noqa: S311
        with Client(self._service.api) as client:
            while self._going:
                name = draw.choice(NAMES)
                model = hostile.digits()
                model.doc_string = f"{draw.random()}"
                sent = client.models.create(model.SerializeToString(), name)
                data = client.datasets.create(hostile.samples(draw.getrandbits(32), 120), name)
                job = client.jobs.submit(sent.id, data.id, name=name, recipe=QUICK)
                if draw.random() < 0.25:
                    time.sleep(draw.uniform(0, 6))
                    self._try("cancel", partial(client.jobs.cancel, job.id), 409)
                try:
                    front = client.jobs.wait(job.id).front
                    assert front is not None
                    self.done["succeeded"] += 1
                    self._try("publish", partial(client.jobs.publish, job.id, front[-1].point))
                except JobCancelled:
                    self.done["cancelled"] += 1
                self._try("delete a model", partial(client.models.delete, sent.id), 409)
                if draw.random() < 0.5:
                    self._try("delete a job", partial(client.jobs.delete, job.id, withdraw=True))

    def asker(self, seed: int) -> None:
        """Ask one model after another."""
        draw = random.Random(seed)  # noqa: S311
        tensor = {"name": "x", "datatype": "FP32", "shape": [2, 4], "data": [0.5] * 8}
        with httpx.Client(base_url=self._service.inference) as client:
            while self._going:
                place = f"/v2/models/{draw.choice(NAMES)}/infer"
                answer = client.post(place, json={"inputs": [tensor]})
                assert answer.status_code in (200, 404, 503), answer.text
                if answer.status_code == httpx.codes.OK:
                    assert answer.json()["outputs"][0]["shape"] == [2, 3]
                self.done[f"answer {answer.status_code}"] += 1
                time.sleep(0.02)

    def watch(self) -> None:
        """What each role holds, now and then."""
        while self._going:
            for role, seen in self.held.items():
                process = psutil.Process(self._service.pid(role))
                mib = process.memory_info().rss / 2**20
                seen.append(Held(mib, process.num_fds(), process.num_threads()))
            time.sleep(EVERY_S)

    def _try(self, what: str, call: Callable[[], object], *allowed: int) -> None:
        try:
            call()
        except Problem as problem:
            if problem.status not in allowed:
                raise
            what = f"{what} {problem.status}"
        self.done[what] += 1


def main() -> None:
    """Go on for that long, and tell what was done and held."""
    parser = argparse.ArgumentParser(prog="python -m tests.soak")
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--seed", type=int, default=0)
    flags = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        temporary = Path(folder) / "tmp"
        temporary.mkdir()
        os.environ.update(TMPDIR=str(temporary), TIESHARE_POLL_S="0.1")
        os.environ["TORCHINDUCTOR_CACHE_DIR"] = folder  # torch makes it, and keeps it
        data = Path(folder) / "data"
        with serving(data, "--threads", 1) as service, patch.object(stored, "LARGE", LARGE):
            soak = Soak(service, time.monotonic() + 60 * flags.minutes)
            works: list[Callable[[], None]] = [soak.watch, partial(soak.asker, flags.seed)]
            works += [partial(soak.user, flags.seed + number) for number in range(USERS)]
            with ThreadPoolExecutor() as pool:
                for work in [pool.submit(work) for work in works]:
                    work.result()
            print(dict(sorted(soak.done.items())))  # noqa: T201
            left = _left_at_rest(service, data, temporary)
        flat = [_flat(role, seen) for role, seen in soak.held.items()]
    assert not left, left
    assert all(flat)
    print("nothing grew, nothing was left")  # noqa: T201


def _left_at_rest(service: Serving, data: Path, temporary: Path) -> list[str]:
    """What does not go within a minute, though all work has ended."""
    ends = time.monotonic() + REST_S
    while (left := _left(service, data, temporary)) and time.monotonic() < ends:
        time.sleep(1)
    return left


def _left(service: Serving, data: Path, temporary: Path) -> list[str]:
    """Processes that are no role, files that are on their way somewhere."""
    roles = [service.pid(role) for role in ROLES]
    children = psutil.Process(service.process.pid).children(recursive=True)
    processes = [str(child) for child in children if child.pid not in roles]
    files = [*temporary.iterdir(), *(data / "work").glob("*"), *(data / "tmp").glob("*")]
    files += data.glob("partial/*/bytes")
    files += data.glob("models/*/.*")
    return processes + [str(path.relative_to(data.parent)) for path in files]


def _flat(role: str, seen: list[Held]) -> bool:
    third = len(seen) // 3
    first, last = (
        Held(*(statistics.median(values) for values in zip(*map(_values, part), strict=True)))
        for part in (seen[:third], seen[-third:])
    )
    print(f"{role}: {first} in the first third, {last} in the last")  # noqa: T201
    memory = last.mib <= max(GROWTH * first.mib, first.mib + SPARE_MIB)
    return memory and last.files <= first.files + SPARE and last.threads <= first.threads + SPARE


def _values(held: Held) -> tuple[float, int, int]:
    return held.mib, held.files, held.threads


if __name__ == "__main__":
    main()
