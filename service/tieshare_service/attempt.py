"""One attempt at one job, from the claim to the status that it ends in.

A crash at any line is mended by the next attempt: training goes on from its checkpoints; once
``out`` is there it is not done again; artifacts are put and the version is published anew, with
the same bytes under the same names; and only then does one transaction end the job.
"""

import json
import logging
import shutil
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any, Literal

from tieshare_service.blobs import Blobs, upload_key
from tieshare_service.child import Spec
from tieshare_service.errors import LeaseLost, NoSuchJob
from tieshare_service.publish import Point, Publisher
from tieshare_service.queue import Queue
from tieshare_service.records import HELD, Job, Json
from tieshare_service.settings import Settings
from tieshare_service.training import Message, Training

MODEL = "shared.onnx"
REPORT = "report.json"
TELL_S = 0.5

Ending = Literal["result", "cancel", "hand back"] | Json
_log = logging.getLogger("tieshare.worker")


@dataclass(frozen=True)
class Tools:
    """What an attempt works with. ``stopping`` and ``beat`` are the worker's."""

    settings: Settings
    queue: Queue
    blobs: Blobs
    publisher: Publisher
    stopping: Callable[[], bool]
    beat: Callable[[], None]


class Attempt:
    """Does a job that this worker has just claimed."""

    def __init__(self, job: Job, tools: Tools) -> None:
        self._job = job
        self._tools = tools
        self._queue = tools.queue
        self._settings = tools.settings
        folder = tools.settings.work_dir.absolute() / job.id
        self._folder = folder
        self._spec = Spec(
            runner=tools.settings.runner,
            model=upload_key("models", job.model_id),
            dataset=upload_key("datasets", job.dataset_id),
            recipe=job.recipe,
            folder=str(folder),
            attempt=job.attempt,
            data_dir=str(tools.settings.data_dir.absolute()),
            blobs=tools.settings.blobs,
        )

    def run(self) -> None:
        """Work until the job has ended, was handed back, or belongs to someone else."""
        job = self._job
        try:
            ending: Ending = "result" if self._spec.out.is_dir() else self._train()
            if ending == "hand back":
                after = self._queue.release(job.id, job.attempt)
            elif ending == "cancel":
                after = self._queue.cancelled(job.id, job.attempt)
            elif ending == "result":
                after = self._finish()
            else:
                after = self._queue.fail(job.id, job.attempt, ending)
        except (LeaseLost, NoSuchJob):  # another attempt has it, or has ended it: it may be deleted
            _log.warning("%s attempt %d lost its lease", job.id, job.attempt)
            return
        _log.info("%s attempt %d is %s", job.id, job.attempt, after.status)
        if after.status != "queued":
            shutil.rmtree(self._folder, ignore_errors=True)

    def _train(self) -> Ending:
        self._spec.checkpoints.mkdir(parents=True, exist_ok=True)
        for left in self._folder.glob("unfinished.*"):
            shutil.rmtree(left, ignore_errors=True)
        training = Training(self._spec, self._settings.threads)
        _log.info("%s attempt %d trains as %d", self._job.id, self._job.attempt, training.pid)
        try:
            return self._follow(training)
        finally:
            training.stop(self._settings.stop_s)

    def _follow(self, training: Training) -> Ending:
        job = self._job
        failed: Json | None = None
        teller = _Teller(
            lambda step: self._queue.progress(job.id, job.attempt, step),
            lambda front: self._queue.front(job.id, job.attempt, front),
        )
        beat_at = time.monotonic() + self._settings.heartbeat_s
        while not training.ended:
            for message in training.messages(self._settings.poll_s):
                failed = message.get("failed", failed)
                teller.hear(message)
            teller.tell()
            if time.monotonic() >= beat_at:
                self._queue.beat(job.id, job.attempt, self._settings.lease_s)
                self._tools.beat()
                beat_at = time.monotonic() + self._settings.heartbeat_s
            if self._still_ours().cancel_requested:
                return "cancel"
            if self._tools.stopping():
                return "hand back"
        teller.tell(at_once=True)
        if self._spec.out.is_dir():
            return "result"
        return failed or {"type": "job-crashed", "message": training.ending()}

    def _still_ours(self) -> Job:
        """A read without a write: it sees a cancel long before the next beat."""
        job = self._queue.get(self._job.id)
        if job.attempt != self._job.attempt or job.status not in HELD:
            raise LeaseLost(self._job.id, self._job.attempt)
        return job

    def _finish(self) -> Job:
        """Put the artifacts, publish the model, end the job; each can be done again."""
        job = self._job
        made = []
        for path in sorted(self._spec.out.iterdir()):
            self._queue.beat(job.id, job.attempt, self._settings.lease_s)
            made.append(self._tools.blobs.put_artifact(job.id, path.name, path.read_bytes()))
        report: Any = json.loads((self._spec.out / REPORT).read_bytes())
        # Points of a result that an earlier version left behind have no number.
        front = [point for point in report.get("front", []) if "point" in point]
        model = (self._spec.out / MODEL).read_bytes()
        publish = self._tools.publisher.publish
        served = publish(job.id, job.name, model, _chosen(front), job.tenant)
        if front and front != self._still_ours().front:
            self._queue.front(job.id, job.attempt, front)
        result = {
            "report": report,
            "artifacts": [artifact.name for artifact in made],
            "served": asdict(served),
        }
        return self._queue.succeed(job.id, job.attempt, result, made)


def _chosen(front: list[Json]) -> Point:
    return Point(next((point["point"] for point in front if point["chosen"]), None))


class _Teller:
    """Passes on every front, and the latest progress: a new stage at once, else every TELL_S."""

    def __init__(
        self, write: Callable[[Json], None], write_front: Callable[[list[Json]], None]
    ) -> None:
        self._write = write
        self._write_front = write_front
        self._waiting: Json | None = None
        self._stage = ""
        self._told_at = 0.0

    def hear(self, message: Message) -> None:
        """Keep the progress in a message, if there is any, and tell its front."""
        if "front" in message:
            self.tell(at_once=True)
            self._write_front(message["front"])
        step = message.get("progress")
        if step is None:
            return
        if self._waiting is not None and step["stage"] != self._waiting["stage"]:
            self.tell(at_once=True)
        self._waiting = step
        if step["stage"] != self._stage:
            self.tell(at_once=True)

    def tell(self, *, at_once: bool = False) -> None:
        """Write down what is waiting, if it is time."""
        if self._waiting is None:
            return
        if at_once or time.monotonic() - self._told_at >= TELL_S:
            self._write(self._waiting)
            self._stage = self._waiting["stage"]
            self._told_at = time.monotonic()
            self._waiting = None
