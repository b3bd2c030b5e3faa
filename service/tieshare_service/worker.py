"""The worker: claims one job after another and sees each through in a child process."""

import logging
import os
import secrets
import shutil
import signal
import socket
import time
from types import FrameType

from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError

from tieshare_service.attempt import Attempt, Tools
from tieshare_service.blobs import Blobs
from tieshare_service.database import open_database
from tieshare_service.errors import NoSuchJob
from tieshare_service.liveness import Liveness
from tieshare_service.publish import Publisher
from tieshare_service.queue import Queue
from tieshare_service.records import ENDED
from tieshare_service.settings import Settings
from tieshare_service.shelf import shelf_of

_PAUSE_AFTER_ERROR_S = 1.0
_log = logging.getLogger("tieshare.worker")


class Patience:
    """``with`` it, a failing disk or database is waited out; told once, until it works again.

    Or the log of a full disk would fill it.
    """

    def __init__(self, who: str) -> None:
        self._who = who
        self._told: type[BaseException] | None = None

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> bool:
        """Swallow what may pass."""
        if kind is None or not issubclass(kind, SQLAlchemyError | OSError):
            self._told = None
            return False
        if kind is not self._told:
            _log.error("%s goes on after an error", self._who, exc_info=True)
        self._told = kind
        time.sleep(_PAUSE_AFTER_ERROR_S)
        return True


class Worker:
    """One worker; run it in the main thread of its own process."""

    def __init__(self, settings: Settings, engine: Engine, name: str | None = None) -> None:
        self.name = name or f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(2)}"
        self._settings = settings
        self._stopping = False
        self._queue = Queue(engine, time.time, max_attempts=settings.max_attempts)
        self._liveness = Liveness(engine, time.time)
        self._tools = Tools(
            settings=settings,
            queue=self._queue,
            blobs=Blobs.of(settings),
            publisher=Publisher(engine, shelf_of(settings)),
            stopping=lambda: self._stopping,
            beat=lambda: self._liveness.beat(self.name),
        )
        self._next_round = 0.0

    def stop(self) -> None:
        """End soon: the job in hand goes back in line."""
        self._stopping = True

    def run(self) -> None:
        """Work until stopped."""
        self.startup()
        try:
            self.main_loop()
        finally:
            self.shutdown()

    def run_one(self) -> None:
        """Do one job, if there is one. Raises SQLAlchemyError, OSError: the job comes back."""
        self.startup()
        try:
            self._work_once()
        finally:
            self.shutdown()

    def startup(self) -> None:
        """Make room; the first round tells that this worker is alive."""
        self._settings.work_dir.mkdir(parents=True, exist_ok=True)
        _log.info("worker %s starts", self.name)

    def main_loop(self) -> None:
        """One job after another. After an error the job in hand comes back, by its lease."""
        patience = Patience(f"worker {self.name}")
        while not self._stopping:
            with patience:
                if not self._work_once():
                    time.sleep(self._settings.poll_s)

    def shutdown(self) -> None:
        """Tell that this worker is gone."""
        try:
            self._liveness.leave(self.name)
        except SQLAlchemyError:
            _log.exception("worker %s could not say that it is gone", self.name)
        _log.info("worker %s ends", self.name)

    def _work_once(self) -> bool:
        if time.monotonic() >= self._next_round:
            self._liveness.beat(self.name)
            self._remove_work_of_ended_jobs()
            self._next_round = time.monotonic() + self._settings.heartbeat_s
        job = self._queue.claim(self.name, self._settings.lease_s)
        if job is None:
            return False
        _log.info("%s attempt %d is claimed", job.id, job.attempt)
        Attempt(job, self._tools).run()
        return True

    def _remove_work_of_ended_jobs(self) -> None:
        """A job that ended while no worker held it has left its folder behind."""
        for folder in self._settings.work_dir.iterdir():
            try:
                ended = self._queue.get(folder.name).status in ENDED
            except NoSuchJob:
                ended = True
            if ended:
                shutil.rmtree(folder, ignore_errors=True)


def run(settings: Settings) -> None:
    """Be a worker until SIGTERM or SIGINT."""
    engine = open_database(settings.database)
    worker = Worker(settings, engine)

    def stop(_: int, __: FrameType | None) -> None:
        worker.stop()

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    try:
        worker.run()
    finally:
        engine.dispose()
