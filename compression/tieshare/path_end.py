"""Where the path of stage 1 ends: where the target lies behind."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

from tieshare.job import Job
from tieshare.search import FRONT_DROP
from tieshare.stage1 import LAST_RATIO, Snapshot

SMALLER = 1.12  # times smaller than the last, a network counts as another one
_BEYOND = 1.25  # the path leads past the ratio that is asked for
_LOST_IN_ANY_CASE = 0.06  # the path ends where it lost more than this before retraining
_LOST_PER_DROP = 4.0  # and this multiple of what the result may lose
_JUDGED = 3  # networks in turn
_WORTHLESS = 2.0  # times what may be lost


@dataclass(frozen=True)
class PathEnd:
    """Either a ratio, or a loss of score that retraining does not make up for, or neither.

    ``ratio``  at which the target is reached for sure.
    ``score``  of the uploaded model; ``allowed`` may be lost of it.
    """

    ratio: float | None
    score: float
    allowed: float

    @classmethod
    def of(cls, job: Job) -> Self:
        """As the target of the job says."""
        target, score = job.recipe.target, float(job.dense.mean())
        ratio = target.min_ratio
        if target.max_bytes is not None:
            ratio = job.model.ByteSize() / target.max_bytes
        if ratio is not None or target.max_latency_us is not None:
            return cls(ratio, score, math.inf)
        drop = FRONT_DROP if target.max_drop is None else target.max_drop
        scale = max(abs(score), 1e-12) if job.relative else 1.0
        return cls(None, score, scale * (_LOST_IN_ANY_CASE + _LOST_PER_DROP * drop))

    @property
    def last_ratio(self) -> float:
        """Where the path is to lead in all its epochs."""
        return LAST_RATIO if self.ratio is None else min(_BEYOND * self.ratio, LAST_RATIO)

    def lost(self, score: float) -> float:
        """Of what may be lost, the share that is; below 0 where the network got better."""
        return (self.score - score) / self.allowed

    def worthless(self, snapshot: Snapshot) -> bool:
        """Whether so much is lost that it is better to go back."""
        return self.lost(snapshot.score) > _WORTHLESS

    def reached(self, seen: Sequence[Snapshot]) -> bool:
        """Whether the target lies behind the last of these networks.

        A large rate costs some score before anything shrinks, and now and then later, so that
        several networks in turn have to be bad.
        """
        if self.ratio is not None:
            return seen[-1].ratio >= self.ratio
        judged = [item for item in seen if item.ratio >= SMALLER][-_JUDGED:]
        return len(judged) == _JUDGED and all(self.lost(item.score) > 1 for item in judged)
