"""A graph whose stored tensors are written in few bytes, with the nodes that decode them."""

from collections.abc import Iterable, Iterator, Mapping
from itertools import count

import numpy as np
from onnx import ModelProto, NodeProto, TensorProto, helper

from tieshare.exports.draft import Draft
from tieshare.exports.packed import floats, indices
from tieshare.exports.packed.coded import Coded
from tieshare.exports.packed.floats import Weight
from tieshare.exports.packed.grids import Grid
from tieshare.exports.packed.pool import pool
from tieshare.exports.packed.upright import upright

_FOUR_BIT_IR = 10
_FOUR_BIT = (TensorProto.INT4, TensorProto.UINT4)


def coded(
    model: ModelProto, grids: Mapping[str, Grid], loose: Iterable[str], opset: int
) -> ModelProto:
    """The same values in the fewest bytes that ``opset`` has operators for.

    1. Whole numbers that are stored narrow and widened by a Cast.
    2. The tensors that have ``grids``.
    3. The ``loose`` tensors, and the floats that steps 1 and 2 left.
    """
    draft = Draft(model)
    prefix = draft.stem("packed")
    stems = (f"{prefix}.{number}" for number in count())
    small = [*loose, *_switches(draft)]
    made = [
        indices.written(draft.array(name), name, next(stems), opset) for name in _widened(draft)
    ]
    for name, grid in upright(draft, grids).items():
        weight = Weight(draft.array(name), name, next(stems), grid.bits, grid.unit_axis, opset)
        made.append(floats.written(weight))
    nodes = [node for one in made for node in _installed(draft, one)]
    small += [tensor.name for one in made for tensor in one.tensors if _is_float(tensor)]
    pooled = pool({name: draft.array(name) for name in dict.fromkeys(small)}, stems, opset)
    ahead = [node for one in pooled for node in _installed(draft, one)]
    draft.nodes = [*ahead, *nodes, *draft.nodes]
    draft.merge()
    result = draft.model()
    _raise(result, opset)
    return result


def _widened(draft: Draft) -> list[str]:
    """Store what these Casts make in their place."""
    names = []
    for node in list(draft.nodes):
        if node.op_type != "Cast" or not draft.stored(node.input[0]):
            continue
        array = draft.array(node.input[0])
        to = helper.get_node_attr_value(node, "to")
        if to == TensorProto.INT64 and array.dtype.kind in "iu":
            draft.put(node.output[0], array.astype(np.int64))
            draft.nodes.remove(node)
            names.append(node.output[0])
    return names


def _switches(draft: Draft) -> Iterator[str]:
    """The off and on of each OneHot."""
    for node in draft.nodes:
        if node.op_type == "OneHot" and draft.stored(node.input[2]):
            yield node.input[2]


def _installed(draft: Draft, one: Coded) -> tuple[NodeProto, ...]:
    """The nodes, once the tensors are stored in place of the values that are decoded."""
    for node in one.nodes:
        for name in node.output:
            if draft.stored(name):
                draft.drop(name)
    for tensor in one.tensors:
        draft.put_tensor(tensor)
    return one.nodes


def _is_float(tensor: TensorProto) -> bool:
    return bool(tensor.data_type == TensorProto.FLOAT)


def _raise(model: ModelProto, opset: int) -> None:
    """State the opset, and the IR version that four-bit tensors need."""
    for item in model.opset_import:
        if item.domain in ("", "ai.onnx"):
            item.version = opset
    if any(tensor.data_type in _FOUR_BIT for tensor in model.graph.initializer):
        model.ir_version = max(model.ir_version, _FOUR_BIT_IR)
