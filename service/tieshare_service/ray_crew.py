"""A job on the Ray cluster that it runs on: members of its path, and points of its front, as tasks.

One point is retrained here, on the cores that the job has anyway, and the others wait for room on
the cluster: so a job gets on where there is none. When that is done one that still waits is next.

    job                                   task, on any node
    the stored job and the checkpoints  ->  a folder of its own, and a process that retrains in it
    a message an epoch, then files      <-  what it left among the checkpoints
"""

import logging
from collections.abc import Collection, Iterator, Sequence
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
from tieshare.walk import Walked, walk
from tieshare_service.ray_files import Files, Place, files_of, unpacked
from tieshare_service.ray_team import walk_together
from tieshare_service.settings import Settings

_MOST_AT_ONCE = 8
_log = logging.getLogger("tieshare.ray")


def compress(
    model: Path,
    data: Dataset | Path,
    recipe: Recipe | None = None,
    listener: Listener = silent,
    checkpoint_dir: Path | None = None,
) -> "tieshare.Result":
    """As ``tieshare.compress``, wherever the cluster has room."""
    rooms = None if checkpoint_dir is None else checkpoint_dir.with_name("rooms")
    crew = RayCrew(Place(Settings.from_env(), rooms))
    return tieshare.compress(model, data, recipe, listener, checkpoint_dir, crew)


class RayCrew:
    """A ``Crew`` for one job, whose points and members get as much of the cluster as the job."""

    def __init__(self, place: Place) -> None:
        self._place = place
        self._shipped: Any = None

    @cached_property
    def _ray(self) -> Any:
        import ray  # noqa: PLC0415 - takes a second, and short jobs have no use for it

        if not ray.is_initialized():
            ray.init(address="auto", log_to_driver=False, logging_level=logging.WARNING)
        return ray

    def walk(self, job: Job, /) -> Walked:
        """As ``Crew``'s."""
        if job.recipe.workers == 1:
            return walk(job)
        return walk_together(self._ray, job, self._ship(job), self._place)

    def room(self, _: Job, /) -> int:
        """One here, and as many as the cluster has room for now."""
        return min(1 + self._place.fits(self._ray.available_resources()), _MOST_AT_ONCE)

    def retrain(
        self, job: Job, layers: Collection[str], points: Sequence[Point], told: Told
    ) -> None:
        """As ``Crew``'s. A point whose node dies is missing afterwards."""
        folder, threads = stored(job), torch.get_num_threads()
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
        task = self._ray.remote(_retrain).options(num_returns="streaming", **self._place.options)
        needed = files_of(job.checkpoints.paths(checkpoints_of(point)))
        place = self._place
        given = self._ship(job), needed, tuple(layers), point, place.threads, place.rooms
        return task.remote(*given)

    def _ship(self, job: Job) -> Any:
        """The stored job among Ray's objects, once for all tasks."""
        if self._shipped is None:
            self._shipped = self._ray.put(files_of(stored(job).iterdir()))
        return self._shipped


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
    with unpacked(job, needed, rooms) as folder:
        child = Child(folder, layers, point, threads)
        try:
            yield from child.messages()
        finally:
            child.stop()
        made = Checkpoints(folder.parent).paths(checkpoints_of(point))
        yield {"files": files_of(path for path in made if path.name not in needed)}
