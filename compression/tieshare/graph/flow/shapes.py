"""Operators that give the same elements another shape, or repeat them."""

from collections.abc import Sequence

import numpy as np

from tieshare.graph.flow.regroup import regroup
from tieshare.graph.flow.values import LONGEST_AXIS, Axis, Value
from tieshare.graph.flow.walk import Crossing


def transpose(here: Crossing) -> Sequence[Value]:
    """The axes in another order."""
    (value,) = here.inputs
    perm = list(here.node.setting("perm", default=range(len(value.shape))[::-1]))
    shape = tuple(value.shape[axis] for axis in perm)
    return [Value(shape, {perm.index(place): axis for place, axis in value.axes.items()})]


def keep_elements(here: Crossing) -> Sequence[Value]:
    """Flatten, Squeeze and Unsqueeze state no lengths."""
    if here.shape is None:
        return here.hold()
    return [regroup(here.walk, here.inputs[0], here.shape)]


def reshape(here: Crossing) -> Sequence[Value]:
    """Regroup; the target shape has to fit what will be left of each axis.

    A -1, and a 0 at an axis that stays the same axis, fit anything.
    """
    value, node, walk = here.inputs[0], here.node, here.walk
    target = walk.sizes.read(node, 1)
    if here.shape is None or target is None or len(target) != len(here.shape):
        return here.hold()
    made = regroup(walk, value, here.shape)
    zero_copies = not node.setting("allowzero", default=0)
    for place, size in enumerate(target):
        axis = made.axes.get(place)
        if zero_copies and size.number == 0 and not size.of:
            if axis is not value.axes.get(place):
                walk.pin(axis, value.axes.get(place))
        elif size.number != -1 or size.of:
            walk.counting.state(size, axis)
    return [made]


def resize(here: Crossing) -> Sequence[Value]:
    """Resize and Upsample: an axis that keeps its length keeps its units."""
    value, node, walk = here.inputs[0], here.node, here.walk
    moved = (
        node.setting("coordinate_transformation_mode") == "tf_crop_and_resize"
        or node.setting("keep_aspect_ratio_policy", default="stretch") != "stretch"
    )
    if here.shape is None or len(here.shape) != len(value.shape) or moved:
        return here.hold()
    axes = {
        place: Axis(axis.ids)
        for place, axis in value.axes.items()
        if here.shape[place] == value.shape[place]
    }
    walk.hold(value, free=axes)
    walk.hold(*here.inputs[1:])
    made = Value(here.shape, axes)
    places = node.setting("axes", default=range(len(here.shape)))
    target = walk.sizes.read(node, 3)
    if target is None or len(target) != len(places):
        walk.hold_lengths(node.inputs)
    else:
        for given, size in zip(places, target, strict=True):
            walk.counting.state(size, axes.get(given % len(here.shape)))
    return [made]


def tile(here: Crossing) -> Sequence[Value]:
    """Constant repeats put the units side by side again and again."""
    value, node = here.inputs[0], here.node
    repeats = node.setting("repeats", 1)
    if here.shape is None or repeats is None or max(here.shape, default=0) > LONGEST_AXIS:
        return here.hold()
    axes = {
        place: Axis(np.tile(axis.ids, (repeats[place], 1))) for place, axis in value.axes.items()
    }
    return [Value(here.shape, axes)]


def triangle(here: Crossing) -> Sequence[Value]:
    """What a Trilu keeps depends on the places along the last two axes."""
    value = here.inputs[0]
    free = {place: axis for place, axis in value.axes.items() if place < len(value.shape) - 2}
    here.walk.hold(value, free=free)
    return [Value(value.shape, free)]


def expand(here: Crossing) -> Sequence[Value]:
    """Axes of length 1 are repeated; a stated number of repetitions owns slices of its own."""
    value, walk = here.inputs[0], here.walk
    target = walk.sizes.read(here.node, 1)
    if here.shape is None or target is None or len(target) > len(here.shape):
        return here.hold()
    ahead = len(here.shape) - len(value.shape)
    axes = {place + ahead: Axis(axis.ids) for place, axis in value.axes.items()}
    for place, size in enumerate(target, start=len(here.shape) - len(target)):
        if size.number == 1:
            walk.counting.state(size, None)
            continue
        made_by = walk.counting.made_by(size) if place not in axes else None
        if made_by is not None and (place < ahead or value.shape[place - ahead] == 1):
            axes[place] = made_by
        walk.counting.state(size, axes.get(place))
    return [Value(here.shape, axes)]


def constant_of_shape(here: Crossing) -> Sequence[Value]:
    """Each stated length owns slices of its own: as many are made as others need beside them."""
    walk = here.walk
    target = walk.sizes.read(here.node, 0)
    if target is None:
        return here.hold()
    axes = {}
    for place, size in enumerate(target):
        axis = walk.counting.made_by(size)
        walk.counting.state(size, axis)
        if axis is not None:
            axes[place] = axis
    return [Value(tuple(size.number for size in target), axes)]


def depth_to_space(here: Crossing) -> Sequence[Value]:
    """Channels become places: units that end in one channel go together."""
    value, walk = here.inputs[0], here.walk
    size, mode = here.node.attributes["blocksize"], here.node.setting("mode", default="DCR")
    if here.shape is None:
        return here.hold()
    walk.hold(value, free=(0, 1))
    axes = {0: value.axes[0]} if 0 in value.axes else {}
    if 1 in value.axes:
        ids = value.axes[1].ids
        channels_first = mode == "CRD"
        lengths = (-1, size * size) if channels_first else (size * size, here.shape[1])
        blocks = ids.reshape(*lengths, ids.shape[1])
        blocks = blocks.swapaxes(0, 1) if channels_first else blocks
        for block in blocks[1:]:
            walk.atoms.meet(blocks[0], block)
        axes[1] = Axis(blocks[0])
    return [Value(here.shape, axes)]


def space_to_depth(here: Crossing) -> Sequence[Value]:
    """Places become channels: every block of them has the units of all."""
    value, size = here.inputs[0], here.node.attributes["blocksize"]
    if here.shape is None or here.shape[1] > LONGEST_AXIS:
        return here.hold()
    here.walk.hold(value, free=(0, 1))
    axes = {place: Axis(axis.ids) for place, axis in value.axes.items() if place < 2}
    if 1 in axes:
        axes[1] = Axis(np.tile(axes[1].ids, (size * size, 1)))
    return [Value(here.shape, axes)]
