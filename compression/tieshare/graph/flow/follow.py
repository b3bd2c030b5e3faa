"""The walk through a graph: each node by its rule, and what no rule understands stays."""

from collections.abc import Container, Mapping, Sequence
from dataclasses import replace

from tieshare.graph.flow.table import MAKE_UNITS, RULES, STATE_LENGTHS
from tieshare.graph.flow.values import Axis, Value
from tieshare.graph.flow.walk import Crossing, Walk
from tieshare.graph.shapes import Shape
from tieshare.graph.view import Node, View
from tieshare.graph.zeros import is_zero

_BIAS = 2  # of a convolution


def follow(seen: View, shapes: Mapping[str, Shape], free: Container[tuple[str, int]] = ()) -> Walk:
    """What the rules find on the way through the whole graph; its outputs stay.

    ``free``  the axes whose lengths differ from one input of the network to another.
    """
    walk = Walk(seen, shapes, free)
    for node in seen.nodes:
        if node.inputs:
            _cross(node, walk)
    for name in seen.outputs:
        walk.hold(walk.value(name))
    walk.hold_lengths(seen.outputs)
    counted = walk.counting.edits()
    walk.edits.extend(counted)
    for edit in counted:
        walk.occupied.extend(entry for entry in edit.entries if not isinstance(entry, int))
    return walk


def _cross(node: Node, walk: Walk) -> None:
    if walk.sizes.follow(node):
        return
    node = _without_zero_bias(node, walk.seen)
    inputs = tuple(walk.value(name) if name else Value(()) for name in node.inputs)
    owned = any(value.axes for value in inputs) or node.operator in MAKE_UNITS
    if not owned and not walk.sizes.lengths(node.inputs):
        return
    here = Crossing(node, inputs, tuple(walk.shape(name) for name in node.outputs), walk)
    rule = RULES.get(node.operator)
    if rule is None or any(name and walk.shape(name) is None for name in node.inputs):
        made: Sequence[Value] = here.hold()
    else:
        made = rule(here)
        if node.operator not in STATE_LENGTHS:
            walk.hold_lengths(node.inputs)
    for name, value in zip(node.outputs, made, strict=False):
        if name:
            walk.values[name] = _without_single(value, walk)


def _without_zero_bias(node: Node, seen: View) -> Node:
    """A convolution whose bias is zeros that nodes spread has none, however many units it has."""
    convolution = node.operator in ("Conv", "ConvTranspose")
    if not (convolution and node.has(_BIAS) and is_zero(seen, node.inputs[_BIAS])):
        return node
    return replace(node, inputs=(*node.inputs[:_BIAS], "", *node.inputs[_BIAS + 1 :]))


def _without_single(value: Value, walk: Walk) -> Value:
    """An axis of length 1 is nobody's."""
    axes: dict[int, Axis] = {}
    for place, axis in value.axes.items():
        if value.shape[place] == 1:
            walk.pin(axis)
        else:
            axes[place] = axis
    return Value(value.shape, axes)
