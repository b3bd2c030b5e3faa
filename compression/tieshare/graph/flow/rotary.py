"""The RotaryEmbedding operator turns pairs of places in a head, which all stay."""

from collections.abc import Sequence

from tieshare.graph.flow.regroup import split
from tieshare.graph.flow.values import Axis, Counted, Value, merge
from tieshare.graph.flow.walk import Crossing


def rotary(here: Crossing) -> Sequence[Value]:
    """(N, heads, T, size) or (N, T, heads * size): heads may go."""
    value, walk, node = here.inputs[0], here.walk, here.node
    place = 1 if len(value.shape) == 4 else 2
    walk.hold(value, free=(place,))
    walk.hold(*here.inputs[1:])
    axis, heads = value.axes.get(place), node.setting("num_heads", default=0)
    if axis is None or place == 1:
        return [Value(value.shape, {} if axis is None else {1: axis})]
    if not heads:
        return here.hold()
    lengths = (heads, value.shape[2] // heads)
    parts = split(walk, axis.ids, lengths)
    walk.pin(parts.get(1))
    if 0 not in parts:
        return [Value(value.shape)]
    walk.edits.append(Counted(node.index, "num_heads", (parts[0].ids,)))
    return [Value(value.shape, {2: Axis(merge(Value(lengths, {0: parts[0]}), (0, 1)))})]
