"""The arrays stored in a model, and the way back into the same graph."""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import AttributeProto, GraphProto, ModelProto, NodeProto, TensorProto, numpy_helper

from tieshare.errors import NotOnnx, UnsupportedModel

Array = NDArray[Any]

# Attributes of a Constant node that hold its value in place of a tensor, and their dtypes.
_PLAIN: Mapping[str, type[np.generic]] = {
    "value_float": np.float32,
    "value_floats": np.float32,
    "value_int": np.int64,
    "value_ints": np.int64,
}


def tensors(model: ModelProto) -> dict[str, Array]:
    """Every stored array of the main graph by the name of its value.

    NotOnnx: an array whose bytes do not fill its shape.
    """
    return stored_in(model.graph)


def stored_in(graph: GraphProto) -> dict[str, Array]:
    """The arrays of initializers and Constant nodes of one graph, by the names of their values."""
    found = {item.name: _array(item, item.name) for item in graph.initializer}
    for node, attribute in _constants(graph):
        name = node.output[0]
        if attribute.name == "value":
            found[name] = _array(attribute.t, name)
        else:
            value = attribute.f if attribute.name == "value_float" else attribute.i
            values = attribute.floats or attribute.ints
            plain = values if attribute.name.endswith("s") else value
            found[name] = np.asarray(plain, dtype=_PLAIN[attribute.name])
    return found


def with_tensors(model: ModelProto, new: Mapping[str, Array]) -> ModelProto:
    """A copy of the model with these values: same nodes, names, shapes and dtypes.

    UnsupportedModel: a name that stores no array, or an array of another shape.
    """
    changed = ModelProto()
    changed.CopyFrom(model)
    missing = dict(new)
    for item in changed.graph.initializer:
        if item.name in missing:
            item.CopyFrom(_like(item, missing.pop(item.name), item.name))
    for node, attribute in _constants(changed.graph):
        name = node.output[0]
        if name in missing:
            old = attribute.t
            if attribute.name != "value":
                old = numpy_helper.from_array(np.asarray(tensors(model)[name]), name)
            tensor = _like(old, missing.pop(name), old.name)
            attribute.CopyFrom(AttributeProto(name="value", type=AttributeProto.TENSOR, t=tensor))
    for name in missing:
        raise UnsupportedModel(f"the model stores no tensor {name!r}", where=name)
    return changed


def _constants(graph: GraphProto) -> Iterator[tuple[NodeProto, AttributeProto]]:
    for node in graph.node:
        if node.op_type == "Constant" and node.domain in ("", "ai.onnx"):
            for attribute in node.attribute:
                if attribute.name == "value" or attribute.name in _PLAIN:
                    yield node, attribute


def _array(tensor: TensorProto, name: str) -> Array:
    try:
        return numpy_helper.to_array(tensor)
    except (ValueError, TypeError, KeyError) as error:
        raise NotOnnx(f"tensor {name!r} can't be read: {error}", where=name) from error


def _like(old: TensorProto, values: Array, name: str) -> TensorProto:
    before = numpy_helper.to_array(old)
    if before.shape != values.shape:
        raise UnsupportedModel(
            f"tensor {name!r} has shape {before.shape}, not {values.shape}", where=name
        )
    return numpy_helper.from_array(np.array(values, dtype=before.dtype, order="C"), name)
