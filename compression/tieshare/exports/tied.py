"""The tied export: the uploaded graph with other values."""

from collections.abc import Mapping

import numpy as np
from onnx import ModelProto

from tieshare.exports.units import Masks, staying
from tieshare.graph.structure import Structure
from tieshare.graph.tensors import Array, tensors, with_tensors
from tieshare.graph.view import Node, View, view

_PRODUCTS = frozenset(
    {"Attention", "Conv", "ConvTranspose", "Einsum", "GRU", "Gemm", "LSTM", "MatMul", "RNN"}
)
_NOT_AT_ZERO = frozenset({"Acosh", "Log", "LpNormalization", "ReduceLogSum", "Reciprocal"})
_BATCH_NORM_STATISTICS = (3, 4)


def tied(model: ModelProto, values: Mapping[str, Array], structure: Structure) -> ModelProto:
    """Same nodes, names and shapes as ``model``, with ``values`` (by value name) in it.

    What belongs to units that nobody reads is zeroed too: their columns, bias, and what a unit is
    scaled and shifted by on its way. That changes no output.
    """
    now = {**tensors(model), **values}
    changed = dict(values)
    seen = view(model)
    for name, masks in staying(structure, now).items():
        if _may_be_zero(name, seen):
            changed[name] = _zeroed(now[name], masks)
    return with_tensors(model, changed)


def _may_be_zero(tensor: str, seen: View) -> bool:
    """Whether units of zeros in the tensor are finite numbers where the next weights read them."""
    pending, checked = [tensor], {tensor}
    for value in pending:
        for node, slot in seen.readers.get(value, ()):
            if _fails_at_zero(node, slot):
                return False
            if node.operator not in _PRODUCTS or value in seen.constants:
                pending += [name for name in node.outputs if name not in checked]
                checked.update(node.outputs)
    return True


def _fails_at_zero(node: Node, slot: int) -> bool:
    if node.operator == "Pow":
        exponent = node.known[1]
        return slot == 0 and (exponent is None or bool((exponent <= 0).any()))
    if node.operator == "BatchNormalization":
        return slot in _BATCH_NORM_STATISTICS
    return node.operator in _NOT_AT_ZERO or (node.operator in ("Div", "Mod") and slot == 1)


def _zeroed(array: Array, masks: Masks) -> Array:
    copy = array.copy()
    for axis, mask in masks.items():
        np.moveaxis(copy, axis, 0)[~mask] = 0
    return copy
