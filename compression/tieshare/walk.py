"""Stage 1 from its first epoch, or from where it was cut off, to its end."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from tieshare.errors import RecipeError
from tieshare.job import Job
from tieshare.path_end import SMALLER, PathEnd
from tieshare.stage1 import BACKS, RisingPath, Snapshot

PATH = "path"  # the checkpoint
_PARTS = 15  # a snapshot is kept after this part of the path in any case
_PATIENCE = 3  # epochs in which a network that lost too much is to get better
_BETTER = 0.9  # it does if it has lost no more than this of what it had


@dataclass(frozen=True)
class Walked:
    """The snapshots that were kept, the largest network first, and the regularised layers."""

    snapshots: Sequence[Snapshot]
    layers: Collection[str]


def walk(job: Job) -> Walked:
    """Train along the path; arrays of a kept epoch E are stored as checkpoint ``epoch-E``."""
    saved = job.checkpoints.load(PATH)
    rate = job.rate if saved is None else saved["rate"]
    recipe, end = replace(job.recipe, learning_rate=rate), PathEnd.of(job)
    twin = job.twin(job.start)
    path = RisingPath(twin, job.structure, job.trainer, recipe, job.plan, end.last_ratio, end.lost)
    walker = _Walker(job, path, end)
    if saved is None:
        walker.save()
    else:
        walker.restore(saved)
    job.narrator.expect(job.plan.path_epochs, job.plan.stage2_epochs)
    job.narrator.restart()
    while not walker.finished:
        snapshot = walker.epoch()
        metrics = {"compression_ratio": snapshot.ratio, "alive_rows": float(snapshot.alive_rows)}
        job.narrator.path(path.done, metrics | job.trainer.named(snapshot.score))
    layers = [layer.name for item in path.regularised for layer in item.layers]
    return Walked(walker.kept, layers)


class _Walker:
    """A path with what was kept of it, and the way back from where it should not have gone.

    ``good``  the state before the network became worthless, if it is; ``losses``: how much it has
              lost since then, of what may be.
    """

    def __init__(self, job: Job, path: RisingPath, end: PathEnd) -> None:
        self.job, self.path, self.end = job, path, end
        self.kept: list[Snapshot] = []
        self.finished = False
        self.good: Mapping[str, Any] | None = None
        self.losses: list[float] = []

    def epoch(self) -> Snapshot:
        """One more, saved. RecipeError: the recipe's learning rate is too large."""
        snapshot = self._next()
        self.path.pace.lost(self.end.lost(snapshot.score))
        seen = [*self.kept, snapshot]
        self.finished = self.path.done >= self.job.plan.path_epochs or self.end.reached(seen)
        if self._is_worth_keeping(snapshot):
            arrays = self.path.twin.tensors()
            self.job.checkpoints.save_arrays(f"epoch-{snapshot.epoch}", arrays)
            self.kept.append(snapshot)
        self.save()
        return snapshot

    def save(self) -> None:
        """All that the next epoch depends on; every member of a team goes on from the first's."""
        team = self.job.trainer.team
        state = team.same(self._state())
        if team.rank > 0:
            self.restore(state)
        self.job.checkpoints.save(PATH, state)

    def restore(self, saved: Mapping[str, Any]) -> None:
        """Go on from there."""
        self.path.restore(saved["path"])
        self.kept = [Snapshot(**item) for item in saved["kept"]]
        self.finished, self.good, self.losses = saved["finished"], saved["good"], saved["losses"]

    def _state(self) -> dict[str, Any]:
        return {
            "path": self.path.state(),
            "rate": self.path.rate,
            "finished": self.finished,
            "kept": [asdict(item) for item in self.kept],
            "good": self.good,
            "losses": self.losses,
        }

    def _next(self) -> Snapshot:
        """The network after an epoch, or that of an earlier one.

        Where less of a penalty did not help, the rate may be the reason: what that costs at first
        is made up for. So the path goes on then, while the network gets better.
        """
        try:
            snapshot = self.path.epoch()
        except RecipeError:
            if self.job.recipe.learning_rate is not None:
                raise
            return self._back(self.good or self._before())
        if not self.end.worthless(snapshot):
            if self.good is not None:
                self.path.pace.absolve()
            self.good, self.path.backs = None, 0
        elif self.path.backs < BACKS:
            return self._back(self._before())
        elif self.good is None:
            self.good, self.losses = self._before(), [self.end.lost(snapshot.score)]
        else:
            self.losses.append(self.end.lost(snapshot.score))
            if len(self.losses) > _PATIENCE and self.losses[-1] > _BETTER * self.losses[-_PATIENCE]:
                return self._back(self.good)
        return snapshot

    def _before(self) -> Mapping[str, Any]:
        """The state before this epoch."""
        saved = self.job.checkpoints.load(PATH)
        assert saved is not None  # noqa: S101
        state: Mapping[str, Any] = saved["path"]
        return state

    def _back(self, state: Mapping[str, Any]) -> Snapshot:
        self.path.back(state)
        self.good = None
        return self.path.snapshot()

    def _is_worth_keeping(self, snapshot: Snapshot) -> bool:
        if not self.kept:
            return True
        last = self.kept[-1]
        if self.good is not None or snapshot.ratio < last.ratio:
            return False
        waited = (snapshot.epoch - last.epoch) * _PARTS >= self.job.plan.path_epochs
        return self.finished or waited or snapshot.ratio >= SMALLER * last.ratio
