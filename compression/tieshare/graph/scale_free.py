"""Weights whose scale says nothing."""

from dataclasses import dataclass

from tieshare.graph.layers import Layer, layers_of
from tieshare.graph.view import View
from tieshare.graph.zeros import is_zero

_BIAS, _MEAN, _VARIANCE = 2, 3, 4


@dataclass(frozen=True)
class ScaleFree:
    """A layer that only a batch norm reads: value names of what stands before it and in it.

    c times ``weight`` and ``bias`` give in training what they gave before, and so in evaluation
    with c times the running ``mean`` and c^2 times the ``variance``, but for the norm's epsilon.
    """

    weight: str
    bias: str | None
    mean: str
    variance: str


def scale_free(seen: View) -> tuple[ScaleFree, ...]:
    """In graph order; each of the tensors is read by that layer, or by that norm, alone."""
    found = []
    for layer in layers_of(seen):
        readers, node = seen.readers.get(layer.output, ()), seen.nodes[layer.node]
        if len(readers) != 1 or _uses(seen, layer) != 1 or layer.output in seen.outputs:
            continue
        ((norm, slot),) = readers
        if norm.operator != "BatchNormalization" or slot or not all(norm.sole[_MEAN:]):
            continue
        if layer.bias is None:
            none = not node.has(_BIAS) or is_zero(seen, node.inputs[_BIAS])
            own = layer.bias_node is None and none
        else:
            own = len(seen.readers[layer.bias]) == 1 and layer.bias not in seen.outputs
        if own:
            mean, variance = norm.inputs[_MEAN : _VARIANCE + 1]
            found.append(ScaleFree(layer.weight, layer.bias, mean, variance))
    return tuple(found)


def _uses(seen: View, layer: Layer) -> int:
    """Of the weight's numbers: who asks for its shape alone does not count."""
    asked = (node for node, _ in seen.readers[layer.weight] if node.operator in ("Shape", "Size"))
    return layer.uses - len(list(asked))
