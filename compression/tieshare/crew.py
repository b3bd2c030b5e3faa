"""Several points are retrained at once, each in a process of its own.

A process leaves what it made among the checkpoints of the job, where a job that goes on after a
crash looks for it too: so this one needs nothing else from it, and does itself what is missing.

    parent                                   child: python -m tieshare.crew
    one line of JSON, what to do     ->      standard input, which stays open as long as it lives
    standard output                  <-      a line of JSON an epoch: {done, metrics}
"""

import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from queue import SimpleQueue
from typing import IO, Any

from tieshare.channel import take_standard_output
from tieshare.checkpoint import Checkpoints
from tieshare.job_files import open_job
from tieshare.points import Points
from tieshare.progress import Narrator, Progress
from tieshare.search import Point

Metrics = Mapping[str, float]


@dataclass(frozen=True)
class Spec:
    """``folder``: of the stored job, whose checkpoints lie around it. ``layers`` may be tied."""

    folder: str
    layers: tuple[str, ...]
    point: dict[str, Any]


def retrain_at_once(
    folder: Path,
    layers: Collection[str],
    points: Sequence[Point],
    threads: int,
    told: Callable[[int, Metrics], None],
) -> None:
    """Retrain each point of the job that is stored in ``folder``, with so many threads in all.

    The path has been walked: what a job decides once, such as ``Job.start``, is a checkpoint by
    now, which processes that began without it would all write.

    ``told`` hears, an epoch of any of them, how many epochs all have done, and its metrics.
    """
    heard: SimpleQueue[tuple[int, dict[str, Any] | None]] = SimpleQueue()
    done = dict.fromkeys(range(len(points)), 0)
    running: list[subprocess.Popen[str]] = []
    try:
        for place, point in enumerate(points):
            spec = Spec(str(folder), tuple(layers), asdict(point))
            running.append(_start(spec, max(1, threads // len(points))))
            listener = threading.Thread(
                target=_listen, args=(running[-1].stdout, place, heard), daemon=True
            )
            listener.start()
        alive = len(points)
        while alive:
            place, message = heard.get()
            if message is None:
                alive -= 1
                continue
            done[place] = message["done"]
            told(sum(done.values()), message["metrics"])
    finally:
        for process in running:
            process.kill()
            process.wait()
            if process.stdin is not None:
                with suppress(BrokenPipeError):  # of what it did not read
                    process.stdin.close()


def _start(spec: Spec, threads: int) -> "subprocess.Popen[str]":
    process = subprocess.Popen(
        # -P: the folder that the caller was started in holds no modules of ours.
        [sys.executable, "-P", "-m", "tieshare.crew"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": str(threads), "OMP_WAIT_POLICY": "PASSIVE"},
    )
    with suppress(BrokenPipeError):  # it ended: the caller finds nothing made
        if process.stdin is not None:
            process.stdin.write(json.dumps(asdict(spec)) + "\n")
            process.stdin.flush()
    return process


def _listen(output: IO[str], place: int, heard: "SimpleQueue[Any]") -> None:
    with output:
        for line in output:
            heard.put((place, json.loads(line)))
    heard.put((place, None))


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
