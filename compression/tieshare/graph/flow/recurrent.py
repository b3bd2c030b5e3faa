"""LSTM, GRU and RNN: the gates of a hidden unit go together."""

from collections.abc import Sequence

from tieshare.graph.flow.values import Axis, Counted, Value
from tieshare.graph.flow.walk import Crossing

_INPUTS, _RECURRENT = 1, 2
_STATES = {"LSTM": (5, 6), "GRU": (5,), "RNN": (5,)}
_BIAS, _PEEPHOLES = 3, 7


def recurrent(here: Crossing) -> Sequence[Value]:
    """A unit goes in both directions at once.

    X (T, N, in), W (dirs, gates * hidden, in), R (dirs, gates * hidden, hidden),
    B (dirs, 2 * gates * hidden), states (dirs, N, hidden), P (dirs, 3 * hidden);
    Y (T, dirs, N, hidden), last states (dirs, N, hidden); with layout 1 batch first.
    """
    walk, hidden = here.walk, here.inputs[_RECURRENT].shape[2]
    by_unit = {_INPUTS: 1, _RECURRENT: 1, **dict.fromkeys(_STATES[here.node.operator], 2)}
    by_unit |= {_BIAS: 1, _PEEPHOLES: 1}
    given = {slot: place for slot, place in by_unit.items() if here.node.has(slot)}
    owned = {slot: here.inputs[slot].axes.get(place) for slot, place in given.items()}
    made = [shape for name, shape in zip(here.node.outputs, here.shapes, strict=True) if name]
    unit = here.inputs[_RECURRENT].axes.get(2)
    if unit is None or None in owned.values() or None in made:
        return here.hold()
    for slot, value in enumerate(here.inputs):
        walk.hold(value, free=(by_unit.get(slot, 2), 2))
    walk.contract([(here.inputs[0].axes.get(2), here.inputs[_INPUTS].axes.get(2))])
    walk.contract([(Axis(unit.ids), unit)])
    for axis in owned.values():
        if axis is not None:
            for gate in axis.ids.reshape(-1, hidden, axis.ids.shape[1]):
                walk.atoms.meet(unit.ids, gate)
    if "hidden_size" in here.node.attributes:
        walk.edits.append(Counted(here.node.index, "hidden_size", (unit.ids,)))
    return [
        Value(shape, {len(shape) - 1: Axis(unit.ids)}) if shape else Value(())
        for shape in here.shapes
    ]
