"""Which points of the path are retrained, and which of them is the result."""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto
from scipy.optimize import isotonic_regression

from tieshare.recipe import Target

Scores = NDArray[np.float64]

_SPREAD = 4  # epochs of the path that are tried in any case
_HALVINGS = 3
_LOOSER = (0.15, 0.3, 0.6)  # the preference is lowered by so much where accuracy is left


@dataclass(frozen=True)
class Point:
    """A place on the front: an epoch of the path, tied with this preference."""

    epoch: int
    preference: float


@dataclass(frozen=True, eq=False)
class Candidate:
    """A point, retrained.

    ``right``      (held out,) scores each held-out sample.
    ``unsettled``  layers whose rows affinity propagation grouped without coming to rest.
    """

    point: Point
    tied: ModelProto
    right: Scores
    unique: int
    ratio: float
    unsettled: tuple[str, ...] = ()

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
    ``dense``     the uploaded model, which is the result where nothing smaller will do.
    """

    epochs: Sequence[int]
    retrain: Callable[[Point], Candidate]
    ratio: Callable[[Point], float]
    dense: Candidate
    relative: bool
    preference: float
    tie: bool

    def run(self, target: Target) -> Choice:
        """Try points until the target is met as well as it can be."""
        if target.max_drop is not None:
            return self._smallest(target.max_drop)
        return self._most_accurate(target.min_ratio or 1.0)

    def _smallest(self, max_drop: float) -> Choice:
        """Points spread over the path, then points around the last that keeps the promise.

        1. A few epochs, evenly spread: the snapshots are, in the logarithm of their size.
        2. Three times, the epoch halfway from the smallest that keeps the promise to the next.
        3. Looser ties at the smallest that keeps it.
        """
        last = len(self.epochs) - 1
        spread = {round(last * part / (_SPREAD + 1)) for part in range(1, _SPREAD + 1)}
        tried = {index: self._at(index) for index in sorted(spread)}
        for _ in range(_HALVINGS):
            kept = [i for i in tried if tried[i] in self.kept(tried.values(), max_drop)]
            low = max(kept, default=0)
            high = min((i for i in tried if i > low), default=last)
            middle = (low + high + 1) // 2
            if middle not in tried:
                tried[middle] = self._at(middle)
        found = list(tried.values())
        kept_now = self.kept(found, max_drop)
        for looser in _LOOSER if self.tie and kept_now else ():
            epoch = min(kept_now, key=lambda item: item.unique).point.epoch
            found.append(self.retrain(Point(epoch, self.preference - looser)))
            kept_now = self.kept(found, max_drop)
            if found[-1] not in kept_now:
                break
        if kept_now:
            return Choice(min(kept_now, key=lambda item: item.unique), found, reached=True)
        return Choice(self.dense, [self.dense, *found], reached=False)

    def kept(self, tried: Iterable[Candidate], max_drop: float) -> list[Candidate]:
        """Those that lose at most ``max_drop``, by their own score and by their neighbours'.

        The score of one candidate is noisy, and the best of many is so by luck. Accuracy falls as
        networks get smaller, so that the falling sequence nearest to all scores (isotonic
        regression) is closer to the truth. By that, one standard error of the loss is left over,
        or a quarter of ``max_drop`` where few samples make that error larger.
        """
        ordered = sorted(tried, key=lambda item: -item.unique)
        scores = [item.score for item in ordered]
        smooth = isotonic_regression(scores, increasing=False).x
        found = []
        for item, likely in zip(ordered, smooth, strict=True):
            lost, error = loss_of_score(self.dense.right, item.right, relative=self.relative)
            scale = abs(self.dense.score) if self.relative else 1.0
            likely_lost = lost + (item.score - likely) / max(scale, 1e-12)
            if max(lost, likely_lost + min(error, max_drop / 4)) <= max_drop:
                found.append(item)
        return found

    def _at(self, index: int) -> Candidate:
        return self.retrain(Point(self.epochs[index], self.preference))

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
