"""Which points of the path are retrained, and which of them is the result."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto

from tieshare.recipe import Target

Scores = NDArray[np.float64]

_LOOSER = (0.3, 0.6)  # the preference is lowered by this much where it leaves accuracy to spend


@dataclass(frozen=True)
class Point:
    """A place on the front: an epoch of the path, tied with this preference."""

    epoch: int
    preference: float


@dataclass(frozen=True, eq=False)
class Candidate:
    """A point, retrained. ``right`` (held out,) scores each held-out sample."""

    point: Point
    tied: ModelProto
    right: Scores
    unique: int
    ratio: float

    @property
    def score(self) -> float:
        """Mean over the held-out samples."""
        return float(self.right.mean())


def loss_of_score(before: Scores, after: Scores, *, relative: bool) -> tuple[float, float]:
    """How much worse ``after`` is on the same samples, and the standard error of that.

    Labels: the difference of accuracies. ``relative``, for squared errors: the rise of the mean
    error as a fraction of the mean error before.
    """
    lost = before - after
    scale = max(abs(float(before.mean())), 1e-12) if relative else 1.0
    error = float(lost.std()) / math.sqrt(len(lost))
    return float(lost.mean()) / scale, error / scale


@dataclass(frozen=True, eq=False)
class Choice:
    """The result, all that was tried for it, and whether it does what the target asks."""

    chosen: Candidate
    tried: Sequence[Candidate]
    reached: bool


@dataclass(frozen=True, eq=False)
class Search:
    """Retrains as few points as it can.

    ``epochs``    the path's snapshots, from the largest network to the smallest.
    ``retrain``   makes the candidate of a point.
    ``ratio``     the compression ratio of a point, known before it is retrained.
    ``dense``     (held out,) scores of the uploaded model.
    """

    epochs: Sequence[int]
    retrain: Callable[[Point], Candidate]
    ratio: Callable[[Point], float]
    dense: Scores
    relative: bool
    preference: float
    tie: bool

    def run(self, target: Target) -> Choice:
        """Try points until the target is met as well as it can be."""
        if target.max_drop is not None:
            return self._smallest(target.max_drop)
        return self._most_accurate(target.min_ratio or 1.0)

    def keeps(self, candidate: Candidate, max_drop: float) -> bool:
        """Whether the loss is at most ``max_drop``, noise included.

        One standard error of the loss is set aside, so that the promise holds on other samples of
        the same kind too; at most half of what is allowed, or few samples would forbid all.
        """
        lost, error = loss_of_score(self.dense, candidate.right, relative=self.relative)
        return lost + min(error, max_drop / 2) <= max_drop

    def _smallest(self, max_drop: float) -> Choice:
        """Halve the path until the last epoch that keeps the promise is known; tie it further."""
        tried: list[Candidate] = []
        low, high = -1, len(self.epochs)
        while high - low > 1:
            middle = (low + high) // 2
            tried.append(self.retrain(Point(self.epochs[middle], self.preference)))
            if self.keeps(tried[-1], max_drop):
                low = middle
            else:
                high = middle
        for looser in _LOOSER if self.tie and low >= 0 else ():
            tried.append(self.retrain(Point(self.epochs[low], self.preference - looser)))
            if not self.keeps(tried[-1], max_drop):
                break
        kept = [candidate for candidate in tried if self.keeps(candidate, max_drop)]
        if kept:
            return Choice(min(kept, key=lambda item: item.unique), tried, reached=True)
        return Choice(max(tried, key=lambda item: item.score), tried, reached=False)

    def _most_accurate(self, min_ratio: float) -> Choice:
        """The first epochs that reach the ratio, with the usual ties and with looser ones."""
        points = []
        for looser in (0.0, *_LOOSER) if self.tie else (0.0,):
            ways = (Point(epoch, self.preference - looser) for epoch in self.epochs)
            reached = next((point for point in ways if self.ratio(point) >= min_ratio), None)
            if reached is not None:
                points.append(reached)
        if not points:
            smallest = self.preference - (_LOOSER[-1] if self.tie else 0.0)
            last = self.retrain(Point(self.epochs[-1], smallest))
            return Choice(last, [last], reached=False)
        tried = [self.retrain(point) for point in points]
        return Choice(max(tried, key=lambda item: item.score), tried, reached=True)
