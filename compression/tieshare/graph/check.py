"""The one check that refuses, before any work, what can't be trained."""

from collections.abc import Iterable

from onnx import ModelProto, defs

from tieshare.errors import UnsupportedOperator
from tieshare.graph.operators import OPERATORS
from tieshare.graph.view import Node, View, view

_NEWEST = defs.onnx_opset_version()


def check_operators(model: ModelProto, outputs: Iterable[str] | None = None) -> None:
    """Raise UnsupportedOperator for the first node that stands in the way of these outputs.

    ``outputs`` None: all of the graph's. Nodes that only serve other outputs are left alone.
    """
    seen = view(model)
    _check(seen, seen.outputs if outputs is None else outputs)


def _check(seen: View, outputs: Iterable[str]) -> None:
    for node in seen.needed(outputs):
        reason = _objection(node)
        if reason:
            raise UnsupportedOperator(
                node=node.name, operator=node.operator, opset=node.opset, reason=reason
            )
        for inner in node.graphs.values():
            _check(inner, inner.outputs)


def _objection(node: Node) -> str | None:
    rule = OPERATORS.get(node.operator)
    if rule is None:
        return "the operator is not known"
    if not rule.since <= node.opset <= _NEWEST:
        return f"it is understood from opset {rule.since} to {_NEWEST}"
    for name, value in zip(node.inputs, node.known, strict=True):
        if value is not None and value.dtype.kind not in "biufV":
            return f"its input {name!r} holds {value.dtype}"
    if node.operator == "BatchNormalization" and node.setting("spatial", default=1) != 1:
        return "it has statistics for every position (spatial = 0)"
    return None
