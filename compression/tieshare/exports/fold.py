"""Batch normalisation right behind a layer becomes part of the layer."""

from collections.abc import Mapping, Sequence

import numpy as np
from onnx import ModelProto, NodeProto, helper

from tieshare.exports.draft import Draft
from tieshare.exports.forms import is_plain_product
from tieshare.graph.layers import Layer, layers_of
from tieshare.graph.shapes import Shape, shapes_of
from tieshare.graph.tensors import Array
from tieshare.graph.view import view


def fold_batch_norms(model: ModelProto) -> ModelProto:
    """The same function without the BatchNormalization nodes that directly follow a layer.

    With s = gamma / sqrt(variance + epsilon), per unit: W' = W s and b' = (b - mean) s + beta.
    A whole column is scaled by one number, so rows that are bitwise equal stay so. Every tensor
    is read by one node input, weights of layers apart.
    """
    draft = Draft(model)
    shapes = shapes_of(model)
    readers = draft.readers()
    followers = {node.input[0]: i for i, node in enumerate(draft.nodes) if node.input}
    folded: set[int] = set()
    for layer in layers_of(view(draft.model())):
        index = followers.get(layer.output)
        if index is None or readers[layer.output] != 1 or layer.uses != 1:
            continue
        if not _foldable(draft, layer, draft.nodes[index], shapes):
            continue
        _fold(draft, layer, index)
        if draft.nodes[index].op_type == "BatchNormalization":
            folded.add(index)
    draft.nodes = [node for i, node in enumerate(draft.nodes) if i not in folded]
    return draft.model()


def into_layer(
    layer: Layer, weight: Array, bias: Array | None, norm: Sequence[Array], epsilon: float
) -> tuple[Array, Array]:
    """Weight and bias of the layer with the norm behind it.

    ``norm``: scale, shift, mean and variance, each (units,).
    """
    gamma, beta, mean, variance = (array.astype(float) for array in norm)
    s = gamma / np.sqrt(variance + epsilon)  # (units,)
    along_units = [1] * weight.ndim
    along_units[layer.unit_axis] = -1
    scaled = weight.astype(float) * s.reshape(along_units) + 0.0  # -0 becomes 0
    shifted = ((0.0 if bias is None else bias.astype(float)) - mean) * s + beta
    return scaled.astype(weight.dtype), np.asarray(shifted).astype(weight.dtype)


def _foldable(draft: Draft, layer: Layer, norm: NodeProto, shapes: Mapping[str, Shape]) -> bool:
    """Whether the norm has one entry for each unit of the layer, which no other node reads.

    1. Axis 1, which is normalised, holds the units of a product only where it has two axes.
    2. The units of a grouped ConvTranspose are the places in a group: its norm has more entries.
    3. A bias that is not stored with one entry a unit can't be changed for each of them.
    """
    node = draft.nodes[layer.node]
    conv = layer.operator in ("Conv", "ConvTranspose")
    if norm.op_type != "BatchNormalization" or not all(map(draft.stored, norm.input[1:5])):
        return False
    if not (conv or (is_plain_product(node) and len(shapes.get(layer.output, ())) == 2)):
        return False
    if list(node.input[1:2]) != [layer.weight] or (layer.bias is None and any(node.input[2:])):
        return False
    return all(draft.array(name).shape == (layer.units,) for name in norm.input[1:5])


def _fold(draft: Draft, layer: Layer, index: int) -> None:
    """Into weight and bias; the norm becomes the Add of a bias where a MatMul had none."""
    norm, node = draft.nodes[index], draft.nodes[layer.node]
    bias = None if layer.bias is None else draft.array(layer.bias)
    arrays = [draft.array(name) for name in norm.input[1:5]]
    weight, shifted = into_layer(layer, draft.array(layer.weight), bias, arrays, _epsilon(norm))
    draft.put(layer.weight, weight)
    if layer.bias is not None:
        draft.put(layer.bias, shifted)
    else:
        added = draft.add(f"{layer.weight}.bias", shifted)
        if layer.operator == "MatMul":
            inputs = [layer.output, added]
            draft.nodes[index] = helper.make_node("Add", inputs, norm.output, name=norm.name)
            return
        node.input[:] = [*node.input[:2], added]
    last = node if layer.bias_node is None else draft.nodes[layer.bias_node]
    last.output[0] = norm.output[0]


def _epsilon(norm: NodeProto) -> float:
    return next((item.f for item in norm.attribute if item.name == "epsilon"), 1e-5)
