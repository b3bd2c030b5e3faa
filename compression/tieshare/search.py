"""Which points of the path are retrained, and which of them is the result."""

import math
from bisect import bisect_left
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto
from scipy.optimize import isotonic_regression

from tieshare.recipe import Recipe

Scores = NDArray[np.float64]

FRONT_DROP = 0.01  # what a job that asks for the whole front serves loses at most
LOOSER = (0.3, 0.6, 0.9, 1.2, 1.6)  # the preference is lowered by so much
USUAL_BITS, FEWER_BITS = 8, 4

_SPREAD = 4  # epochs of the path that are tried in any case
_GAIN = 1.05  # times smaller than the best so far a network is to be, or it is not worth a try
_IN_VAIN = 2  # steps of looser ties that gave nothing, and then no more are tried
_HOPELESS = 2.0  # times what may be lost, as the least that any network with such ties loses
_LOWEST = -1.0  # preference, of all that affinities can be
_ROUNDS = 2  # in which the epochs of such a step are halved
_ROUNDED = 4  # of the smallest, tried in fewer bits
_TRIES = 2  # epochs that are retrained of those that fit in one way, until one does indeed


@dataclass(frozen=True)
class Point:
    """A place on the front: an epoch of the path, tied with this preference.

    ``bits`` of each stored value of a layer; a layer that would lose too much by it gets more.
    """

    epoch: int
    preference: float
    bits: int = USUAL_BITS


