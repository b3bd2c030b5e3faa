"""Reshaping: what the units of merged and of split axes are."""

from collections.abc import Sequence
from itertools import accumulate, pairwise
from math import prod
from operator import mul

import numpy as np

from tieshare.graph.atoms import NOBODY, Ids
from tieshare.graph.flow.values import LONGEST_AXIS, Axis, Value, merge
from tieshare.graph.flow.walk import Walk
from tieshare.graph.shapes import Shape


def regroup(walk: Walk, value: Value, shape: Shape) -> Value:
    """The same elements in another shape.

    1. Axes that are merged: an entry belongs to the units of all of them.
    2. An axis that is split: units that are alike along all new axes but one own that one. Units
       that differ along several are split into parts, one for each of these axes, so that a unit
       stays if its parts do: whole slices go, whichever way the elements are looked at.
    3. Other axes are split until they can be merged; where they can't be, everything stays.
    """
    groups = None if 0 in (*value.shape, *shape) else _groups(value.shape, shape)
    axes: dict[int, Axis] = {}
    for before, after in groups or ():
        old = Value(
            tuple(value.shape[place] for place in before),
            {i: value.axes[place] for i, place in enumerate(before) if place in value.axes},
        )
        if old.axes:
            new = _regrouped(walk, old, tuple(shape[place] for place in after))
            axes |= {after[i]: axis for i, axis in new.items()}
    if groups is None:
        walk.hold(value)
    return Value(shape, axes)


def _regrouped(walk: Walk, value: Value, lengths: Shape) -> dict[int, Axis]:
    fine = _common(value.shape, lengths)
    if fine is None:
        walk.hold(value)
        return {}
    pieces: dict[int, Axis] = {}
    for place, run in enumerate(_runs(value.shape, fine)):
        if place in value.axes:
            axis = value.axes[place]
            parts = {0: axis} if len(run) == 1 else split(walk, axis.ids, [fine[i] for i in run])
            pieces |= {run[i]: part for i, part in parts.items()}
    whole = Value(fine, pieces)
    made: dict[int, Axis] = {}
    for place, run in enumerate(_runs(lengths, fine)):
        owned = [pieces[i] for i in run if i in pieces]
        if owned and lengths[place] > LONGEST_AXIS:
            walk.pin(*owned)
        elif owned:
            made[place] = owned[0] if len(run) == 1 else Axis(merge(whole, run))
    return made


def split(walk: Walk, ids: Ids, lengths: Sequence[int]) -> dict[int, Axis]:
    """The axes of these lengths, the last of them running fastest, that one axis becomes."""
    found: dict[int, list[Ids]] = {}
    for column in walk.atoms.resolve(ids).T:
        block = column.reshape(lengths)
        varying = [place for place in range(len(lengths)) if _varies(block, place)]
        if not varying:
            walk.atoms.pin(column[:, None])
        elif len(varying) == 1:
            (place,) = varying
            found.setdefault(place, []).append(_along(block, place))
        else:
            for place, part in _parts(walk, block, varying).items():
                found.setdefault(place, []).append(part)
    return {place: Axis(np.concatenate(parts, axis=1)) for place, parts in found.items()}


def _parts(walk: Walk, block: Ids, varying: Sequence[int]) -> dict[int, Ids]:
    made = {place: walk.atoms.fresh(block.shape[place]) for place in varying}
    axes = {place: Axis(ids) for place, ids in made.items()}
    walk.atoms.meet(block.reshape(-1, 1), merge(Value(block.shape, axes), range(block.ndim)))
    return made


def _varies(block: Ids, place: int) -> bool:
    return bool((block != block.take([0], axis=place)).any())


def _along(block: Ids, place: int) -> Ids:
    return np.moveaxis(block, place, 0).reshape(block.shape[place], -1)[:, :1]


def _groups(before: Shape, after: Shape) -> list[tuple[tuple[int, ...], tuple[int, ...]]] | None:
    """Which axes become which: the shortest runs of equal products; None where there are none."""
    groups = []
    i = j = 0
    while i < len(before) or j < len(after):
        first, last = i, j
        left = right = 1
        if i < len(before):
            left, i = before[i], i + 1
        if j < len(after):
            right, j = after[j], j + 1
        while left != right:
            if left < right and i < len(before):
                left, i = left * before[i], i + 1
            elif right < left and j < len(after):
                right, j = right * after[j], j + 1
            else:
                return None
        groups.append((tuple(range(first, i)), tuple(range(last, j))))
    return groups


def _common(before: Shape, after: Shape) -> Shape | None:
    """The lengths of the longest axes that both are made of by merging; None where none are."""
    ends = sorted({1, *accumulate(before[::-1], mul), *accumulate(after[::-1], mul)})
    if any(high % low for low, high in pairwise(ends)):
        return None
    return tuple(high // low for low, high in pairwise(ends))[::-1]


def _runs(lengths: Shape, fine: Shape) -> list[range]:
    """Of which axes, one after the other, each one is made."""
    runs, start = [], 0
    for length in lengths:
        end = start
        while prod(fine[start:end]) < length:
            end += 1
        runs.append(range(start, end))
        start = end
    return runs


def padding(length: int) -> Ids:
    """Entries that nobody owns."""
    return np.full((length, 1), NOBODY)
