"""What a file says that running it does not need."""

from collections import Counter
from collections.abc import Iterator
from itertools import chain, count, product
from string import ascii_letters, digits

from onnx import AttributeProto, GraphProto, ModelProto, NodeProto, defs, helper

from tieshare.exports.packed.tensors import smallest
from tieshare.graph.nested import all_graphs
from tieshare.graph.view import opset_of

_WINDOWS = ("AveragePool", "Conv", "ConvTranspose", "LpPool", "MaxPool")
_NUMBERS_OF_WINDOWS = {"dilations": 1, "pads": 0, "strides": 1}
_IMPLIED = {("Conv", "kernel_shape"), ("ConvTranspose", "kernel_shape")}  # by the weight
_LETTERS = f"{ascii_letters}_"


def stripped(model: ModelProto) -> ModelProto:
    """The same graph in fewer bytes; inputs and outputs stay as they are.

    1. No documentation, metadata, names of nodes, shapes of inner values, or unused domains.
    2. No attribute that says what holds without it.
    3. Values are called a, b, c and so on, the most used first.
    4. Initializers are no inputs, which they need not be from IR version 4 on.
    5. int64 tensors are written with a variable length where that is shorter.
    """
    made = ModelProto(ir_version=max(model.ir_version, 4))
    made.functions.extend(model.functions)
    made.graph.CopyFrom(model.graph)
    graph = made.graph
    graph.name = "g"
    opset = opset_of(model)
    for inner in all_graphs(graph):
        _strip_graph(inner, opset)
    stored = {tensor.name for tensor in graph.initializer}
    inputs = [value for value in graph.input if value.name not in stored]
    del graph.input[:]
    graph.input.extend(inputs)
    used = {node.domain for inner in all_graphs(graph) for node in inner.node} | {""}
    used |= {item.domain for item in model.functions}
    for item in model.opset_import:
        domain = "" if item.domain == "ai.onnx" else item.domain
        if domain in used:
            made.opset_import.add(domain=domain or None, version=item.version)
    _rename(graph)
    return made


def _strip_graph(graph: GraphProto, opset: int) -> None:
    for field in ("doc_string", "metadata_props", "quantization_annotation", "value_info"):
        graph.ClearField(field)
    for value in chain(graph.input, graph.output):
        value.ClearField("doc_string")
        value.ClearField("metadata_props")
    for tensor in graph.initializer:
        tensor.CopyFrom(smallest(tensor))
        tensor.ClearField("doc_string")
        tensor.ClearField("metadata_props")
    for node in graph.node:
        _strip_node(node, opset)


def _strip_node(node: NodeProto, opset: int) -> None:
    for field in ("doc_string", "metadata_props", "name"):
        node.ClearField(field)
    if node.domain == "ai.onnx":
        node.ClearField("domain")
    for names in (node.input, node.output):
        while len(names) > 1 and not names[-1]:
            names.pop()
    if node.domain:
        return
    kept = [item for item in node.attribute if not _is_default(node.op_type, item, opset)]
    del node.attribute[:]
    node.attribute.extend(kept)


def _is_default(operator: str, attribute: AttributeProto, opset: int) -> bool:
    if attribute.ref_attr_name:
        return False
    if (operator, attribute.name) in _IMPLIED:
        return True
    value = helper.get_attribute_value(attribute)
    if operator in _WINDOWS and attribute.name in _NUMBERS_OF_WINDOWS:
        return all(number == _NUMBERS_OF_WINDOWS[attribute.name] for number in value)
    known = defs.get_schema(operator, opset).attributes.get(attribute.name)
    if known is None or not known.default_value.type:
        return False
    return bool(value == helper.get_attribute_value(known.default_value))


def _rename(graph: GraphProto) -> None:
    """Inner graphs read values of the graphs around them, so a name changes everywhere alike."""
    fixed = {value.name for value in chain(graph.input, graph.output)}
    uses = Counter(name for inner in all_graphs(graph) for name in _names(inner))
    fresh = (name for name in _short_names() if name not in fixed)
    short = {name: next(fresh) for name, _ in uses.most_common() if name and name not in fixed}
    for inner in all_graphs(graph):
        for value in (*inner.input, *inner.output):
            value.name = short.get(value.name, value.name)
        for tensor in inner.initializer:
            tensor.name = short.get(tensor.name, tensor.name)
        for node in inner.node:
            for names in (node.input, node.output):
                names[:] = [short.get(name, name) for name in names]


def _names(graph: GraphProto) -> Iterator[str]:
    """Every mention of a value."""
    yield from (value.name for value in chain(graph.input, graph.output))
    yield from (tensor.name for tensor in graph.initializer)
    for node in graph.node:
        yield from chain(node.input, node.output)


def _short_names() -> Iterator[str]:
    """Every identifier, the shorter ones first."""
    for length in count():
        for first, *rest in product(_LETTERS, *[_LETTERS + digits] * length):
            yield first + "".join(rest)
