"""How an array's samples take a shape that leaves axes free."""

import math
from collections.abc import Mapping, Sequence

from tieshare.data.specs import Axes

Shape = tuple[int, ...]


def text(shape: Sequence[int | str | None]) -> str:
    """As a message shows it."""
    items = ["any" if axis is None else str(axis) for axis in shape]
    return f"({items[0]},)" if len(items) == 1 else f"({', '.join(items)})"


def bound(axes: Axes, lengths: Mapping[str, int]) -> Axes:
    """The axes with lengths in the place of the names that have one."""
    return tuple(lengths.get(axis, axis) if isinstance(axis, str) else axis for axis in axes)


def matches(axes: Axes, sample: Shape) -> bool:
    """Whether the sample has these axes, a free one being as long as it likes."""
    return len(axes) == len(sample) and all(
        not isinstance(axis, int) or axis == length
        for axis, length in zip(axes, sample, strict=True)
    )


def filled(axes: Axes, sample: Shape) -> Shape | None:
    """The axes with lengths for the free ones, by rank or by the number of elements."""
    if matches(axes, sample):
        return sample
    elements = math.prod(sample)
    fixed = math.prod(axis for axis in axes if isinstance(axis, int))
    free = sum(not isinstance(axis, int) for axis in axes)
    if free > 1 or elements % fixed or (free == 0 and elements != fixed):
        return None
    return tuple(axis if isinstance(axis, int) else elements // fixed for axis in axes)


def without_ones(axes: Axes, sample: Shape) -> Shape | None:
    """As ``filled``, but only axes of length 1 may be missing or too many."""
    if matches(axes, sample):
        return sample
    longer = [length for length in sample if length != 1]
    wanted = tuple(axis for axis in axes if axis != 1)
    if not matches(wanted, tuple(longer)):
        return None
    return tuple(1 if axis == 1 else longer.pop(0) for axis in axes)


def scrambles(before: Shape, after: Shape) -> bool:
    """Whether reshaping would mix up the same axes in another order."""
    first, second = (tuple(axis for axis in shape if axis != 1) for shape in (before, after))
    return first != second and sorted(first) == sorted(second)
