"""What a unit sends on that has no incoming weights goes into the next bias."""

import numpy as np
from onnx import ModelProto, NodeProto, helper

from tieshare.exports.constant_inputs import constant_inputs
from tieshare.exports.draft import Draft
from tieshare.exports.forms import is_plain_product
from tieshare.graph.layers import Layer, layers_of
from tieshare.graph.tensors import Array
from tieshare.graph.view import view


def fold_constant_units(model: ModelProto) -> ModelProto:
    """The same function, to rounding, with zero rows where a layer reads nothing but a constant.

    1. A row that reads a channel which carries one number c, whatever goes into the network, adds
       c * row to what the layer puts out: that goes into its bias, and the row becomes zero. The
       unit that sends c is dead if nobody else reads it.
    2. c may be any number for a product, and for a convolution that pads nothing. It must be 0
       for other layers, and where there is no bias that could be changed.
    3. Channels are constant because layers in front have zero weights: again while that finds any.
    """
    draft = Draft(model)
    while _fold_once(draft):
        pass
    return draft.model()


def _fold_once(draft: Draft) -> bool:
    plain = draft.model()
    found = constant_inputs(plain)
    nodes = list(draft.nodes)
    behind: dict[int, NodeProto] = {}
    changed = False
    for layer in layers_of(view(plain)):
        node = nodes[layer.node]
        if layer.name not in found or layer.uses != 1 or node.input[1] != layer.weight:
            continue
        weight = draft.array(layer.weight)
        sent = _sent(draft, layer, node, weight, found[layer.name])
        if sent is None:
            continue
        W, c = sent
        gone = ~np.isnan(c) & W.any(axis=2)  # (units, rows)
        if not gone.any():
            continue
        shift = np.einsum("ur,urk->u", np.where(gone, c, 0), W.astype(float))
        if shift.any():
            added = _shift_bias(draft, layer, nodes, shift.astype(weight.dtype))
            if added is not None:
                behind[layer.node] = added
        draft.put(layer.weight, _without(layer, weight, gone))
        changed = True
    draft.nodes = [
        each for i, node in enumerate(nodes) for each in (node, behind.get(i)) if each is not None
    ]
    return changed


def _sent(
    draft: Draft, layer: Layer, node: NodeProto, weight: Array, numbers: Array
) -> tuple[Array, Array] | None:
    """The weight (units, rows, kernel), and what each unit's rows read: (units, rows).

    Unit u of a grouped convolution reads the channels of its group. NaN where the row must stay.
    """
    W = np.moveaxis(weight, (layer.unit_axis, layer.row_axis), (0, 1))
    groups = len(numbers) // layer.rows
    if groups * layer.rows != len(numbers) or layer.units % groups:
        return None
    exact = numbers if _takes_any(draft, layer, node) else np.where(numbers == 0, 0, np.nan)
    c = np.repeat(exact.reshape(groups, layer.rows), layer.units // groups, axis=0)
    return W.reshape(layer.units, layer.rows, -1), c


def _takes_any(draft: Draft, layer: Layer, node: NodeProto) -> bool:
    """Whether the same number at all places of a channel adds the same to all places behind."""
    if layer.operator in ("Gemm", "MatMul"):
        whole = is_plain_product(node) and draft.array(layer.weight).ndim == 2
    else:
        whole = layer.operator == "Conv" and not _pads(node)
    return whole and not (layer.bias is None and any(node.input[2:]))


def _pads(node: NodeProto) -> bool:
    options = {item.name: helper.get_attribute_value(item) for item in node.attribute}
    return options.get("auto_pad", b"NOTSET") not in (b"NOTSET", b"VALID") or any(
        options.get("pads", ())
    )


def _without(layer: Layer, weight: Array, gone: Array) -> Array:
    """The weight with zeros where units (units, rows) no longer read."""
    copy = weight.copy()
    np.moveaxis(copy, (layer.unit_axis, layer.row_axis), (0, 1))[gone] = 0
    return copy


def _shift_bias(
    draft: Draft, layer: Layer, nodes: list[NodeProto], shift: Array
) -> NodeProto | None:
    """Add (units,) to the bias; the node that does it where the layer has none."""
    node = nodes[layer.node]
    old = 0 if layer.bias is None else draft.array(layer.bias)
    bias = draft.add(f"{layer.weight}.bias", old + shift)
    if layer.operator != "MatMul":
        node.input[:] = [*node.input[:2], bias]
        return None
    if layer.bias_node is not None:
        adding = nodes[layer.bias_node]
        adding.input[:] = [bias if name == layer.bias else name for name in adding.input]
        return None
    output = node.output[0]
    node.output[0] = draft.fresh(f"{output}.product")
    return helper.make_node("Add", [node.output[0], bias], [output])
