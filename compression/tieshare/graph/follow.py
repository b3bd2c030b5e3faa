"""How the units of one layer lie in the values that are computed from them.

A value is *owned* by a layer when each slice along one of its axes belongs to one unit, so that
taking units away takes slices away. The rules, one function an operator family, say what an
operator makes of an owned value; None means that units can't be told apart behind it.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from tieshare.graph.shapes import Shape
from tieshare.graph.view import Node, View

Units = NDArray[np.int64]
NOBODY = -1

# Units are not followed through larger values: shapes in a file may promise anything.
MOST_ELEMENTS = 1 << 24


@dataclass(frozen=True, eq=False)
class Owned:
    """``units[i]`` is the unit behind slice i along ``axis`` of a value; NOBODY for padding.

    ``shape`` is the value's, batch first; axis 0 is never owned.
    """

    shape: Shape
    axis: int
    units: Units

    @property
    def one_slice_a_unit(self) -> bool:
        """Whether slice i is unit i."""
        return np.array_equal(self.units, np.arange(len(self.units)))

    def same_as(self, other: "Owned") -> bool:
        """Whether the same slices belong to the same units."""
        return (
            self.shape == other.shape
            and self.axis == other.axis
            and np.array_equal(self.units, other.units)
        )


@dataclass(frozen=True)
class Crossing:
    """A node that owned values have reached; ``shape`` is its output's, None if unknown."""

    node: Node
    owned: Mapping[str, Owned]
    seen: View
    shape: Shape | None


@dataclass(frozen=True)
class Passage:
    """What became of an owned value.

    ``carried``  stored tensors with one entry a unit, and the axis of these entries.
    ``length``   set where a constant target shape states the number of slices.
    """

    value: Owned
    carried: tuple[tuple[str, int], ...] = ()
    length: int | None = None


def passage(crossing: Crossing) -> Passage | None:
    """Follow the owned inputs of a node to its output."""
    node, owned = crossing.node, crossing.owned
    if node.operator in _ELEMENTWISE:
        return _elementwise(crossing)
    value, rule = owned.get(node.inputs[0]), _RULES.get(node.operator)
    if value is None or rule is None or not owned.keys().isdisjoint(node.inputs[1:]):
        return None
    if max(math.prod(value.shape[1:]), math.prod((crossing.shape or ())[1:])) > MOST_ELEMENTS:
        return None
    return rule(value, crossing)


def _elementwise(crossing: Crossing) -> Passage | None:
    """Owned values beside each other need the same owners; constants lose entries with them."""
    inputs, owned = crossing.node.inputs, crossing.owned
    mine = [owned[name] for name in inputs if name in owned]
    carried: list[tuple[str, int]] = []
    for name in inputs:
        entries = [] if name in owned else _entries(name, mine[0], crossing.seen)
        if entries is None:
            return None
        carried.extend(entries)
    if not all(mine[0].same_as(other) for other in mine):
        return None
    return Passage(mine[0], tuple(carried))


def _entries(name: str, value: Owned, seen: View) -> list[tuple[str, int]] | None:
    """Where a constant has one entry a unit; [] if all units get the same, None if unclear."""
    if name not in seen.tensors:
        return None
    constant = seen.tensors[name].shape
    offset = len(value.shape) - len(constant)
    if offset < 0:
        return None
    beside = zip(constant, value.shape[offset:], strict=True)
    if any(length not in (1, full) for length, full in beside):
        return None
    axis = value.axis - offset
    if axis < 0 or constant[axis] == 1:
        return []
    return [(name, axis)] if value.one_slice_a_unit else None


def _unchanged(value: Owned, _: Crossing) -> Passage:
    return Passage(value)


def _batch_norm(value: Owned, crossing: Crossing) -> Passage | None:
    names = crossing.node.inputs[1:5]
    if (
        value.axis != 1
        or not value.one_slice_a_unit
        or not set(names) <= crossing.seen.tensors.keys()
    ):
        return None
    return Passage(value, tuple((name, 0) for name in names))


def _pool(value: Owned, crossing: Crossing) -> Passage | None:
    if crossing.shape is None or value.axis != 1:
        return None
    return Passage(replace(value, shape=crossing.shape))


def _reduce(value: Owned, crossing: Crossing) -> Passage | None:
    rank, shape = len(value.shape), crossing.shape
    axes = {axis % rank for axis in crossing.node.setting("axes", 1) or range(rank)}
    if shape is None or axes & {0, value.axis}:
        return None
    dropped = 0 if len(shape) == rank else sum(axis < value.axis for axis in axes)
    return Passage(Owned(shape, value.axis - dropped, value.units))


