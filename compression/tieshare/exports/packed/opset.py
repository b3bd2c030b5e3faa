"""Raising a model's opset without changing one of its nodes."""

from onnx import ModelProto, defs

from tieshare.graph.nested import all_graphs
from tieshare.graph.view import DEFAULT_DOMAIN, opset_of

# Attributes and inputs that a later version has too: without them it does what it always did.
_HARMLESS = {
    ("AveragePool", "dilations"),
    ("Cast", "saturate"),
    ("CastLike", "saturate"),
    ("GRU", "layout"),
    ("LSTM", "layout"),
    ("Pad", "axes"),
    ("RNN", "layout"),
    ("Reshape", "allowzero"),
    ("Shape", "end"),
    ("Shape", "start"),
}


def can_raise(model: ModelProto, opset: int) -> bool:
    """Whether every node means in ``opset`` what it means now.

    True where both versions of its operator have the same inputs, outputs and attributes with the
    same defaults: then the later one takes more types and no more. A model with functions of its
    own, which import opsets themselves, is left alone.
    """
    now = opset_of(model)
    nodes = [
        node
        for graph in all_graphs(model.graph)
        for node in graph.node
        if node.domain in DEFAULT_DOMAIN
    ]
    return not model.functions and all(_same(node.op_type, now, opset) for node in nodes)


def _same(operator: str, now: int, later: int) -> bool:
    try:
        before, after = (defs.get_schema(operator, version) for version in (now, later))
    except defs.SchemaError:
        return False
    if after.deprecated:
        return False
    return before.since_version == after.since_version or _signature(before) == _signature(after)


def _signature(schema: defs.OpSchema) -> tuple[object, ...]:
    """What a node of the operator may say; types apart."""
    sides = [
        [(i.name, i.option) for i in side if (schema.name, i.name) not in _HARMLESS]
        for side in (schema.inputs, schema.outputs)
    ]
    attributes = {
        name: (item.required, item.type, item.default_value.SerializeToString())
        for name, item in schema.attributes.items()
        if (schema.name, name) not in _HARMLESS
    }
    return *sides, attributes
