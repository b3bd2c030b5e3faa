"""The RotaryEmbedding operator turns pairs of places in a head, which all stay."""

from collections.abc import Sequence

from tieshare.graph.flow.regroup import split
from tieshare.graph.flow.values import Axis, Counted, Value, merge
from tieshare.graph.flow.walk import Crossing


def rotary(here: Crossing) -> Sequence[Value]:
    """(N, heads, T, size) or (N, T, heads * size): heads may go."""
    value, walk, node = here.inputs[0], here.walk, here.node
    walk.hold(*here.inputs[1:])
    if len(value.shape) == 4:
        walk.hold(value, free=(0, 1))
        return [Value(value.shape, {i: value.axes[i] for i in (0, 1) if i in value.axes})]
    walk.hold(value, free=(0, 2))
    heads = node.setting("num_heads", default=0)
    axes = {0: value.axes[0]} if 0 in value.axes else {}
    if 2 not in value.axes or not heads:
        return here.hold()
    lengths = (heads, value.shape[2] // heads)
    parts = split(walk, value.axes[2].ids, lengths)
    walk.pin(parts.get(1))
    if 0 in parts:
        walk.edits.append(Counted(node.index, "num_heads", (parts[0].ids,)))
        axes[2] = Axis(merge(Value(lengths, {0: parts[0]}), (0, 1)))
    return [Value(value.shape, axes)]
