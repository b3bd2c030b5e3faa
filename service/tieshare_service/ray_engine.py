"""Jobs on a Ray cluster: where Ray has room, a worker is started for one job.

The job table stays the truth. Ray is told only that a worker is wanted, with so many cores, so much
memory and so many GPUs; the worker claims a job as every other one does, and keeps it by its lease.
A node that dies takes its workers with it, and their jobs come back when their leases run out.
"""

import itertools
import logging
import os
import secrets
import signal
import socket
import time
from collections.abc import Mapping
from dataclasses import replace
from types import FrameType
from typing import Any

from tieshare_service.database import open_database
from tieshare_service.errors import SettingsError
from tieshare_service.queue import Queue
from tieshare_service.settings import Settings
from tieshare_service.worker import Patience, Worker

MOST_WAITING = 100  # workers that Ray has no room for yet
RUNNER = "tieshare_service.ray_crew:compress"  # of jobs, if the settings name no other
_END_S = 8.0
_REACH_S = 5.0
_EXTRA = "Ray is not installed; pip install 'tieshare[ray]'"
_log = logging.getLogger("tieshare.ray")


class RayEngine:
    """Wants a worker of a cluster for each job that waits.

    SettingsError: Ray is not installed, or no cluster answers.
    """

    def __init__(self, settings: Settings, queue: Queue) -> None:
        try:
            import ray  # noqa: PLC0415 - an extra
        except ImportError as error:
            raise SettingsError(_EXTRA, where="engine") from error
        self._ray: Any = ray
        try:
            _reach(os.environ.get("RAY_ADDRESS", "auto"))
            # By RAY_ADDRESS, or else a cluster that this machine is part of.
            ray.init(address="auto", log_to_driver=False, logging_level=logging.WARNING)
        except (OSError, ValueError) as error:
            raise SettingsError(f"no Ray cluster answers: {error}", where="engine") from error
        self._settings = settings
        self._queue = queue
        # The folder is the same on all nodes, or each has its own of this name.
        runner = RUNNER if settings.runner == Settings.runner else settings.runner
        data_dir = settings.data_dir.absolute()
        self._environ = replace(settings, data_dir=data_dir, runner=runner).to_environ()
        self._work = ray.remote(_work).options(
            num_cpus=settings.threads,
            num_gpus=settings.job_gpus,
            memory=settings.job_memory_bytes or None,
            max_retries=0,
        )
        random = secrets.token_hex(2)
        self._names = (
            f"{socket.gethostname()}-ray-{os.getpid()}-{random}-{number}"
            for number in itertools.count(1)
        )
        self._flying: dict[Any, str] = {}
        self._stopping = False

    def stop(self) -> None:
        """End soon: jobs in hand go back in line."""
        self._stopping = True

    def run(self) -> None:
        """Work until stopped; a failing database is waited out."""
        patience = Patience("the engine")
        try:
            while not self._stopping:
                with patience:
                    self._round()
                    time.sleep(self._settings.poll_s)
        finally:
            self._recall()
            self._ray.shutdown()

    def _round(self) -> None:
        """One worker more for each job that waits and that none of those that come will take."""
        self._forget_ended()
        waiting, holders = self._queue.demand()
        idle = len(set(self._flying.values()) - holders)
        for _ in range(min(waiting, MOST_WAITING) - idle):
            name = next(self._names)
            self._flying[self._work.remote(self._environ, name)] = name

    def _forget_ended(self) -> None:
        flying = list(self._flying)
        ended, _ = (
            self._ray.wait(flying, num_returns=len(flying), timeout=0) if flying else ([], [])
        )
        for one in ended:
            name = self._flying.pop(one)
            try:
                self._ray.get(one)
            except self._ray.exceptions.RayError:
                _log.warning("worker %s is gone: its job comes back", name, exc_info=True)

    def _recall(self) -> None:
        """Have all workers hand their jobs back, and wait for that a while."""
        flying = list(self._flying)
        for one in flying:
            self._ray.cancel(one)
        if flying:
            self._ray.wait(flying, num_returns=len(flying), timeout=_END_S)


def _work(environ: Mapping[str, str], name: str) -> None:
    """On a node: be a worker for one job, if there is one still."""
    import ray  # noqa: PLC0415 - an extra

    # For the job's own process, which has its points retrained on the same cluster.
    os.environ.update(environ, RAY_ADDRESS=ray.get_runtime_context().gcs_address)
    settings = Settings.from_env()
    engine = open_database(settings.database)
    worker = Worker(settings, engine, name)

    def stop(_: int, __: FrameType | None) -> None:
        worker.stop()

    # Ray cancels a task by an interrupt of the main thread, which is the one that runs tasks.
    before = signal.signal(signal.SIGINT, stop)
    try:
        worker.run_one()
    finally:
        signal.signal(signal.SIGINT, before)
        engine.dispose()


def _reach(address: str) -> None:
    """Raise OSError, ValueError where nothing listens: Ray itself would wait for minutes."""
    if address in ("", "auto", "local"):
        return
    host, _, port = address.rpartition("/")[2].rpartition(":")
    socket.create_connection((host.strip("[]"), int(port)), _REACH_S).close()


def run(settings: Settings) -> None:
    """Start workers on the cluster until SIGTERM or SIGINT."""
    engine = open_database(settings.database)
    try:
        queue = Queue(engine, time.time, max_attempts=settings.max_attempts)
        workers = RayEngine(settings, queue)

        def stop(_: int, __: FrameType | None) -> None:
            workers.stop()

        signal.signal(signal.SIGTERM, stop)
        signal.signal(signal.SIGINT, stop)
        workers.run()
    finally:
        engine.dispose()
