"""The path of one job, walked by several processes of a Ray cluster in step.

job, the first member                     task, another member, on any node
a store at an address of its node     ->  counts itself in
how many have come by now             ->  who came later leaves
the stored job and its checkpoints    ->  walks the same path, each with its part of each batch
"""

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist

from tieshare.checkpoint import Checkpoints
from tieshare.job import Job
from tieshare.job_files import open_job
from tieshare.progress import Narrator, silent
from tieshare.rearm import NORMS
from tieshare.team import ALONE, Team, TeamLost
from tieshare.walk import PATH, Walked, walk
from tieshare_service.ray_files import Files, Place, files_of, unpacked

_GATHERING_S = 30.0
_TURN_S = 0.1
_SILENCE = timedelta(minutes=5)  # of a member, after which it is lost
_MEMBERS, _SIZE = "members", "size"
_log = logging.getLogger("tieshare.ray")


def walk_together(ray: Any, job: Job, shipped: Any, place: Place) -> Walked:
    """``walk`` with as many members as the recipe asks for, if there is room for them.

    ``shipped``: the files of the stored job, among Ray's objects.
    When a member is lost, the others leave, and this one goes on alone from the last epoch.
    """
    wanted = min(job.recipe.workers, job.trainer.batch)
    if wanted > 1:
        try:
            checkpoints = files_of(job.checkpoints.paths([NORMS, PATH]))
            with _gathered(ray, (shipped, checkpoints), place, wanted - 1):
                job.trainer.team = Team()
                return walk(job)
        except TeamLost:
            _log.warning("the path goes on in one process", exc_info=True)
        finally:
            job.trainer.team = ALONE
    return walk(job)


@contextmanager
def _gathered(ray: Any, files: tuple[Any, Files], place: Place, others: int) -> Iterator[None]:
    """This process is the first of a group with up to so many ``others``, who get the files."""
    address = ray.util.get_node_ip_address()
    store = _store(address, 0, first=True)
    start = ray.remote(_walk_along).options(**place.options)
    given = *files, (address, store.port), place.threads, place.rooms
    tasks = [start.remote(*given) for _ in range(others)]
    try:
        until = time.monotonic() + _GATHERING_S
        while store.add(_MEMBERS, 0) < others and time.monotonic() < until:
            time.sleep(_TURN_S)
        size = 1 + store.add(_MEMBERS, 0)
        store.set(_SIZE, str(size))
        _log.info("%d of %d members walk the path", size, 1 + others)
        with _group(store, 0, size):
            yield
    finally:
        for task in tasks:
            with suppress(ray.exceptions.RayError):
                ray.cancel(task)


def _walk_along(
    shipped: Files,
    checkpoints: Files,
    address: tuple[str, int],
    threads: int,
    rooms: Path | None,
) -> None:
    """On a node: be a member, if the others have not begun."""
    store = _store(*address, first=False)
    rank = store.add(_MEMBERS, 1)
    size = int(store.get(_SIZE))
    if rank >= size:
        return
    torch.set_num_threads(threads)
    with unpacked(shipped, checkpoints, rooms) as folder, _group(store, rank, size):
        job = open_job(folder, Checkpoints(folder.parent), Narrator(silent))
        job.trainer.team = Team()
        with suppress(TeamLost):
            walk(job)


def _store(host: str, port: int, *, first: bool) -> Any:
    made = dist.TCPStore  # type: ignore[attr-defined]
    return made(host, port, is_master=first, timeout=_SILENCE, wait_for_workers=False)


@contextmanager
def _group(store: Any, rank: int, size: int) -> Iterator[None]:
    """Torch's default process group."""
    dist.init_process_group("gloo", store=store, rank=rank, world_size=size, timeout=_SILENCE)
    try:
        yield
    finally:
        dist.destroy_process_group()
