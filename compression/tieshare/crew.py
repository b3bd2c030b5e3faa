"""Where a job trains. Several points are retrained at once, each by a *hand*: a process, or a task.

A hand leaves what it made among the checkpoints of the job, where a job that goes on after a
crash looks for it too: so the job needs nothing else from it, and does itself what is missing.

    parent                                   child: python -m tieshare.crew
    one line of JSON, what to do     ->      standard input, which stays open as long as it lives
    standard output                  <-      a line of JSON an epoch: {done, metrics}
"""

import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from queue import SimpleQueue
from typing import Any, Protocol

import torch

from tieshare.channel import take_standard_output
from tieshare.checkpoint import Checkpoints
from tieshare.job import Job
from tieshare.job_files import open_job, store
from tieshare.points import Points
from tieshare.progress import Narrator, Progress
from tieshare.search import Point
from tieshare.walk import Walked, walk

Metrics = Mapping[str, float]
Message = dict[str, Any]
Told = Callable[[int, Metrics], None]
"""Hears, an epoch of any point, how many epochs all have done, and its metrics."""

_MOST_AT_ONCE = 4


class Hand(Protocol):
    """What retrains one point, from when it was made on."""

    point: Point

    def messages(self) -> Iterator[Message]:
        """{done, metrics} after each epoch, until it has ended, in whatever way."""

    def stop(self) -> None:
        """Have it ended."""


class Crew(Protocol):
    """Where a job trains."""

    def walk(self, job: Job, /) -> Walked:
        """The path, from its first epoch or from where it was cut off."""

    def room(self, job: Job, /) -> int:
        """How many points it can retrain at once."""

    def retrain(
        self, job: Job, layers: Collection[str], points: Sequence[Point], told: Told
    ) -> None:
        """Retrain each point; ``layers`` may be tied.

        The path has been walked: what a job decides once, such as ``Job.start``, is a checkpoint
        by now, which hands that began without it would all write.
        """


class Processes:
    """A process for each point, on the cores of this one; the path is walked in this."""

    def walk(self, job: Job, /) -> Walked:
        """As ``Crew``'s."""
        return walk(job)

    def room(self, job: Job, /) -> int:
        """As many as there are threads, up to four; a GPU is one, and full."""
        return 1 if job.device.type != "cpu" else min(torch.get_num_threads(), _MOST_AT_ONCE)

    def retrain(
        self, job: Job, layers: Collection[str], points: Sequence[Point], told: Told
    ) -> None:
        """As ``Crew``'s; the threads of this process are divided among them."""
        folder, threads = stored(job), max(1, torch.get_num_threads() // len(points))
        follow([partial(Child, folder, layers, point, threads) for point in points], told)


class Child:
    """A hand that is a process of ``threads`` threads, for the job stored in ``folder``."""

    def __init__(self, folder: Path, layers: Collection[str], point: Point, threads: int) -> None:
        self.point = point
        self._process = subprocess.Popen(
            # -P: the folder that the caller was started in holds no modules of ours.
            [sys.executable, "-P", "-m", "tieshare.crew"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "OMP_NUM_THREADS": str(threads), "OMP_WAIT_POLICY": "PASSIVE"},
        )
        spec = Spec(str(folder), tuple(layers), asdict(point))
        if self._process.stdin is not None:
            with suppress(BrokenPipeError):  # it ended: the caller finds nothing made
                self._process.stdin.write(json.dumps(asdict(spec)) + "\n")
                self._process.stdin.flush()

    def messages(self) -> Iterator[Message]:
        """As ``Hand``'s."""
        if self._process.stdout is not None:
            with self._process.stdout as lines:
                for line in lines:
                    yield json.loads(line)

    def stop(self) -> None:
        """As ``Hand``'s."""
        self._process.kill()
        self._process.wait()
        if self._process.stdin is not None:
            with suppress(BrokenPipeError):  # of what it did not read
                self._process.stdin.close()


def follow(
    start: Sequence[Callable[[], Hand]],
    told: Told,
    next_of: Callable[[Hand], Hand | None] = lambda _: None,
) -> None:
    """Start hands and hear them until all have ended; none goes on when this returns or raises.

    ``next_of``  the hand that begins because this one has ended, if any does.
    """
    heard: SimpleQueue[tuple[Hand, Message | None]] = SimpleQueue()
    done: dict[Point, int] = {}
    hands: list[Hand] = []

    def listen(hand: Hand) -> None:
        try:
            for message in hand.messages():
                heard.put((hand, message))
        finally:
            heard.put((hand, None))

    def begin(hand: Hand) -> None:
        hands.append(hand)
        threading.Thread(target=listen, args=(hand,), daemon=True).start()

    try:
        for make in start:
            begin(make())
        alive = len(hands)
        while alive:
            hand, message = heard.get()
            if message is not None:
                done[hand.point] = message["done"]
                told(sum(done.values()), message["metrics"])
            elif (another := next_of(hand)) is not None:
                begin(another)
            else:
                alive -= 1
    finally:
        for hand in hands:
            hand.stop()


def stored(job: Job) -> Path:
    """The folder in which other processes find the job, with its checkpoints around it."""
    folder = job.checkpoints.folder / "job"
    store(job, folder)
    return folder


@dataclass(frozen=True)
class Spec:
    """``folder``: of the stored job, whose checkpoints lie around it. ``layers`` may be tied."""

    folder: str
    layers: tuple[str, ...]
    point: dict[str, Any]


def main() -> None:
    """Retrain the point of the specification on standard input."""
    spec = Spec(**json.loads(sys.stdin.readline()))
    threading.Thread(target=_die_with_the_parent, daemon=True).start()
    channel = take_standard_output()

    def tell(progress: Progress) -> None:
        message = {"done": progress.done, "metrics": progress.metrics}
        channel.write(json.dumps(message).encode() + b"\n")

    folder = Path(spec.folder)
    job = open_job(folder, Checkpoints(folder.parent), Narrator(tell))
    Points(job, spec.layers).train(Point(**spec.point))


def _die_with_the_parent() -> None:
    sys.stdin.read()
    os._exit(1)


if __name__ == "__main__":
    main()
