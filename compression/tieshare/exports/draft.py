"""A working copy of a graph: a list of nodes to edit and the tensors by name."""

from collections import Counter
from collections.abc import Iterator

import numpy as np
from onnx import (
    GraphProto,
    ModelProto,
    NodeProto,
    TensorProto,
    ValueInfoProto,
    helper,
    numpy_helper,
)

from tieshare.graph.nested import inner_graphs
from tieshare.graph.tensors import Array
from tieshare.graph.view import opset_of


class Draft:
    """Nodes and tensors taken from ``model``, which stays as it is.

    Constant nodes that hold a tensor or numbers become initializers, so that every stored value
    is found in one place.
    """

    def __init__(self, model: ModelProto) -> None:
        self._model = model
        self._tensors: dict[str, TensorProto] = {}
        self.nodes: list[NodeProto] = []
        for tensor in model.graph.initializer:
            self._tensors[tensor.name] = tensor
        for node in model.graph.node:
            constant = _constant(node)
            if constant is None:
                self.nodes.append(NodeProto())
                self.nodes[-1].CopyFrom(node)
            else:
                self._tensors[node.output[0]] = constant
        self._names = set(_values(model.graph))

    @property
    def opset(self) -> int:
        """Of the default operator domain."""
        return opset_of(self._model)

    @property
    def ir_version(self) -> int:
        """Of the file format."""
        return int(self._model.ir_version)

    def outputs(self) -> set[str]:
        """The names of the graph's outputs."""
        return {value.name for value in self._model.graph.output}

    def names(self) -> list[str]:
        """Of the stored tensors."""
        return list(self._tensors)

    def stored(self, name: str) -> bool:
        """Whether ``name`` is a stored tensor."""
        return name in self._tensors

    def array(self, name: str) -> Array:
        """The values of a stored tensor."""
        return numpy_helper.to_array(self._tensors[name])

    def tensor(self, name: str) -> TensorProto:
        """A stored tensor under its name."""
        return _named(self._tensors[name], name)

    def put(self, name: str, array: Array) -> None:
        """Store ``array`` as ``name``, in the place of what was there."""
        self.put_tensor(numpy_helper.from_array(np.asarray(array, order="C"), name))

    def put_tensor(self, tensor: TensorProto) -> None:
        """Store ``tensor`` under its name, in the place of what was there."""
        self._tensors[tensor.name] = tensor
        self._names.add(tensor.name)

    def add(self, stem: str, array: Array) -> str:
        """Store ``array`` under a new name like ``stem``; returns the name."""
        name = self.fresh(stem)
        self.put(name, array)
        return name

    def drop(self, name: str) -> None:
        """Store ``name`` no longer."""
        del self._tensors[name]

    def fresh(self, stem: str) -> str:
        """A value name that nothing has yet."""
        name, number = stem, 1
        while name in self._names:
            number += 1
            name = f"{stem}.{number}"
        self._names.add(name)
        return name

    def stem(self, name: str) -> str:
        """``name``, or one like it, that no value's name goes on from with a dot."""
        stem, number = name, 1
        while any(known.startswith(f"{stem}.") for known in self._names):
            number += 1
            stem = f"{name}_{number}"
        return stem

    def readers(self) -> Counter[str]:
        """How many node inputs (graph outputs count too) read each value."""
        found = Counter(self.outputs())
        for node in self.nodes:
            found.update(_reads(node))
        return found

    def unshare(self, keep: set[str]) -> None:
        """Give every node input its own copy of the tensor it reads, those in ``keep`` apart."""
        seen = {name for node in self.nodes for name in _inner_reads(node)}
        for node in self.nodes:
            for index, name in enumerate(node.input):
                if name in seen and name not in keep:
                    node.input[index] = self.add(name, self.array(name))
                elif name in self._tensors:
                    seen.add(name)

    def merge(self) -> dict[str, str]:
        """Store tensors of the same type, shape and values once; the new names of the others."""
        first: dict[bytes, str] = {}
        renamed: dict[str, str] = {}
        for name in list(self._tensors):
            nameless = TensorProto()
            nameless.CopyFrom(self._tensors[name])
            nameless.ClearField("name")
            known = first.setdefault(nameless.SerializeToString(deterministic=True), name)
            if known != name:
                renamed[name] = known
        for node in self.nodes:
            for index, name in enumerate(node.input):
                node.input[index] = renamed.get(name, name)
        return renamed

    def model(self) -> ModelProto:
        """The graph as it now stands, without anything that running it does not need.

        Left out: tensors that nothing reads, documentation, metadata, shapes of inner values.
        Inputs, outputs, opsets and the IR version are those of the model this began with.
        """
        made = ModelProto(ir_version=self._model.ir_version)
        made.opset_import.extend(self._model.opset_import)
        made.functions.extend(self._model.functions)
        graph = made.graph
        graph.name = self._model.graph.name
        for node in self.nodes:
            graph.node.append(node)
            graph.node[-1].ClearField("doc_string")
            graph.node[-1].ClearField("metadata_props")
        read = self.readers()
        graph.initializer.extend(
            _named(tensor, name) for name, tensor in self._tensors.items() if read[name]
        )
        initial = {tensor.name for tensor in self._model.graph.initializer}
        graph.input.extend(v for v in self._model.graph.input if v.name not in initial)
        graph.output.extend(self._model.graph.output)
        if made.ir_version < 4:
            graph.input.extend(_declared(tensor) for tensor in graph.initializer)
        return made


def _constant(node: NodeProto) -> TensorProto | None:
    """What a Constant node holds; None for other nodes, and for strings and sparse tensors."""
    if node.op_type != "Constant" or node.domain:
        return None
    (attribute,) = node.attribute
    value = helper.get_attribute_value(attribute)
    if attribute.name == "value":
        return value if isinstance(value, TensorProto) else None
    kinds = {"float": np.float32, "floats": np.float32, "int": np.int64, "ints": np.int64}
    kind = kinds.get(attribute.name.removeprefix("value_"))
    return None if kind is None else numpy_helper.from_array(np.array(value, dtype=kind))


def _reads(node: NodeProto) -> Iterator[str]:
    """The values a node reads, in its subgraphs too."""
    yield from (name for name in node.input if name)
    yield from _inner_reads(node)


def _inner_reads(node: NodeProto) -> Iterator[str]:
    for graph in inner_graphs(node):
        yield from (value.name for value in graph.output)
        for inner in graph.node:
            yield from _reads(inner)


def _values(graph: GraphProto) -> Iterator[str]:
    """Every name a graph gives to a value, those of subgraphs too."""
    yield from (value.name for value in graph.input)
    yield from (tensor.name for tensor in graph.initializer)
    for node in graph.node:
        yield from node.output
        for inner in inner_graphs(node):
            yield from _values(inner)


def _named(tensor: TensorProto, name: str) -> TensorProto:
    copy = TensorProto()
    copy.CopyFrom(tensor)
    copy.name = name
    copy.ClearField("doc_string")
    copy.ClearField("metadata_props")
    return copy


def _declared(tensor: TensorProto) -> ValueInfoProto:
    """IR version 3 wants every initializer among the inputs; it still is a constant there."""
    return helper.make_tensor_value_info(tensor.name, tensor.data_type, list(tensor.dims))
