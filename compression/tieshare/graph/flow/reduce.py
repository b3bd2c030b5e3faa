"""Pooling, reductions and what else mixes the elements along some axes."""

from collections.abc import Collection, Sequence

from tieshare.graph.flow.values import Axis, Value
from tieshare.graph.flow.walk import Crossing


def free_axes(here: Crossing, mixed: Collection[int]) -> dict[int, Axis]:
    """The axes of the first input that are not mixed; the mixed ones keep all their slices."""
    value = here.inputs[0]
    free = {place: axis for place, axis in value.axes.items() if place not in mixed}
    here.walk.hold(value, free=free)
    return {place: Axis(axis.ids) for place, axis in free.items()}


def window(here: Crossing) -> Sequence[Value]:
    """Pooling mixes all axes behind the channels.

    The places of maxima are numbers of elements of the whole input, so that nothing of it goes.
    """
    value = here.inputs[0]
    if here.shape is None or any(here.node.outputs[1:]):
        return here.hold()
    return [Value(here.shape, free_axes(here, range(2, len(value.shape))))]


def reduction(here: Crossing) -> Sequence[Value]:
    """A sum, mean or extreme over whole axes."""
    value, node = here.inputs[0], here.node
    rank = len(value.shape)
    axes = node.setting("axes", 1, default=[])
    if here.shape is None or not isinstance(axes, list):
        return here.hold()
    if not axes and not node.setting("noop_with_empty_axes", default=0):
        axes = list(range(rank))
    mixed = {axis % rank for axis in axes}
    free = free_axes(here, mixed)
    if len(here.shape) != rank:
        free = {place - sum(axis < place for axis in mixed): free[place] for place in free}
    return [Value(here.shape, free)]


def along_axis(here: Crossing) -> Sequence[Value]:
    """Softmax, CumSum and the like mix one axis; before opset 13 a softmax all behind it too."""
    value, node = here.inputs[0], here.node
    rank = len(value.shape)
    softmax = node.operator in ("Hardmax", "LogSoftmax", "Softmax")
    old = softmax and node.opset < 13
    axis = node.setting("axis", 1, default=1 if old else -1)
    if not isinstance(axis, int) or not rank:
        return here.hold()
    axis %= rank
    return [Value(value.shape, free_axes(here, range(axis, rank if old else axis + 1)))]