@dataclass(frozen=True, eq=False)
class Candidate:
    """A point, retrained.

    ``build``      makes the tied model, which is as large as the uploaded one, anew.
    ``right``      (held out,) scores each held-out sample.
    ``bits``       of the values of each layer, by the weight's name; others stay float32.
    ``unsettled``  layers whose rows affinity propagation grouped without coming to rest.
    """

    point: Point
    build: Callable[[], ModelProto]
    right: Scores
    unique: int
    ratio: float
    bits: tuple[tuple[str, int], ...] = ()
    unsettled: tuple[str, ...] = ()

    @property
    def tied(self) -> ModelProto:
        """The uploaded graph with other values."""
        return self.build()

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
    """Retrains as few points as it can, ``at_once`` together.

    ``path``    how many times smaller the network was after an epoch, without ties: in the order
                of the epochs, from the largest network to the smallest.
    ``make``    the candidates of some points.
    ``ratio``   the compression ratio of a point: known before it is retrained.
    ``fits``    whether a point is as small as the target asks, known likewise.
    ``dense``   the uploaded model, which is the result where nothing smaller will do.
    """

    path: Mapping[int, float]
    make: Callable[[Sequence[Point]], Sequence[Candidate]]
    ratio: Callable[[Point], float]
    fits: Callable[[Point], bool]
    dense: Candidate
    relative: bool
    recipe: Recipe
    at_once: int = 1

    def run(self) -> Choice:
        """Points spread over the path, then those around the one that the target picks."""
        target = self.recipe.target
        tried = self._all([self._at(epoch) for epoch in self._spread()])
        if target.front or target.max_drop is not None:
            return self._smallest(tried, FRONT_DROP if target.front else target.max_drop or 0.0)
        return self._most_accurate(tried)

    def _spread(self) -> list[int]:
        """The epochs nearest to even steps of the size, the latest of equal ones."""
        sizes = {epoch: math.log(ratio) for epoch, ratio in self.path.items()}
        last = max(sizes.values())
        steps = (last * part / (_SPREAD + 1) for part in range(1, _SPREAD + 1))
        return sorted({min(sizes, key=lambda e: (abs(sizes[e] - step), -e)) for step in steps})

    def _smallest(self, spread: Sequence[Candidate], max_drop: float) -> Choice:
        """The smallest that keeps the promise.

        1. Epochs between the smallest that keeps it and the next are halved.
        2. Ties get looser step by step, at the epochs up to that of the smallest that keeps it of
           which they make a smaller one: those are halved, too. That ends after two steps in a row
           that gave nothing, or one after which there is no hope. Looser ties at an early epoch
           and tight ones at a late one make networks of the same size, and either may be better.
        3. Fewer bits there or, where that costs too much, at one of the few before it.
        """
        found = list(spread)
        found += self._halved(found, self._behind(found, max_drop), max_drop, len(self.path))
        in_vain = 0
        for preference in self._preferences()[1:]:
            best = self._best(found, max_drop)
            if best is None or in_vain == _IN_VAIN:
                break
            new = self._halved(found, self._looser(best, preference), max_drop, _ROUNDS)
            found += new
            in_vain = 0 if self._best(found, max_drop) in new else in_vain + 1
            if new and all(self._lost(item) > _HOPELESS * max_drop for item in new):
                break
        found = self._rounded(found, max_drop)
        chosen = self._best(found, max_drop)
        return Choice(chosen or self.dense, found, reached=chosen is not None)

    def _halved(
        self, known: Sequence[Candidate], places: Sequence[Point], max_drop: float, rounds: int
    ) -> list[Candidate]:
        """Those that are retrained of ``places``, each smaller than the one before it.

        The smallest that keeps the promise is looked for, until what is left is hardly smaller.
        """
        new: list[Candidate] = []
        kept = self.kept(known, max_drop)
        for _ in range(rounds):
            smallest = max((item.ratio for item in kept), default=1.0)
            places = places[bisect_left(places, _GAIN * smallest, key=self.ratio) :]
            now = _evenly(places, self.at_once)
            if not now:
                break
            new += self._all([places[index] for index in now])
            kept = self.kept([*known, *new], max_drop)
            points = {item.point for item in kept}
            first = max((index + 1 for index in now if places[index] in points), default=0)
            places = places[first : min((i for i in now if i >= first), default=None)]
        return new

    def _behind(self, tried: Sequence[Candidate], max_drop: float) -> list[Point]:
        """Of the path between the smallest that keeps the promise and the next that was tried."""
        low = max((item.point.epoch for item in self.kept(tried, max_drop)), default=0)
        high = min((it.point.epoch for it in tried if it.point.epoch > low), default=math.inf)
        return [self._at(epoch) for epoch in self.path if low < epoch < high]

    def _looser(self, than: Candidate, preference: float) -> list[Point]:
        """The epochs up to its own with these ties."""
        point = than.point
        return [Point(e, preference, point.bits) for e in self.path if e <= point.epoch]

    def _lost(self, item: Candidate) -> float:
        return loss_of_score(self.dense.right, item.right, relative=self.relative)[0]

    def _rounded(self, tried: Sequence[Candidate], max_drop: float) -> list[Candidate]:
        """With those of step 3 of ``_smallest``, until one of them keeps the promise."""
        found, order = list(tried), sorted(self.kept(tried, max_drop), key=_size)
        points = self._in_fewer_bits(order[:_ROUNDED])
        for start in range(0, len(points), self.at_once):
            new = self._all(points[start : start + self.at_once])
            found += new
            kept = self.kept(found, max_drop)
            if any(item in kept for item in new):
                break
        return found

    def _best(self, tried: Collection[Candidate], max_drop: float) -> Candidate | None:
        return min(self.kept(tried, max_drop), key=_size, default=None)

    def kept(self, tried: Collection[Candidate], max_drop: float) -> list[Candidate]:
        """Those that lose at most ``max_drop``, by their own score and by their neighbours'.

        The score of one candidate is noisy, and the best of many is so by luck. Accuracy falls as
        networks get smaller, so that the falling sequence nearest to all scores (isotonic
        regression) is closer to the truth. By that, one standard error of the loss is left over,
        or a quarter of ``max_drop`` where few samples make that error larger.
        """
        found = []
        for item in tried:
            likely = _likely_score(item, tried)
            lost, error = loss_of_score(self.dense.right, item.right, relative=self.relative)
            scale = abs(self.dense.score) if self.relative else 1.0
            likely_lost = lost + (item.score - likely) / max(scale, 1e-12)
            if max(lost, likely_lost + min(error, max_drop / 4)) <= max_drop:
                found.append(item)
        return found

    def _most_accurate(self, tried: list[Candidate]) -> Choice:
        """The best of the first epochs that fit, in each of the ways to tie and to round them.

        A point may turn out to be larger than it was expected to be: then a later epoch is tried.
        """
        found = {item.point: item for item in tried}
        ways = list(self._ways(0))
        for _ in range(_TRIES):
            firsts = [(way, point) for way in ways if (point := self._first_that_fits(way))]
            new = [point for _, point in firsts if point not in found]
            found |= zip(new, self._all(new), strict=True)
            ways = [way for way, point in firsts if not self.fits(point)]
        fitting = [item for item in found.values() if self.fits(item.point)]
        if fitting:
            best = max(fitting, key=lambda item: (item.score, -item.unique, -item.point.bits))
            return Choice(best, [*found.values()], reached=True)
        *_, smallest = self._ways(max(self.path))
        if smallest not in found:
            (found[smallest],) = self._all([smallest])
        return Choice(found[smallest], [*found.values()], reached=self.fits(smallest))

    def _first_that_fits(self, way: Point) -> Point | None:
        """The first epoch that is small enough when it is tied and rounded in this way."""
        places = [Point(epoch, way.preference, way.bits) for epoch in self.path]
        first = bisect_left(places, True, key=self.fits)
        return places[first] if first < len(places) else None

    def _ways(self, epoch: int) -> Iterable[Point]:
        """How an epoch may be tied and rounded; the smallest comes last."""
        preferences = self._preferences()
        for preference in preferences:
            yield Point(epoch, preference, self.recipe.bits or USUAL_BITS)
        if self.recipe.bits is None and self.recipe.target.max_bytes is not None:
            for preference in preferences[::2]:
                yield Point(epoch, preference, FEWER_BITS)

    def _preferences(self) -> list[float]:
        """The recipe's, and then looser ones."""
        asked = self.recipe.preference
        looser = (asked - less for less in LOOSER) if self.recipe.tie else ()
        return [asked, *(preference for preference in looser if preference >= _LOWEST)]

    def _in_fewer_bits(self, found: Iterable[Candidate]) -> list[Point]:
        if self.recipe.bits is not None:
            return []
        return [Point(it.point.epoch, it.point.preference, FEWER_BITS) for it in found]

    def _at(self, epoch: int) -> Point:
        return Point(epoch, self.recipe.preference, self.recipe.bits or USUAL_BITS)

    def _all(self, points: Sequence[Point]) -> list[Candidate]:
        """As many at once as there may be."""
        made: list[Candidate] = []
        for start in range(0, len(points), self.at_once):
            made += self.make(points[start : start + self.at_once])
        return made


def _evenly(places: Sequence[Point], count: int) -> list[int]:
    """As many indices, evenly, the middle if it is one."""
    parts = (len(places) * part // (count + 1) for part in range(1, count + 1))
    return sorted(set(parts)) if places else []


def _size(candidate: Candidate) -> tuple[int, int]:
    """What is compared first when results are smaller or larger: values, then their bits."""
    return candidate.unique, candidate.point.bits


def _likely_score(item: Candidate, tried: Collection[Candidate]) -> float:
    """What it speaks for together with those that are larger, or smaller, in every way."""
    alike = [other for other in tried if _is_comparable(item.point, other.point)]
    ordered = sorted(alike, key=lambda other: (-other.unique, -other.point.bits))
    smooth = isotonic_regression([other.score for other in ordered], increasing=False).x
    return float(smooth[ordered.index(item)])


def _is_comparable(point: Point, other: Point) -> bool:
    """Fewer bits say nothing about more of them."""
    later, looser = other.epoch - point.epoch, point.preference - other.preference
    return other.bits >= point.bits and (min(later, looser) >= 0 or max(later, looser) <= 0)
