"""Points of a job's front as tasks of the Ray cluster that the job itself runs on.

One point is retrained here, on the cores that the job has anyway, and the others wait for room on
the cluster: so a job gets on where there is none. When that is done one that still waits is next.

    job                                   task, on any node
    the stored job and the checkpoints  ->  a folder of its own, and a process that retrains in it
    a message an epoch, then files      <-  what it left among the checkpoints
"""

import logging
import tempfile
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import torch

import tieshare
from tieshare.checkpoint import Checkpoints
from tieshare.crew import Child, Hand, Message, Told, follow, stored
from tieshare.data import Dataset
from tieshare.job import Job
from tieshare.points import checkpoints_of
from tieshare.progress import Listener, silent
from tieshare.recipe import Recipe
from tieshare.search import Point
from tieshare_service.settings import Settings

_MOST_AT_ONCE = 8
_log = logging.getLogger("tieshare.ray")

Files = Mapping[str, bytes]


def compress(
    model: Path,
    data: Dataset | Path,
    recipe: Recipe | None = None,
    listener: Listener = silent,
    checkpoint_dir: Path | None = None,
) -> "tieshare.Result":
    """As ``tieshare.compress``, with points retrained wherever the cluster has room."""
    rooms = None if checkpoint_dir is None else checkpoint_dir.with_name("points")
    crew = RayCrew(Settings.from_env(), rooms)
    return tieshare.compress(model, data, recipe, listener, checkpoint_dir, crew)


class RayCrew:
    """A ``Crew`` for one job, whose points get as much of the cluster as the job itself.

    ``rooms``: where a node may keep the files of a point, in the job's own folder, which a worker
    clears away after a job that ended badly.
    """

    def __init__(self, settings: Settings, rooms: Path | None = None) -> None:
        self._settings, self._rooms = settings, rooms
        self._shipped: Any = None

    @cached_property
    def _ray(self) -> Any:
        import ray  # noqa: PLC0415 - takes a second, and short jobs have no use for it

        if not ray.is_initialized():
            ray.init(address="auto", log_to_driver=False, logging_level=logging.WARNING)
        return ray

    @property
    def _resources(self) -> dict[str, float]:
        """Of one point, by the names that Ray has for them."""
        asked = {
            "CPU": self._settings.threads,
            "GPU": self._settings.job_gpus,
            "memory": self._settings.job_memory_bytes,
        }
        return {name: float(amount) for name, amount in asked.items() if amount}

    def room(self, _: Job, /) -> int:
        """One here, and as many as the cluster has room for now."""
        free = self._ray.available_resources()
        there = min(int(free.get(name, 0) // amount) for name, amount in self._resources.items())
        return min(1 + there, _MOST_AT_ONCE)

    def retrain(
        self, job: Job, layers: Collection[str], points: Sequence[Point], told: Told
    ) -> None:
        """As ``Crew``'s. A point whose node dies is missing afterwards."""
        folder, threads = stored(job), torch.get_num_threads()
        if self._shipped is None:
            self._shipped = self._ray.put(_read(folder.iterdir()))
        tasks = []

        def there(point: Point) -> Hand:
            tasks.append(Task(self._ray, self._start(job, layers, point), job, point))
            return tasks[-1]

        def next_of(ended: Hand) -> Hand | None:
            waiting = [task for task in tasks if not task.begun]
            if isinstance(ended, Task) or not waiting:
                return None
            waiting[-1].stop()
            return Child(folder, layers, waiting[-1].point, threads)

        here = partial(Child, folder, layers, points[0], threads)
        follow([here, *(partial(there, point) for point in points[1:])], told, next_of)

    def _start(self, job: Job, layers: Collection[str], point: Point) -> Any:
        resources = self._resources
        task = self._ray.remote(_retrain).options(
            num_returns="streaming",
            num_cpus=resources["CPU"],
            num_gpus=resources.get("GPU", 0),
            memory=resources.get("memory"),
            max_retries=0,
        )
        needed = _read(job.checkpoints.paths(checkpoints_of(point)))
        layers, threads = tuple(layers), self._settings.threads
        return task.remote(self._shipped, needed, layers, point, threads, self._rooms)


class Task:
    """A ``Hand`` that is a task of the cluster."""

    def __init__(self, ray: Any, stream: Any, job: Job, point: Point) -> None:
        self.point = point
        self.begun = False
        self._ray, self._stream, self._job = ray, stream, job

    def messages(self) -> Iterator[Message]:
        """As ``Hand``'s; what was made is among the job's checkpoints when it ends."""
        try:
            for one in self._stream:
                message = self._ray.get(one)
                self.begun = True
                if "files" in message:
                    self._job.checkpoints.put(message["files"])
                elif message:
                    yield message
        except self._ray.exceptions.TaskCancelledError:
            return
        except self._ray.exceptions.RayError:
            _log.warning("a point is made anew: its task failed", exc_info=True)

    def stop(self) -> None:
        """As ``Hand``'s."""
        self.begun = True
        with suppress(self._ray.exceptions.RayError):
            self._ray.cancel(self._stream)


def _retrain(
    job: Files,
    needed: Files,
    layers: tuple[str, ...],
    point: Point,
    threads: int,
    rooms: Path | None,
) -> Iterator[dict[str, Any]]:
    """On a node: {} at first, then the messages of a ``Child``, and the files that it left."""
    yield {}
    if rooms is not None:
        rooms.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="tieshare-", dir=rooms) as room:
        folder = Path(room) / "job"
        folder.mkdir()
        for place, files in ((folder, job), (folder.parent, needed)):
            for name, data in files.items():
                (place / name).write_bytes(data)
        child = Child(folder, layers, point, threads)
        try:
            yield from child.messages()
        finally:
            child.stop()
        made = Checkpoints(folder.parent).paths(checkpoints_of(point))
        yield {"files": _read(path for path in made if path.name not in needed)}


def _read(paths: Iterable[Path]) -> Files:
    return {path.name: path.read_bytes() for path in paths}
