"""Numbers in a graph that say how long axes are: what they count, and that it is one thing."""

from collections.abc import Callable, Sequence
from itertools import permutations
from math import prod

import numpy as np

from tieshare.graph.atoms import Atoms, Ids
from tieshare.graph.flow.arithmetic import Length, Place, Size
from tieshare.graph.flow.sizes import Sizes
from tieshare.graph.flow.values import LONGEST_AXIS, Axis, Counted, Value, merge

_MOST_FACTORS = 4


class Counting:
    """Every size of a target shape states the length of an axis.

    1. A number that is written down, or could be, is counted anew, if all that read it there
       count the same slices. Beside lengths of nobody's it is a factor: it counts the slices that
       one of these has.
    2. For a product of lengths the axis is those axes made one, and becomes it where it is not.
    3. Whatever else it is made from keeps its length, and so does the axis.
    """

    def __init__(self, atoms: Atoms, sizes: Sizes, value: Callable[[str], Value]) -> None:
        self._atoms, self._sizes, self._value = atoms, sizes, value
        self._uses: dict[Place, list[tuple[Axis | None, tuple[Length, ...]]]] = {}

    def state(self, size: Size, axis: Axis | None) -> None:
        """The size says how long the axis is."""
        owned = [source for length in size.of if (source := self._owner(length)) is not None]
        if size.stated is not None and not size.free:
            self._use(size.stated, axis, size.of)
        elif owned and size.product:
            self._join(axis, size, owned)
            if size.stated is not None:
                self._use(size.stated, None)
        elif size.product and size.stated is not None:
            self._use(size.stated, self._factor(size, axis))
        else:
            self._pin(axis, *owned)

    def made_by(self, size: Size) -> Axis | None:
        """An axis of this length that is filled with one value: as long as others need it."""
        if size.stated is not None and not size.free and 1 < size.number <= LONGEST_AXIS:
            return Axis(self._atoms.fresh(size.number))
        if size.product and size.stated is None and len(size.of) == 1:
            return self._owner(size.of[0])
        return None

    def edits(self) -> list[Counted]:
        """The lists that are counted anew; what would be counted in two ways stays."""
        counted: dict[tuple[int, int], dict[int, Ids]] = {}
        for (node, slot, place), uses in self._uses.items():
            axes = [axis for axis, _ in uses if axis is not None]
            if len(axes) == len(uses) and all(self._alike(axes[0].ids, one.ids) for one in axes):
                counted.setdefault((node, slot), {})[place] = axes[0].ids
            else:
                self._pin(*axes, *(self._owner(length) for _, of in uses for length in of))
        return [
            Counted(
                node,
                slot,
                tuple(
                    places.get(place, number)
                    for place, number in enumerate(self._sizes.written(node, slot))
                ),
            )
            for (node, slot), places in counted.items()
        ]

    def _use(self, place: Place, axis: Axis | None, of: tuple[Length, ...] = ()) -> None:
        self._uses.setdefault(place, []).append((axis, of))

    def _owner(self, length: Length) -> Axis | None:
        name, place = length
        return self._value(name).axes.get(place)

    def _pin(self, *axes: Axis | None) -> None:
        for axis in axes:
            if axis is not None:
                self._atoms.pin(axis.ids)

    def _alike(self, ids: Ids, others: Ids) -> bool:
        return np.array_equal(self._atoms.resolve(ids), self._atoms.resolve(others))

    def _lengths(self, lengths: Sequence[Length]) -> tuple[int, ...]:
        return tuple(self._value(name).shape[place] for name, place in lengths)

    def _factor(self, size: Size, axis: Axis | None) -> Axis | None:
        """What the written number counts: the axis is its slices made one with nobody's, in
        either order; where it is not, all of it stays."""
        if axis is not None and len(axis.ids) == size.number:
            outer = prod(self._lengths(size.of))
            ids = self._atoms.resolve(axis.ids)
            behind = ids.reshape(outer, -1, ids.shape[1])
            before = ids.reshape(-1, outer, ids.shape[1]).swapaxes(0, 1)
            for turned in (behind, before):
                if (turned == turned[:1]).all():
                    return Axis(turned[0])
        self._pin(axis)
        return None

    def _join(self, axis: Axis | None, size: Size, owned: Sequence[Axis]) -> None:
        """The axis is those whose lengths make the size, made one; in any order, if it is so."""
        if axis is None or len(size.of) > _MOST_FACTORS or size.number != len(axis.ids):
            self._pin(axis, *owned)
            return
        orders = (self._merged(lengths, size.number) for lengths in permutations(size.of))
        if not any(self._alike(axis.ids, ids) for ids in orders):
            self._atoms.meet(axis.ids, self._merged(size.of, size.number))

    def _merged(self, lengths: Sequence[Length], number: int) -> Ids:
        """Axes of these lengths, and one of nobody's for what the number has beside them."""
        shape = self._lengths(lengths)
        found = [self._owner(length) for length in lengths]
        axes = {place: one for place, one in enumerate(found) if one is not None}
        return merge(Value((*shape, number // prod(shape)), axes), range(len(shape) + 1))
