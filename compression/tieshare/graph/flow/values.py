"""Values whose axes belong to units, and what has to change where these go."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from tieshare.graph.atoms import Ids
from tieshare.graph.shapes import Shape

# Units are not followed along longer axes: shapes in a file may promise anything.
LONGEST_AXIS = 1 << 22


@dataclass(frozen=True, eq=False)
class Axis:
    """One axis of a value: slice i belongs to the atoms ``ids[i]``.

    ``origins``  the axes of stored tensors whose slices these are, or parts of them side by side;
                 none behind anything that may turn a zero into something else.
    """

    ids: Ids
    origins: frozenset[tuple[str, int]] = frozenset()


@dataclass(frozen=True, eq=False)
class Value:
    """A value; an axis that is left out of ``axes`` belongs to nobody and keeps its length.

    Nobody owns an axis of length 1: it is repeated where others are longer.
    """

    shape: Shape
    axes: Mapping[int, Axis] = field(default_factory=dict)


def merge(value: Value, places: Sequence[int]) -> Ids:
    """The units of the entries of several axes made one, the last of them running fastest.

    At least one of the axes has an owner.
    """
    lengths = tuple(value.shape[place] for place in places)
    columns = []
    for position, place in enumerate(places):
        if place in value.axes:
            ids = value.axes[place].ids
            beside = (1,) * position + ids.shape[:1] + (1,) * (len(places) - position - 1)
            spread = np.broadcast_to(ids.reshape(*beside, -1), (*lengths, ids.shape[1]))
            columns.append(spread.reshape(-1, ids.shape[1]))
    return np.concatenate(columns, axis=1)


@dataclass(frozen=True, eq=False)
class Counted:
    """A list of numbers in a node, some of which count slices.

    ``option``   the input slot or the name of the attribute. The input may be computed in the
                 graph: then a constant has to take its place, whichever slices stay.
    ``entries``  the numbers; ids (n, k) where it is how many of these n slices stay.
    """

    node: int
    option: int | str
    entries: tuple[int | Ids, ...]


@dataclass(frozen=True, eq=False)
class Numbered:
    """A constant input that picks slices of an axis by number: it loses those that go."""

    node: int
    slot: int
    ids: Ids