def _transpose(value: Owned, crossing: Crossing) -> Passage | None:
    perm = list(crossing.node.setting("perm", default=range(len(value.shape))[::-1]))
    if perm[0] != 0 or sorted(perm) != list(range(len(value.shape))):
        return None
    shape = tuple(value.shape[axis] for axis in perm)
    return Passage(Owned(shape, perm.index(value.axis), value.units))


def _pad(value: Owned, crossing: Crossing) -> Passage | None:
    """Padding along the owned axis makes slices that nobody owns."""
    node, rank = crossing.node, len(value.shape)
    pads = node.setting("pads", 1, default=())
    axes = [axis % rank for axis in node.setting("axes", 3, default=range(rank))]
    around = dict(zip(axes, zip(pads, pads[len(axes) :], strict=False), strict=False))
    ends = around.get(value.axis, (0, 0))
    if crossing.shape is None or any(around.get(0, ())) or min(ends) < 0:
        return None
    if any(ends) and node.setting("mode", default="constant") != "constant":
        return None
    units = np.pad(value.units, ends, constant_values=NOBODY)
    return Passage(Owned(crossing.shape, value.axis, units))


def _regroup(value: Owned, crossing: Crossing) -> Passage | None:
    """The same elements of a sample in another shape, if that leaves each unit in slices."""
    shape = crossing.shape
    if shape is None or shape[:1] != value.shape[:1]:
        return None
    one = [1] * (len(value.shape) - 1)
    one[value.axis - 1] = -1
    elements = np.broadcast_to(value.units.reshape(one), value.shape[1:]).reshape(shape[1:])
    axes = [axis for axis in range(1, len(shape)) if _in_slices(elements, axis - 1)]
    if not axes:
        return None
    axis = max(axes, key=shape.__getitem__)
    first = (0,) * (axis - 1) + (slice(None),) + (0,) * (len(shape) - axis - 1)
    return Passage(Owned(shape, axis, elements[first]))


def _in_slices(elements: Units, axis: int) -> bool:
    slices = np.moveaxis(elements, axis, 0).reshape(elements.shape[axis], -1)
    return bool((slices == slices[:, :1]).all())


def _reshape(value: Owned, crossing: Crossing) -> Passage | None:
    """Regroup, if the target shape fits fewer units too or can be made to fit them."""
    regrouped = _regroup(value, crossing)
    target = _target(crossing)
    if regrouped is None or target is None or None in target[1:]:
        return None
    after = regrouped.value
    entry = target[after.axis] if after.axis < len(target) else None
    copies = entry == 0 and not crossing.node.attributes.get("allowzero", 0)
    if entry == -1 or (copies and after.axis == value.axis):
        return regrouped
    length = after.shape[after.axis]
    if crossing.node.known[1] is None or target[1:].count(length) != 1:
        return None
    return replace(regrouped, length=length)


def _target(crossing: Crossing) -> list[int | None] | None:
    """The entries of a Reshape's target shape, None for one that is computed."""
    node = crossing.node
    known = node.known[1]
    if known is not None:
        return [int(entry) for entry in known.ravel()]
    made_by = crossing.seen.producers.get(node.inputs[1])
    if made_by is None or made_by.operator != "Concat":
        return None
    entries: list[int | None] = []
    for part in made_by.known:
        entries.extend([None] if part is None else [int(entry) for entry in part.ravel()])
    return entries


_ELEMENTWISE = frozenset({"Add", "Div", "Mul", "PRelu", "Pow", "Sub"})

_RULES: Mapping[str, Callable[[Owned, Crossing], Passage | None]] = {
    "Abs": _unchanged,
    "AveragePool": _pool,
    "BatchNormalization": _batch_norm,
    "Cast": _unchanged,
    "Celu": _unchanged,
    "Clip": _unchanged,
    "Dropout": _unchanged,
    "Elu": _unchanged,
    "Erf": _unchanged,
    "Exp": _unchanged,
    "Flatten": _regroup,
    "Gelu": _unchanged,
    "GlobalAveragePool": _pool,
    "GlobalMaxPool": _pool,
    "HardSigmoid": _unchanged,
    "HardSwish": _unchanged,
    "Identity": _unchanged,
    "LeakyRelu": _unchanged,
    "MaxPool": _pool,
    "Mish": _unchanged,
    "Neg": _unchanged,
    "Pad": _pad,
    "ReduceMean": _reduce,
    "Relu": _unchanged,
    "Reshape": _reshape,
    "Selu": _unchanged,
    "Sigmoid": _unchanged,
    "Softplus": _unchanged,
    "Softsign": _unchanged,
    "Sqrt": _unchanged,
    "Squeeze": _regroup,
    "Swish": _unchanged,
    "Tanh": _unchanged,
    "ThresholdedRelu": _unchanged,
    "Transpose": _transpose,
    "Unsqueeze": _regroup,
}
