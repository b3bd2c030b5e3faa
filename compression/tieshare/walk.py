"""Stage 1 from its first epoch, or from where it was cut off, to its end."""

from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass, replace

from tieshare.job import Job
from tieshare.search import FRONT_DROP
from tieshare.stage1 import RisingPath, Snapshot

_SMALLER = 1.12  # a snapshot is kept where the network is so much smaller than at the last
_PARTS = 15  # and after this part of the path in any case
_LOST_IN_ANY_CASE = 0.06  # the path ends where it lost more than this before retraining
_LOST_PER_DROP = 4.0  # and this multiple of what the result may lose
_JUDGED_TOO = 2  # kept networks, where there is batch norm


@dataclass(frozen=True)
class Walked:
    """The snapshots that were kept, the largest network first, and the regularised layers."""

    snapshots: Sequence[Snapshot]
    layers: Collection[str]


def walk(job: Job) -> Walked:
    """Train along the path; arrays of a kept epoch E are stored as checkpoint ``epoch-E``."""
    saved = job.checkpoints.load("path")
    rate = job.rate if saved is None else saved["rate"]
    recipe = replace(job.recipe, learning_rate=rate)
    twin = job.twin(job.start)
    path = RisingPath(twin, job.structure, job.trainer, recipe, job.plan)
    kept: list[Snapshot] = []
    finished = False
    if saved is not None:
        path.restore(saved["path"])
        kept, finished = [Snapshot(**item) for item in saved["kept"]], saved["finished"]
    job.narrator.expect(job.plan.path_epochs, job.plan.stage2_epochs)
    job.narrator.restart()
    while not finished:
        snapshot = path.epoch()
        before = kept if path.sizes else None
        finished = path.done >= job.plan.path_epochs or _far_enough(job, snapshot, before)
        if finished or not kept or _worth_keeping(job, snapshot, kept[-1]):
            job.checkpoints.save_arrays(f"epoch-{snapshot.epoch}", twin.tensors())
            kept.append(snapshot)
        state = {"path": path.state(), "rate": path.rate, "finished": finished}
        job.checkpoints.save("path", state | {"kept": [asdict(item) for item in kept]})
        metrics = {"compression_ratio": snapshot.ratio, "alive_rows": float(snapshot.alive_rows)}
        job.narrator.path(path.done, metrics | job.trainer.named(snapshot.score))
    layers = [layer.name for item in path.regularised for layer in item.layers]
    return Walked(kept, layers)


def _worth_keeping(job: Job, snapshot: Snapshot, last: Snapshot) -> bool:
    waited = (snapshot.epoch - last.epoch) * _PARTS >= job.plan.path_epochs
    return waited or snapshot.ratio >= _SMALLER * last.ratio


def _far_enough(job: Job, snapshot: Snapshot, kept: Sequence[Snapshot] | None) -> bool:
    """Whether the target lies behind: retraining brings back a few points, but not more.

    ``kept``: with batch norm, what was kept so far. A large rate then costs some score before
    anything shrinks, and now and then later, so that the smaller ones before it have to be as bad.
    """
    target, before = job.recipe.target, float(job.dense.mean())
    if target.min_ratio is not None:
        return snapshot.ratio >= target.min_ratio
    if target.max_bytes is not None:
        return snapshot.ratio >= job.model.ByteSize() / target.max_bytes
    if target.max_latency_us is not None:
        return False
    drop = FRONT_DROP if target.max_drop is None else target.max_drop
    allowed = (abs(before) if job.relative else 1.0) * (_LOST_IN_ANY_CASE + _LOST_PER_DROP * drop)
    smaller = [item for item in kept or () if item.ratio >= _SMALLER]
    judged = [snapshot, *smaller[-_JUDGED_TOO:]]
    if kept is not None and len(judged) <= _JUDGED_TOO:
        return False
    return all(before - item.score > allowed for item in judged)
