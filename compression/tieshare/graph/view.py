"""A graph read once into plain Python: what the structure, the checks and the twin all ask for."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeVar

from onnx import AttributeProto, GraphProto, ModelProto, NodeProto, OperatorSetIdProto, helper

from tieshare.graph.constants import fold
from tieshare.graph.tensors import Array, stored_in

DEFAULT_DOMAIN = ("", "ai.onnx")

_N = TypeVar("_N")


@dataclass(frozen=True, eq=False)
class Node:
    """One node.

    ``name``      unique in the graph, made up where the file has none.
    ``operator``  with its domain in front where that is not ONNX's own.
    ``inputs``    "" where an optional one is left out; behind the ``explicit`` ones follow the
                  values that the node's own graphs read from outside.
    ``known``     the value of each input that no graph input and no gradient changes, else None.
    ``sole``      per input: a stored tensor that nothing else in the graph reads.
    ``graphs``    the bodies of control flow by attribute name.
    """

    index: int
    name: str
    operator: str
    opset: int
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: Mapping[str, Any]
    known: tuple[Array | None, ...]
    sole: tuple[bool, ...]
    explicit: int
    graphs: Mapping[str, "View"]

    def has(self, slot: int) -> bool:
        """Whether the optional input is there."""
        return slot < self.explicit and self.inputs[slot] != ""

    def setting(self, name: str, slot: int | None = None, default: Any = None) -> Any:
        """An option that opsets keep as an attribute or as a constant input, as plain Python."""
        if name in self.attributes:
            return self.attributes[name]
        if slot is not None and self.has(slot):
            value = self.known[slot]
            return None if value is None else value.tolist()
        return default


@dataclass(frozen=True)
class View:
    """One graph; nodes in an order in which they can run.

    ``captured``  values that the body of a control flow node reads from outside.
    """

    nodes: tuple[Node, ...]
    tensors: Mapping[str, Array]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    captured: tuple[str, ...] = ()

    @cached_property
    def producers(self) -> Mapping[str, Node]:
        """The node that makes a value."""
        return {value: node for node in self.nodes for value in node.outputs if value}

    @cached_property
    def readers(self) -> Mapping[str, tuple[tuple[Node, int], ...]]:
        """The nodes that read a value, each with the input it reads it by."""
        return _readers((node, node.inputs) for node in self.nodes)

    @cached_property
    def constants(self) -> frozenset[str]:
        """Values that no graph input reaches: the stored ones and what is computed from them."""
        found = {"", *self.tensors}
        for node in self.nodes:
            if node.inputs and found.issuperset(node.inputs):
                found.update(node.outputs)
        return frozenset(found)

    def needed(self, outputs: Iterable[str]) -> tuple[Node, ...]:
        """The nodes that compute these values, in graph order; Constant nodes only store them."""
        wanted = set(outputs)
        kept = []
        for node in reversed(self.nodes):
            if not wanted.isdisjoint(node.outputs) and self.tensors.keys().isdisjoint(node.outputs):
                kept.append(node)
                wanted.update(node.inputs)
        return tuple(reversed(kept))


def opset_of(model: ModelProto) -> int:
    """Of the default operator domain."""
    imports = model.opset_import
    return int(next(item.version for item in imports if item.domain in DEFAULT_DOMAIN))


def view(model: ModelProto) -> View:
    """Read the main graph. Arrays are shared with nothing: treat them as read-only."""
    return _view(model.graph, model.opset_import, {})


def _view(
    graph: GraphProto, imports: Sequence[OperatorSetIdProto], outside: Mapping[str, Array]
) -> View:
    """``outside``: what is known around the body of a control flow node."""
    stored = stored_in(graph)
    known = {**outside, **stored, **fold(graph.node, imports, stored)}
    graphs = [
        {a.name: _view(a.g, imports, known) for a in node.attribute if a.HasField("g")}
        for node in graph.node
    ]
    reads = [
        (*node.input, *dict.fromkeys(name for inner in found.values() for name in inner.captured))
        for node, found in zip(graph.node, graphs, strict=True)
    ]
    readers = _readers(zip(graph.node, reads, strict=True))
    outputs = tuple(item.name for item in graph.output)
    opsets = {"" if o.domain == "ai.onnx" else o.domain: o.version for o in imports}
    names = _unique_names(graph.node)
    nodes = []
    for index, proto in enumerate(graph.node):
        domain = "" if proto.domain in DEFAULT_DOMAIN else proto.domain
        nodes.append(
            Node(
                index=index,
                name=names[index],
                operator=f"{domain}.{proto.op_type}" if domain else proto.op_type,
                opset=opsets.get(domain, 0),
                inputs=reads[index],
                outputs=tuple(proto.output),
                attributes=_attributes(proto),
                known=tuple(known.get(value) for value in reads[index]),
                sole=tuple(
                    value in stored and len(readers[value]) == 1 and value not in outputs
                    for value in reads[index]
                ),
                explicit=len(proto.input),
                graphs=graphs[index],
            )
        )
    inputs = tuple(item.name for item in graph.input if item.name not in stored)
    made = {"", *inputs, *stored, *(value for node in nodes for value in node.outputs)}
    wanted = [*(value for node in nodes for value in node.inputs), *outputs]
    captured = tuple(dict.fromkeys(name for name in wanted if name not in made))
    return View(tuple(nodes), stored, inputs, outputs, captured)


def _readers(
    nodes: Iterable[tuple[_N, Iterable[str]]],
) -> dict[str, tuple[tuple[_N, int], ...]]:
    found: dict[str, list[tuple[_N, int]]] = {}
    for node, inputs in nodes:
        for slot, value in enumerate(inputs):
            found.setdefault(value, []).append((node, slot))
    return {value: tuple(uses) for value, uses in found.items()}


def _unique_names(nodes: Sequence[NodeProto]) -> tuple[str, ...]:
    """The names in the file; a number is added where one is missing or taken."""
    given = [node.name for node in nodes]
    taken = set(given)
    seen: set[str] = set()
    names = []
    for index, (node, name) in enumerate(zip(nodes, given, strict=True)):
        unique = name
        if not name or name in seen:
            unique = f"{name or node.op_type}_{index}"
            while unique in taken:
                unique += "_"
        seen.add(unique)
        taken.add(unique)
        names.append(unique)
    return tuple(names)


def _attributes(node: NodeProto) -> dict[str, Any]:
    """By name; text as str, arrays as TensorProto; graphs apart."""
    values = {}
    for attribute in node.attribute:
        if attribute.type in (AttributeProto.GRAPH, AttributeProto.GRAPHS):
            continue
        value = helper.get_attribute_value(attribute)
        values[attribute.name] = (
            value.decode(errors="replace") if isinstance(value, bytes) else value
        )
    return values
