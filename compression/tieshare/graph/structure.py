"""Which slices of which stored tensors stand or fall together."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto

from tieshare.graph.atoms import NOBODY, Ids
from tieshare.graph.flow.follow import follow
from tieshare.graph.flow.values import Counted, Numbered
from tieshare.graph.layers import Layer, layers_of
from tieshare.graph.shapes import free_lengths, shapes_of
from tieshare.graph.tensors import Array
from tieshare.graph.view import view

Units = NDArray[np.bool_]

__all__ = ["Counted", "Entries", "Layer", "Numbered", "Structure", "entry_mask", "structure_of"]


@dataclass(frozen=True, eq=False)
class Entries:
    """Along ``axis`` of a stored tensor, slice i stays if all of the units ``ids[i]`` do.

    ``ids``   (length, k); NOBODY for what always stays.
    ``read``  the slices multiply these units: one that is zero reads nothing.
    """

    tensor: str
    axis: int
    ids: Ids
    read: bool


@dataclass(frozen=True, eq=False)
class Structure:
    """The layers in graph order, and the units of the whole network.

    ``units``     how many units may go; their numbers are the ids.
    ``entries``   by tensor, the axes along which slices may go.
    ``reads``     by tensor, sets of axes: a number that is not zero reads the units of its slices
                  along the axes of a set, if its slices along the other axes stay.
    ``edits``     numbers in the graph that count slices.
    ``occupied``  ids (n, k) of slices of which at least one stays: no axis is left without any.
    """

    layers: tuple[Layer, ...]
    units: int
    entries: Mapping[str, tuple[Entries, ...]]
    reads: Mapping[str, tuple[frozenset[int], ...]]
    edits: tuple[Counted | Numbered, ...]
    occupied: tuple[Ids, ...]

    def rows_of(self, layer: Layer) -> Entries | None:
        """The units that the rows of the layer read; None where no row can go."""
        found = self.entries.get(layer.weight, ())
        return next((one for one in found if one.axis == layer.row_axis and one.read), None)

    def alive(self, values: Mapping[str, Array]) -> Units:
        """(units,) whether a unit is read, by way of weights that are not zero, by any that stays.

        A tensor that has no value here reads all that it could.
        """
        reads = [name for name, axes in self.reads.items() if axes]
        readers = [name for name in reads if name in values]
        patterns = {name: _pattern(values[name], self.entries[name]) for name in readers}
        alive = np.zeros(self.units, dtype=bool)
        for name in set(reads).difference(readers):
            for entries in self.entries[name]:
                alive[entries.ids[entries.ids != NOBODY]] = True
        while True:
            before = alive.sum()
            for name in reversed(readers):
                for axes in self.reads[name]:
                    alive[_read(patterns[name], self.entries[name], axes, alive)] = True
            if alive.sum() == before:
                empty = (ids for ids in self.occupied if not entry_mask(ids, alive).any())
                first = next(empty, None)
                if first is None:
                    return alive
                alive[_somebody(first[0])] = True

    def stays(self, alive: Units) -> dict[str, dict[int, Units]]:
        """By tensor and axis, which slices stay if these units are alive."""
        return {
            name: {one.axis: entry_mask(one.ids, alive) for one in axes}
            for name, axes in self.entries.items()
        }


def entry_mask(ids: Ids, alive: Units) -> Units:
    """(length,) entries (length, k) all of whose units are alive."""
    return np.asarray(np.append(alive, True)[ids].all(axis=1))  # NOBODY is the last


def structure_of(model: ModelProto) -> Structure:
    """Find the layers, and follow their units through the whole graph."""
    seen, shapes = view(model), shapes_of(model)
    walk = follow(seen, shapes, free_lengths(model, shapes))
    units, number = walk.atoms.numbered()
    entries: dict[str, tuple[Entries, ...]] = {}
    reads: dict[str, tuple[frozenset[int], ...]] = {}
    for name, value in walk.tensors.items():
        sets = sorted(walk.reads.get(name, ()), key=sorted)
        found = [
            Entries(name, place, number(axis.ids), any(place in axes for axes in sets))
            for place, axis in value.axes.items()
        ]
        owned = tuple(one for one in found if (one.ids != NOBODY).any())
        if owned:
            entries[name] = owned
            reading = {one.axis for one in owned if one.read}
            reads[name] = tuple(axes for axes in sets if not reading.isdisjoint(axes))
    occupied = [*(one.ids for axes in entries.values() for one in axes)]
    occupied += map(number, walk.occupied)
    edits = tuple(_numbered(edit, number) for edit in walk.edits)
    return Structure(layers_of(seen), units, entries, reads, edits, tuple(occupied))


def _numbered(edit: Counted | Numbered, number: Callable[[Ids], Ids]) -> Counted | Numbered:
    if isinstance(edit, Numbered):
        return replace(edit, ids=number(edit.ids))
    numbers = (entry if isinstance(entry, int) else number(entry) for entry in edit.entries)
    return replace(edit, entries=tuple(numbers))


def _pattern(array: Array, entries: tuple[Entries, ...]) -> Units:
    """Where the tensor is not zero, those of its axes taken together that have no entries."""
    others = tuple(set(range(array.ndim)).difference(one.axis for one in entries))
    return np.asarray((array != 0).any(axis=others, keepdims=True))


def _read(pattern: Units, entries: tuple[Entries, ...], axes: frozenset[int], alive: Units) -> Ids:
    """The units that are read along these axes."""
    for one in entries:
        if one.axis not in axes:
            pattern = np.compress(entry_mask(one.ids, alive), pattern, axis=one.axis)
    found = [np.empty(0, dtype=np.int64)]
    for one in entries:
        if one.axis in axes:
            others = tuple(set(range(pattern.ndim)) - {one.axis})
            found.append(_somebody(one.ids[pattern.any(axis=others)]))
    return np.concatenate(found)


def _somebody(ids: Ids) -> NDArray[np.int64]:
    return np.asarray(ids[ids != NOBODY])
