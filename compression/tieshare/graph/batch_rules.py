"""What operators must read so that they follow the batch."""

from collections.abc import Callable, Mapping

import numpy as np
from onnx import NodeProto

from tieshare.graph.batch_change import Change
from tieshare.graph.batch_spread import BATCH, Spread, places, with_batch
from tieshare.graph.batch_values import BatchValues
from tieshare.graph.view import Node

_ARITHMETIC = ("Add", "Div", "Max", "Mean", "Min", "Mod", "Mul", "PRelu", "Pow", "Sub", "Sum")
_LOGIC = ("And", "Equal", "Greater", "GreaterOrEqual", "Less", "LessOrEqual", "Or", "Where", "Xor")

# Operators that combine their inputs element by element.
BROADCAST = frozenset((*_ARITHMETIC, *_LOGIC))

_TO_THE_END = int(np.iinfo(np.int64).max)


def change_of(node: Node, proto: NodeProto, values: BatchValues, choice: int) -> Change:
    """What the node needs; ``choice`` picks one of the axes that may hold the batch."""
    change = Change(node, proto, values)
    if node.operator == "Reshape":
        _reshape(change, choice)
    elif node.operator in _RULES:
        _RULES[node.operator](change)
    return change


def _reshape(change: Change, choice: int) -> None:
    """One entry of the target holds the batch."""
    x, target = change.spread(0), change.data(1)
    if x is None or target is None:
        return
    copies = not change.node.attributes.get("allowzero")
    stated = _stated(target, x, change.batch, copies)
    axes = places(stated, x, change.batch)
    if not axes or int(np.prod(stated)) != int(np.prod(x.exported(change.batch))):
        return
    change.alternatives = len(axes)
    axis = axes[choice]
    follows = stated[axis] // change.batch * BATCH
    is_copy = copies and axis < len(x.shape) and x.shape[axis] == follows
    if target[axis] in (-1, follows) or (target[axis] == 0 and is_copy):
        return
    computed = change.node.known[1] is None
    if computed and change.values.free:
        return
    new, inferred = list(target), target.index(-1) if -1 in target else None
    if inferred is None:
        new[axis] = -1
    elif not change.values.free:
        new[axis], new[inferred] = -1, stated[inferred]
    else:
        new[axis] = 0 if is_copy else follows
    change.reads(1, change.lengths(new))


def _stated(target: list[int], x: Spread, batch: int, copies: bool) -> list[int]:
    """The target in numbers, as the graph was exported."""
    before = x.exported(batch)
    stated = [with_batch(size, batch) for size in target]
    if copies:
        stated = [size or before[axis] for axis, size in enumerate(stated)]
    others = int(np.prod([size for size in stated if size != -1]))
    inferred = int(np.prod(before)) // others if others else 0
    return [inferred if size == -1 else size for size in stated]


def _expand(change: Change) -> None:
    """An axis that has the batch already stays where the target says 1."""
    x, target = change.spread(0), change.data(1)
    if target is None:
        return
    if x is not None:
        place = x.axis - len(x.shape) + len(target)
        if place >= 0 and target[place] == x.exported(change.batch)[x.axis] != 1:
            target[place] = 1
            change.reads(1, change.lengths(target))
        return
    name = change.node.inputs[0]
    shape = change.values.shape(name) or ()
    for axis, length in enumerate(shape):
        place = axis - len(shape) + len(target)
        if place >= 0 and target[place] == BATCH and length == change.batch:
            change.reads(0, change.one_row(name, axis))


def _sizes(slot: int) -> Callable[[Change], None]:
    """The input in this slot lists the lengths of the output, axis by axis like the first input."""

    def rule(change: Change) -> None:
        x, target, axes = change.spread(0), change.data(slot), change.node.attributes.get("axes")
        if x is None or target is None:
            return
        rank = len(x.shape)
        listed = list(range(rank)) if axes is None else [axis % rank for axis in axes]
        if x.axis not in listed:
            return
        place = listed.index(x.axis)
        if target[place] == x.exported(change.batch)[x.axis]:
            target[place] = x.shape[x.axis]
            change.reads(slot, change.lengths(target))

    return rule


def _slice(change: Change) -> None:
    """What ends with the exported batch goes on to the end."""
    x, given = change.spread(0), change.node.attributes
    starts, ends = given.get("starts", change.data(1)), given.get("ends", change.data(2))
    if x is None or starts is None or ends is None:
        return
    axes = given.get("axes", change.data(3)) or range(len(starts))
    steps = change.data(4) or [1] * len(starts)
    whole = (x.axis, 0, x.exported(change.batch)[x.axis], 1)
    new = [
        _TO_THE_END if (axis % len(x.shape), start, end, step) == whole else end
        for axis, start, end, step in zip(axes, starts, ends, steps, strict=True)
    ]
    if new == list(ends):
        return
    name = change.stored(new)
    if "ends" not in given:
        change.reads(2, name)
    for attribute in change.proto.attribute:
        if attribute.name == "ends":
            attribute.ints[:] = new


def _broadcast(change: Change) -> None:
    """A constant with an entry for every sample gets a single one, if they are all the same."""
    spreads = [change.spread(slot) for slot in range(change.node.explicit)]
    x = next((spread for spread in spreads if spread is not None), None)
    if x is None or change.batch == 1:
        return
    from_last = x.axis - len(x.shape)
    if change.node.operator == "MatMul" and from_last > -3:
        return
    for slot, name in enumerate(change.node.inputs):
        shape = change.values.shape(name) or ()
        axis = from_last + len(shape)
        if spreads[slot] is None and axis >= 0 and shape[axis] == change.batch:
            change.reads(slot, change.one_row(name, axis))


def _aligned(change: Change) -> None:
    """A constant gets an entry for every sample where its partners have one."""
    spreads = [change.spread(slot) for slot in range(change.node.explicit)]
    x = next((spread for spread in spreads if spread is not None), None)
    along = change.node.attributes.get("axis", 0)
    if x is None or x.shape[x.axis] != BATCH or along % len(x.shape) == x.axis:
        return
    for slot, name in enumerate(change.node.inputs):
        shape = change.values.shape(name) or ()
        if spreads[slot] is None and len(shape) == len(x.shape) and shape[x.axis] == change.batch:
            change.reads(slot, change.all_rows(name, x.axis))


def _recurrent(change: Change) -> None:
    """Lengths (batch) and initial states (directions, batch, hidden), batch first with layout 1."""
    x, layout = change.spread(0), change.node.attributes.get("layout", 0)
    if x is None or x.shape[x.axis] != BATCH:
        return
    for slot, axis in ((4, 0), (5, 1 - layout), (6, 1 - layout)):
        if change.node.has(slot) and change.spread(slot) is None:
            name = change.node.inputs[slot]
            shape = change.values.shape(name) or ()
            if axis < len(shape) and shape[axis] == change.batch:
                change.reads(slot, change.all_rows(name, axis))


_RULES: Mapping[str, Callable[[Change], None]] = {
    **dict.fromkeys((*BROADCAST, "MatMul"), _broadcast),
    **dict.fromkeys(("Concat", "GatherElements", "ScatterElements"), _aligned),
    **dict.fromkeys(("GRU", "LSTM", "RNN"), _recurrent),
    "AffineGrid": _sizes(1),
    "CenterCropPad": _sizes(1),
    "Expand": _expand,
    "MaxUnpool": _sizes(2),
    "Resize": _sizes(3),
    "Slice": _slice,
}
