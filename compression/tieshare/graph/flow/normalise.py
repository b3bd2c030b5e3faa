"""Normalisation: which axes are mixed, and along which scales and shifts lie."""

from collections.abc import Sequence

from tieshare.graph.flow.reduce import free_axes
from tieshare.graph.flow.regroup import split
from tieshare.graph.flow.values import Counted, Value
from tieshare.graph.flow.walk import Crossing


def batch_norm(here: Crossing) -> Sequence[Value]:
    """Scale, shift, mean and variance have one entry a channel; so have statistics of a batch."""
    value, walk = here.inputs[0], here.walk
    if len(value.shape) < 2 or not here.node.setting("spatial", default=1):
        return here.hold()
    beside = [other.axes.get(0) for other in here.inputs[1:5]]
    channel = walk.meet([value.axes.get(1), *beside])
    trains = here.node.setting("training_mode", default=0)
    axes = free_axes(here, {*range(len(value.shape))} - {1} if trains else ())
    if channel is None:
        return [Value(value.shape, axes)]
    statistics = Value(value.shape[1:2], {0: channel})
    return [Value(value.shape, axes | {1: channel}), *[statistics] * (len(here.node.outputs) - 1)]


def instance_norm(here: Crossing) -> Sequence[Value]:
    """Mixes the axes behind the channels; one scale and shift a channel."""
    value, walk = here.inputs[0], here.walk
    axes = free_axes(here, range(2, len(value.shape)))
    channel = walk.meet([value.axes.get(1), *(other.axes.get(0) for other in here.inputs[1:3])])
    return [Value(value.shape, axes if channel is None else axes | {1: channel})]


def layer_norm(here: Crossing) -> Sequence[Value]:
    """Mixes the last axes, which scale and shift lie along."""
    value = here.inputs[0]
    rank = len(value.shape)
    if not rank:
        return here.hold()
    axes = free_axes(here, range(here.node.setting("axis", default=-1) % rank, rank))
    here.walk.hold(*here.inputs[1:])
    shapes = [value.shape, *here.shapes[1:]]
    return [Value(shape, axes) if shape is not None else Value(()) for shape in shapes]


def fixed_axes(here: Crossing) -> Sequence[Value]:
    """MeanVarianceNormalization and LRN have no scales."""
    value = here.inputs[0]
    mixed = [1] if here.node.operator == "LRN" else here.node.setting("axes", default=[0, 2, 3])
    mixed = [axis % len(value.shape) for axis in mixed]
    return [Value(value.shape, free_axes(here, mixed))]


def group_norm(here: Crossing) -> Sequence[Value]:
    """Mixes the channels of a group, so that whole groups go.

    Scale and shift have one entry a channel, before opset 21 one a group.
    """
    value, walk, node = here.inputs[0], here.walk, here.node
    groups: int = node.attributes["num_groups"]
    axes = free_axes(here, range(2, len(value.shape)))
    channel = value.axes.get(1)
    beside = [other.axes.get(0) for other in here.inputs[1:3]]
    if channel is None:
        walk.pin(*beside)
        return [Value(value.shape, axes)]
    parts = split(walk, channel.ids, (groups, value.shape[1] // groups))
    walk.pin(parts.get(1))
    if groups > 1:
        walk.meet([channel if node.opset >= 21 else parts.get(0), *beside])
    else:
        walk.pin(channel, *beside)
    if 0 in parts:
        walk.edits.append(Counted(node.index, "num_groups", (parts[0].ids,)))
    return [Value(value.shape, axes | {1: channel})]
