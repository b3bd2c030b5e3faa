"""Shapes of the values of a graph."""

import math
from collections.abc import Mapping

import numpy as np
from onnx import (
    GraphProto,
    ModelProto,
    NodeProto,
    TensorProto,
    TypeProto,
    checker,
    helper,
    numpy_helper,
    shape_inference,
)

from tieshare.errors import UnsupportedModel
from tieshare.graph.constants import LONGEST, fold
from tieshare.graph.tensors import stored_in

# Stand in for free axes; numbers that no layer is likely to have keep broadcasts apart. Images are
# halved some times on their way.
FREE_BATCH = 61
FREE_AXIS = 352

MOST_VALUES = 1 << 31  # of one value

Shape = tuple[int, ...]


def shapes_of(
    model: ModelProto, free_batch: int = FREE_BATCH, free_axis: int = FREE_AXIS
) -> Mapping[str, Shape]:
    """Value name -> full shape, batch first; values whose shape can't be known are left out.

    A free first axis of an input counts as ``free_batch``, any other free axis as ``free_axis``.
    Shapes that the graph computes are worked out for these: inference gives up at most of their
    arithmetic, and goes on where their values stand in the graph.
    """
    still = _outline(model)
    for item in still.graph.input:
        for axis, dim in enumerate(item.type.tensor_type.shape.dim):
            if dim.dim_value <= 0:
                dim.dim_value = free_axis if axis else free_batch
    while True:
        try:
            graph = shape_inference.infer_shapes(still, data_prop=True).graph
        except (shape_inference.InferenceError, checker.ValidationError):
            return {}
        found = {item.name: tuple(item.dims) for item in graph.initializer}
        for item in (*graph.input, *graph.value_info, *graph.output):
            shape = _axes(item.type)
            if shape is not None and all(shape):
                found[item.name] = tuple(axis or 0 for axis in shape)
        if not _state_computed(still, found):
            return found


def free_lengths(model: ModelProto, shapes: Mapping[str, Shape]) -> set[tuple[str, int]]:
    """(value, axis) whose length differs from one input of the network to another.

    ``shapes`` are the model's for the usual lengths of free axes; here they get others.
    """
    others = shapes_of(model, FREE_BATCH + 6, FREE_AXIS + 64)
    return {
        (name, axis)
        for name, shape in shapes.items()
        for axis, length in enumerate(shape)
        if len(others.get(name, ())) != len(shape) or others[name][axis] != length
    }


def _state_computed(model: ModelProto, shapes: Mapping[str, Shape]) -> bool:
    """Store numbers that follow from these shapes in place of the nodes; whether any did."""
    graph = model.graph
    known = {
        tensor.name: numpy_helper.to_array(tensor)
        for tensor in graph.initializer
        if tensor.raw_data or math.prod(tensor.dims) <= LONGEST
    }
    constants = [node for node in graph.node if node.op_type == "Constant"]
    known |= stored_in(GraphProto(node=constants))
    for node in graph.node:
        if node.op_type == "Shape" and node.input[0] in shapes:
            bounds = {item.name: item.i for item in node.attribute}
            stretch = slice(bounds.get("start", 0), bounds.get("end"))
            lengths = np.array(shapes[node.input[0]][stretch], dtype=np.int64)
            known[node.output[0]] = lengths
    known |= fold(graph.node, model.opset_import, known)
    stated = [
        node
        for node in graph.node
        if len(node.output) == 1
        and node.output[0] in known
        and known[node.output[0]].dtype.kind in "iuf"
        and node.op_type != "Constant"
    ]
    for node in stated:
        graph.node.remove(node)
        name = node.output[0]
        graph.initializer.append(numpy_helper.from_array(known[name], name))
    return bool(stated)


def sample_shape(model: ModelProto, output: str) -> tuple[int | None, ...] | None:
    """The shape of one sample of a graph output, None for free axes; None if it is not known.

    What follows from the nodes counts before what the file declares: converters get it wrong.
    """
    for source in (shape_inference.infer_shapes(_outline(model), data_prop=True), model):
        for item in source.graph.output:
            shape = _axes(item.type)
            if item.name == output and shape is not None:
                return shape[1:]
    return None


def check_shapes(model: ModelProto) -> None:
    """InferenceError where nodes contradict each other; shapes declared in the file don't count.

    UnsupportedModel: a value of one sample that no memory holds.
    """
    graph = shape_inference.infer_shapes(_outline(model), strict_mode=True, data_prop=True).graph
    for item in (*graph.input, *graph.value_info, *graph.output):
        known = [axis for axis in _axes(item.type) or () if axis is not None]
        if math.prod(known) > MOST_VALUES:
            raise UnsupportedModel(
                f"{item.name!r} has more than {MOST_VALUES:,} values, which no memory holds",
                where=item.name,
            )


def _outline(model: ModelProto) -> ModelProto:
    """A copy without the values of weights, and without declared shapes, inputs' apart."""
    outline = ModelProto(ir_version=model.ir_version, opset_import=model.opset_import)
    stored = {item.name for item in model.graph.initializer}
    outline.graph.name = model.graph.name
    outline.graph.node.extend(_inferable(node) for node in model.graph.node)
    outline.graph.input.extend(item for item in model.graph.input if item.name not in stored)
    outline.graph.output.extend(model.graph.output)
    for item in outline.graph.output:
        item.type.tensor_type.ClearField("shape")
    for tensor in model.graph.initializer:
        if math.prod(tensor.dims) <= LONGEST:
            outline.graph.initializer.append(tensor)
        else:
            outline.graph.initializer.add(
                name=tensor.name, data_type=tensor.data_type, dims=tensor.dims
            )
    return outline


def _inferable(node: NodeProto) -> NodeProto:
    """onnx infers nothing behind a Scaler; its output has the shape of its input."""
    if node.op_type != "Scaler" or node.domain != "ai.onnx.ml":
        return node
    return helper.make_node("Cast", node.input, node.output, to=TensorProto.FLOAT)


def _axes(kind: TypeProto) -> tuple[int | None, ...] | None:
    if not kind.HasField("tensor_type") or not kind.tensor_type.HasField("shape"):
        return None
    dims = kind.tensor_type.shape.dim
    return tuple(dim.dim_value if dim.dim_value > 0 else None for dim in dims)
