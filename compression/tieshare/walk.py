"""Stage 1 from its first epoch, or from where it was cut off, to its end."""

from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass, replace

from tieshare.errors import RecipeError
from tieshare.job import Job
from tieshare.path_end import SMALLER, PathEnd
from tieshare.stage1 import RisingPath, Snapshot

_PARTS = 15  # a snapshot is kept after this part of the path in any case


@dataclass(frozen=True)
class Walked:
    """The snapshots that were kept, the largest network first, and the regularised layers."""

    snapshots: Sequence[Snapshot]
    layers: Collection[str]


def walk(job: Job) -> Walked:
    """Train along the path; arrays of a kept epoch E are stored as checkpoint ``epoch-E``."""
    saved = job.checkpoints.load("path")
    rate = job.rate if saved is None else saved["rate"]
    recipe, end = replace(job.recipe, learning_rate=rate), PathEnd.of(job)
    twin = job.twin(job.start)
    path = RisingPath(twin, job.structure, job.trainer, recipe, job.plan, end.last_ratio)
    kept: list[Snapshot] = []
    finished = False
    if saved is not None:
        path.restore(saved["path"])
        kept = [Snapshot(**item) for item in saved["kept"]]
        finished = saved["finished"]
    job.narrator.expect(job.plan.path_epochs, job.plan.stage2_epochs)
    job.narrator.restart()
    if saved is None:
        _save(job, path, kept, finished=False)
    while not finished:
        snapshot = _epoch(job, path, end)
        path.pace.lost(end.lost(snapshot))
        finished = path.done >= job.plan.path_epochs or end.reached([*kept, snapshot])
        if finished or not kept or _worth_keeping(job, snapshot, kept[-1]):
            job.checkpoints.save_arrays(f"epoch-{snapshot.epoch}", twin.tensors())
            kept.append(snapshot)
        _save(job, path, kept, finished=finished)
        metrics = {"compression_ratio": snapshot.ratio, "alive_rows": float(snapshot.alive_rows)}
        job.narrator.path(path.done, metrics | job.trainer.named(snapshot.score))
    layers = [layer.name for item in path.regularised for layer in item.layers]
    return Walked(kept, layers)


def _save(job: Job, path: RisingPath, kept: Sequence[Snapshot], *, finished: bool) -> None:
    state = {"path": path.state(), "rate": path.rate, "finished": finished}
    job.checkpoints.save("path", state | {"kept": [asdict(item) for item in kept]})


def _epoch(job: Job, path: RisingPath, end: PathEnd) -> Snapshot:
    """The next one; where it made the network worthless, the one before it once more.

    RecipeError: the recipe's learning rate is too large.
    """
    try:
        snapshot = path.epoch()
    except RecipeError:
        if job.recipe.learning_rate is not None:
            raise
    else:
        if not end.worthless(snapshot):
            return snapshot
    saved = job.checkpoints.load("path")
    assert saved is not None  # noqa: S101
    path.back(saved["path"])
    return path.snapshot()


def _worth_keeping(job: Job, snapshot: Snapshot, last: Snapshot) -> bool:
    waited = (snapshot.epoch - last.epoch) * _PARTS >= job.plan.path_epochs
    return waited or snapshot.ratio >= SMALLER * last.ratio
