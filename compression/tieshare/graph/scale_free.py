"""Weights whose scale says nothing."""

from tieshare.graph.layers import layers_of
from tieshare.graph.view import View

_STATISTICS = slice(3, 5)


def scale_free(seen: View) -> tuple[str, ...]:
    """Weights of layers that nothing but a batch norm reads, each once, in graph order.

    It divides by the spread of what it reads: in training, a multiple of the weight gives the
    same. Not so where other nodes read the norm's statistics too, which are then left as they are.
    """
    found = []
    for layer in layers_of(seen):
        readers = seen.readers.get(layer.output, ())
        normalised = readers and all(
            node.operator == "BatchNormalization" and slot == 0 and all(node.sole[_STATISTICS])
            for node, slot in readers
        )
        if normalised and layer.uses == 1 and layer.output not in seen.outputs:
            found.append(layer.weight)
    return tuple(found)
