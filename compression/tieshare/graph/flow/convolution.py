"""Convolutions: channels in and out, and groups of them."""

from collections.abc import Sequence

from tieshare.graph.flow.regroup import split
from tieshare.graph.flow.values import Axis, Counted, Value, merge
from tieshare.graph.flow.walk import Crossing


def conv(here: Crossing) -> Sequence[Value]:
    """Weight (out, in / groups, ...).

    With groups a unit is its group and its place in the group. A group goes with its inputs and
    outputs; inputs go in all groups at once, where the weight's slices of their place are zero.
    """
    x, weight, walk = here.inputs[0], here.inputs[1], here.walk
    walk.hold(x, weight, free=(0, 1))
    groups, inside = here.node.setting("group", default=1), weight.axes.get(1)
    if groups == 1:
        walk.contract([(x.axes.get(1), inside)])
        return _with_bias(here, weight.axes.get(0))
    read = _parts(here, x.axes.get(1), (groups, weight.shape[1]))
    made = _parts(here, weight.axes.get(0), (groups, weight.shape[0] // groups))
    if weight.shape[1] > 1:
        walk.contract([(read.get(1), inside)])
    group = _group(here, read.get(0), made.get(0))
    return _with_bias(here, _joined(group, made.get(1), (groups, weight.shape[0] // groups)))


def conv_transpose(here: Crossing) -> Sequence[Value]:
    """Weight (in, out / groups, ...); inputs of a group go with the group alone."""
    x, weight, walk = here.inputs[0], here.inputs[1], here.walk
    walk.hold(x, weight, free=(0, 1))
    groups, made = here.node.setting("group", default=1), weight.axes.get(1)
    if groups == 1:
        walk.contract([(x.axes.get(1), weight.axes.get(0))])
        return _with_bias(here, made)
    lengths = (groups, weight.shape[0] // groups)
    read, reading = (_parts(here, side, lengths) for side in (x.axes.get(1), weight.axes.get(0)))
    walk.pin(read.get(1), reading.get(1))
    group = _group(here, read.get(0), reading.get(0))
    return _with_bias(here, _joined(group, made, (groups, weight.shape[1])))


def _parts(here: Crossing, axis: Axis | None, lengths: tuple[int, int]) -> dict[int, Axis]:
    """Groups and places in a group."""
    return {} if axis is None else split(here.walk, axis.ids, lengths)


def _group(here: Crossing, read: Axis | None, made: Axis | None) -> Axis | None:
    group = here.walk.meet([read, made])
    if group is not None:
        here.walk.edits.append(Counted(here.node.index, "group", (group.ids,)))
    return group


def _joined(group: Axis | None, place: Axis | None, lengths: tuple[int, int]) -> Axis | None:
    pieces = {i: axis for i, axis in enumerate((group, place)) if axis is not None}
    return Axis(merge(Value(lengths, pieces), (0, 1))) if pieces else None


def _with_bias(here: Crossing, made: Axis | None) -> Sequence[Value]:
    bias, batch = here.input(2), here.inputs[0].axes.get(0)
    if bias is not None:
        made = here.walk.meet([made, bias.axes.get(0)])
    if here.shape is None:
        here.walk.pin(made, batch)
        return []
    axes = {place: Axis(axis.ids) for place, axis in ((0, batch), (1, made)) if axis is not None}
    return [Value(here.shape, axes)]
