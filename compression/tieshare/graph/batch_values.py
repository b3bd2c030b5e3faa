"""Shapes, samples and small contents of the values of a graph, for a batch of BATCH samples."""

import math
from collections.abc import Iterable, Mapping

import numpy as np
from onnx import ModelProto, NodeProto, TensorProto, TypeProto, defs, helper, numpy_helper
from onnx.reference import ReferenceEvaluator
from onnx.shape_inference import InferenceError, infer_node_outputs

from tieshare.graph.batch_spread import BATCH, MixedSamples, Shape, Spread, spread_of
from tieshare.graph.constants import LONGEST
from tieshare.graph.tensors import Array
from tieshare.graph.view import Node, View

# Stands in for every other free axis.
_FREE = 999_983


class BatchValues:
    """Filled node by node, in graph order.

    ``batch``    the batch size that the graph was exported for, None where it takes any.
    ``source``   the graph input that has it.
    ``free``     whether other axes of the inputs are free.
    ``types``    of the values whose full shape is known.
    ``spreads``  of those that hold samples.
    ``data``     contents, where they are few and follow from shapes and constants.
    """

    def __init__(self, model: ModelProto, seen: View) -> None:
        self._model, self._seen = model, seen
        self.batch: int | None = None
        self.source, self.free = "", False
        self.types: dict[str, TypeProto] = {}
        self.spreads: dict[str, Spread] = {}
        self.data: dict[str, Array] = {}
        self._constants: dict[str, Array | None] = {}
        for item in model.graph.input:
            if item.name in seen.inputs and item.type.HasField("tensor_type"):
                self._read(item.name, item.type.tensor_type)
        for name, array in seen.tensors.items():
            self.put(name, helper.np_dtype_to_tensor_dtype(array.dtype), array.shape)
            if array.size <= LONGEST:
                self.data[name] = array

    def _read(self, name: str, kind: TypeProto.Tensor) -> None:
        lengths = [dim.dim_value for dim in kind.shape.dim]
        if not lengths:
            return
        if not self.source:
            self.source, self.batch = name, lengths[0] or None
        first = BATCH if lengths[0] == self.batch else lengths[0] or _FREE
        self.free = self.free or not all(lengths[1:])
        self.put(name, kind.elem_type, (first, *(length or _FREE for length in lengths[1:])))

    def shape(self, name: str) -> Shape | None:
        """The full shape, if it is known."""
        kind = self.types.get(name)
        return None if kind is None else _shape(kind)

    def put(self, name: str, element: int, shape: Shape, spread: Spread | None = None) -> None:
        """State the type of a value. MixedSamples: it would hold samples more than once."""
        spread = spread or spread_of(shape)
        self.types[name] = helper.make_tensor_type_proto(element, shape)
        if spread is not None:
            self.spreads[name] = spread

    def forget(self, names: Iterable[str]) -> None:
        """Nothing is known of these values any more."""
        for name in names:
            for known in (self.types, self.spreads, self.data):
                known.pop(name, None)

    def run(self, node: Node, proto: NodeProto, like: Spread | None) -> None:
        """Learn what the outputs of the node are; ``proto`` may read other inputs.

        MixedSamples: its inputs don't fit together.
        """
        inputs = [name for name in proto.input if name]
        if node.graphs or any(name not in self.types for name in inputs):
            return
        for name, kind in self._inferred(node, proto, inputs).items():
            shape = _shape(kind)
            if shape is not None:
                reshaped = node.operator in ("Reshape", "Flatten")
                spread = spread_of(shape, like, reshaped=reshaped)
                self.put(name, kind.tensor_type.elem_type, shape, spread)
        self._fill(node, proto, inputs)

    def _inferred(self, node: Node, proto: NodeProto, inputs: list[str]) -> Mapping[str, TypeProto]:
        if node.operator == "ai.onnx.ml.Scaler":
            kind = helper.make_tensor_type_proto(TensorProto.FLOAT, self.shape(inputs[0]))
            return {proto.output[0]: kind}
        try:
            return infer_node_outputs(
                defs.get_schema(proto.op_type, node.opset, proto.domain),
                proto,
                {name: self.types[name] for name in inputs},
                {
                    name: numpy_helper.from_array(self.data[name], name)
                    for name in inputs
                    if name in self.data
                },
                opset_imports=list(self._model.opset_import),
            )
        except defs.SchemaError:
            return {}
        except InferenceError as error:
            if any(name in self.spreads for name in inputs):
                raise MixedSamples from error
            return {}

    def _fill(self, node: Node, proto: NodeProto, inputs: list[str]) -> None:
        shapes = [self.shape(name) for name in proto.output]
        if node.operator == "Shape" and shapes[0] is not None:
            axes = slice(node.setting("start", default=0), node.setting("end"))
            shape = self.shape(inputs[0]) or ()
            self.data[proto.output[0]] = np.array(shape[axes], dtype=np.int64)
            return
        short = all(shape is not None and math.prod(shape) <= LONGEST for shape in shapes)
        if short and inputs and all(name in self.data for name in inputs):
            self.data.update(self._evaluated([proto], self.data, proto.output))

    def constant(self, name: str) -> Array | None:
        """The contents of a value of any size that no graph input reaches."""
        if name not in self._constants:
            found = self._seen.tensors.get(name)
            if found is None and name in self._seen.constants:
                nodes = [self._model.graph.node[n.index] for n in self._seen.needed([name])]
                found = self._evaluated(nodes, self._seen.tensors, [name]).get(name)
            self._constants[name] = found
        return self._constants[name]

    def _evaluated(
        self, nodes: list[NodeProto], known: Mapping[str, Array], outputs: Iterable[str]
    ) -> dict[str, Array]:
        names = list(outputs)
        graph = helper.make_graph(
            nodes,
            "constant",
            [],
            [helper.make_empty_tensor_value_info(name) for name in names],
            [
                numpy_helper.from_array(known[name], name)
                for name in dict.fromkeys(name for node in nodes for name in node.input)
                if name in known
            ],
        )
        model = helper.make_model(graph, opset_imports=list(self._model.opset_import))
        try:
            results = ReferenceEvaluator(model).run(None, {})
        # The evaluator raises whatever numpy does; an unknown value is a sound answer.
        except Exception:
            return {}
        return {name: np.asarray(value) for name, value in zip(names, results, strict=True)}


def _shape(kind: TypeProto) -> Shape | None:
    if not kind.HasField("tensor_type") or not kind.tensor_type.HasField("shape"):
        return None
    dims = kind.tensor_type.shape.dim
    if not all(dim.HasField("dim_value") for dim in dims):
        return None
    return tuple(dim.dim_value for dim in dims)
