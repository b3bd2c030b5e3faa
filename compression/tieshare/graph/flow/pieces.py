"""Values side by side, and pieces of values."""

from collections.abc import Sequence

import numpy as np

from tieshare.graph.atoms import Ids
from tieshare.graph.flow.regroup import padding
from tieshare.graph.flow.values import LONGEST_AXIS, Axis, Counted, Numbered, Value
from tieshare.graph.flow.walk import Crossing


def concat(here: Crossing) -> Sequence[Value]:
    """Units side by side along the axis; along the others all parts have the same."""
    rank = len(here.inputs[0].shape)
    if here.shape is None or not rank or any(len(v.shape) != rank for v in here.inputs):
        return here.hold()
    along = here.node.setting("axis", default=1) % rank
    axes = {}
    for place in range(rank):
        beside = [value.axes.get(place) for value in here.inputs]
        if place == along and here.shape[along] > LONGEST_AXIS:
            here.walk.pin(*beside)
        elif place == along and any(beside):
            axes[place] = Axis(_side_by_side(here, along), _all_origins(beside))
        elif (axis := here.walk.meet(beside)) is not None:
            axes[place] = Axis(axis.ids, _all_origins(beside))
    return [Value(here.shape, axes)]


def _all_origins(beside: Sequence[Axis | None]) -> frozenset[tuple[str, int]]:
    """Those of all parts, if all are weights."""
    found = [frozenset() if axis is None else axis.origins for axis in beside]
    return frozenset().union(*found) if all(found) else frozenset()


def _side_by_side(here: Crossing, along: int) -> Ids:
    blocks = [
        here.walk.atoms.resolve(value.axes[along].ids)
        if along in value.axes
        else padding(value.shape[along])
        for value in here.inputs
    ]
    width = max(block.shape[1] for block in blocks)
    return np.concatenate([_widened(block, width) for block in blocks])


def _widened(ids: Ids, width: int) -> Ids:
    return np.append(ids, padding(len(ids)).repeat(width - ids.shape[1], axis=1), axis=1)


def split(here: Crossing) -> Sequence[Value]:
    """Each output has the units of its piece; the lengths of the pieces are counted anew."""
    value, node, walk = here.inputs[0], here.node, here.walk
    shapes = [shape for shape in here.shapes if shape is not None]
    if len(shapes) < len(node.outputs) or not value.shape:
        return here.hold()
    along = node.setting("axis", default=0) % len(value.shape)
    axes = {place: axis for place, axis in value.axes.items() if place != along}
    ends = np.cumsum([shape[along] for shape in shapes])
    fixed = not node.has(1) or _numbers(here, 1, "split") is not None
    if along not in value.axes or not fixed or ends[-1] != value.shape[along]:
        walk.hold(value, free=axes)
        walk.hold_lengths(node.inputs)
        return [Value(shape, axes) for shape in shapes]
    whole = value.axes[along]
    pieces = np.split(whole.ids, ends[:-1])
    option: int | str = 1 if node.opset >= 13 else "split"
    walk.edits.append(Counted(node.index, option, tuple(pieces)))
    walk.occupied.extend(pieces)
    return [
        Value(shape, axes | {along: Axis(piece, whole.origins)})
        for shape, piece in zip(shapes, pieces, strict=True)
    ]


def slice_(here: Crossing) -> Sequence[Value]:
    """Stretches of owned axes; their bounds are counted anew."""
    value, node, walk = here.inputs[0], here.node, here.walk
    starts, ends = _numbers(here, 1, "starts"), _numbers(here, 2, "ends")
    known = starts is not None and ends is not None
    places = node.setting("axes", 3, default=range(len(starts)) if starts is not None else None)
    if here.shape is None or places is None:
        return here.hold()
    places = [place % len(value.shape) for place in places]
    steps = node.setting("steps", 4, default=[1] * len(places)) or [0] * len(places)
    walk.hold_lengths(node.inputs[3:])
    axes = dict(value.axes)
    lower: list[int | Ids] = list(starts or ())
    upper: list[int | Ids] = list(ends or ())
    for i, place in enumerate(places):
        whole = axes.pop(place, None)
        if whole is None or starts is None or ends is None or steps[i] != 1:
            walk.pin(whole)
            continue
        first, last, _ = slice(starts[i], ends[i]).indices(value.shape[place])
        axes[place] = Axis(whole.ids[first:last], whole.origins)
        lower[i], upper[i] = whole.ids[:first], whole.ids[:last]
        walk.occupied.append(axes[place].ids)
    if not known or all(isinstance(entry, int) for entry in (*lower, *upper)):
        walk.hold_lengths(node.inputs)
    else:
        for slot, name, bounds in ((1, "starts", lower), (2, "ends", upper)):
            option: int | str = slot if node.opset >= 10 else name
            walk.edits.append(Counted(node.index, option, tuple(bounds)))
    return [Value(here.shape, axes)]


def _numbers(here: Crossing, slot: int, name: str) -> list[int] | None:
    """A list that is the same for every input of the network, so that it can be written anew."""
    if name in here.node.attributes:
        return list(here.node.attributes[name])
    sizes = here.walk.sizes.read(here.node, slot)
    if sizes is None or any(size.stated is None or size.free for size in sizes):
        return None
    return [size.number for size in sizes]


def gather(here: Crossing) -> Sequence[Value]:
    """Slices picked by number: constant numbers of an owned axis are renumbered.

    Where the numbers are data (tokens) the axis that they pick from keeps its length.
    """
    value, picked = here.inputs
    node, walk = here.node, here.walk
    if here.shape is None or not value.shape:
        return here.hold()
    walk.hold(picked)
    along = node.setting("axis", default=0) % len(value.shape)
    numbers, rank = node.known[1], len(here.shape) - len(value.shape) + 1
    kept = numbers is not None
    axes = {
        place if place < along else place + rank - 1: Axis(
            axis.ids, axis.origins if kept else frozenset()
        )
        for place, axis in value.axes.items()
        if place != along
    }
    whole = value.axes.get(along)
    if whole is None or numbers is None or rank > 1:
        walk.pin(whole)
    elif rank == 1:
        axes[along] = Axis(whole.ids[numbers], whole.origins)
        walk.edits.append(Numbered(node.index, 1, whole.ids))
        walk.occupied.append(axes[along].ids)
    else:
        number = int(numbers) % value.shape[along]
        walk.atoms.pin(whole.ids[number : number + 1])
        walk.edits.append(Counted(node.index, 1, (whole.ids[:number],)))
    return [Value(here.shape, axes)]


def pad(here: Crossing) -> Sequence[Value]:
    """Padding along an owned axis makes slices that nobody owns."""
    value, node, walk = here.inputs[0], here.node, here.walk
    rank = len(value.shape)
    pads = node.setting("pads", 1)
    places = node.setting("axes", 3, default=range(rank))
    if here.shape is None or pads is None or places is None:
        return here.hold()
    walk.hold(*here.inputs[1:])
    axes = {place: Axis(axis.ids) for place, axis in value.axes.items()}
    constant = node.setting("mode", default="constant") == "constant"
    for i, given in enumerate(places):
        place, ends = given % rank, (pads[i], pads[i + len(places)])
        if place in axes and any(ends):
            if min(ends) < 0 or not constant or here.shape[place] > LONGEST_AXIS:
                walk.pin(axes.pop(place))
            else:
                ids = walk.atoms.resolve(axes[place].ids)
                before, after = (_widened(padding(end), ids.shape[1]) for end in ends)
                axes[place] = Axis(np.concatenate([before, ids, after]))
    walk.hold_lengths(node.inputs)
    return [Value(here.shape, axes)]
