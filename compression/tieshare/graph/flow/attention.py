"""The Attention operator: heads go together, and with them what they attend with."""

from collections.abc import Sequence

from tieshare.graph.flow.regroup import split
from tieshare.graph.flow.values import Axis, Counted, Value, merge
from tieshare.graph.flow.walk import Crossing

_MASK = 3


def attention(here: Crossing) -> Sequence[Value]:
    """Query, key and value, (N, heads, T, size) or (N, T, heads * size).

    A head is a key's and its place among the query heads that share this key. Inside of a head
    the query and the key are multiplied, so that their places stay; those of the value are the
    output's.
    """
    walk, node, shape = here.walk, here.node, here.shape
    asked, kept = _heads(here, 0, "q_num_heads"), _heads(here, 1, "kv_num_heads")
    beside = any(node.has(slot) for slot in range(_MASK + 1, node.explicit))
    if not shape or not asked or not kept or asked % kept or beside or any(node.outputs[1:]):
        return here.hold()
    each = asked // kept
    query, key, value = (
        _parts(here, slot, (kept, count)) for slot, count in enumerate((each, 1, 1))
    )
    walk.pin(query.get(2), key.get(2))
    group = walk.meet([parts.get(0) for parts in (query, key, value)])
    size = shape[-1] if len(shape) == 4 else shape[-1] // asked
    found = {0: group, 1: query.get(1), 2: value.get(2)}
    whole = Value((kept, each, size), {i: axis for i, axis in found.items() if axis is not None})
    heads = Axis(merge(whole, (0, 1))) if whole.axes.keys() & {0, 1} else None
    _see(here, heads, asked)
    for name, axis in (("q_num_heads", heads), ("kv_num_heads", group)):
        if axis is not None and name in node.attributes:
            walk.edits.append(Counted(node.index, name, (axis.ids,)))
    if len(shape) == 4:
        axes = {1: heads, 3: whole.axes.get(2)}
    else:
        axes = {2: Axis(merge(whole, (0, 1, 2))) if whole.axes else None}
    return [Value(shape, {place: axis for place, axis in axes.items() if axis is not None})]


def _heads(here: Crossing, slot: int, name: str) -> int | None:
    shape = here.inputs[slot].shape
    heads: int | None = shape[1] if len(shape) == 4 else here.node.setting(name)
    return heads


def _parts(here: Crossing, slot: int, heads: tuple[int, int]) -> dict[int, Axis]:
    """Keys, query heads that share one, and places in a head; the other axes stay."""
    value, walk = here.inputs[slot], here.walk
    if len(value.shape) == 4:
        walk.hold(value, free=(1, 3))
        parts = split(walk, value.axes[1].ids, heads) if 1 in value.axes else {}
        return parts | ({2: value.axes[3]} if 3 in value.axes else {})
    walk.hold(value, free=(2,))
    size = value.shape[2] // (heads[0] * heads[1])
    return split(walk, value.axes[2].ids, (*heads, size)) if 2 in value.axes else {}


def _see(here: Crossing, heads: Axis | None, count: int) -> None:
    """A mask may have an axis of heads."""
    mask = here.input(_MASK)
    if mask is None:
        return
    place = len(mask.shape) - 3
    here.walk.hold(mask, free=(place,))
    if place >= 0 and mask.shape[place] == count > 1:
        here.walk.meet([heads, mask.axes.get(place)])
