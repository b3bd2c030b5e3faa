"""Which stored arrays training changes."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from tieshare.graph.operators import OPERATORS, WITHOUT_GRADIENT
from tieshare.graph.tensors import Array
from tieshare.graph.view import Node, View

_LAYERS = ("BatchNormalization", "Conv", "ConvTranspose", "Gemm", "MatMul", "PRelu")
_MEAN, _VARIANCE = 3, 4
_SHUT = -1e4
_CELLS, _STATES = ("GRU", "LSTM", "RNN"), (5, 6)


@dataclass(frozen=True)
class Weights:
    """Names of stored float tensors, each once, in the order in which the graph reads them.

    ``trained``     a gradient reaches them.
    ``statistics``  running means and variances of batch norm nodes, read by that node alone.
    """

    trained: tuple[str, ...]
    statistics: tuple[str, ...]


def weights_of(seen: View, outputs: Iterable[str]) -> Weights:
    """The weights that these values depend on.

    A single number beside an activation (the 0.5 of a GELU, the 1 of 1 - p) is part of the
    formula, not a weight, unless it is added to what a layer puts out: then it is its bias. A
    mask is none either, nor is the state of zeros that a recurrent cell begins with.
    """
    trained: dict[str, None] = {}
    statistics: dict[str, None] = {}
    for node in _reached(seen, outputs):
        settings = OPERATORS[node.operator].settings if node.operator in OPERATORS else ()
        for slot, value in enumerate(node.inputs):
            if node.operator == "BatchNormalization" and slot in (_MEAN, _VARIANCE):
                if node.sole[slot]:
                    statistics[value] = None
            elif slot not in settings and node.outputs[0] not in seen.constants:
                for name in _stored(value, seen):
                    if _is_weight(name, node, slot, seen):
                        trained[name] = None
    return Weights(tuple(trained), tuple(statistics))


def _reached(seen: View, outputs: Iterable[str]) -> tuple[Node, ...]:
    """The nodes that a gradient of these values comes to, in graph order."""
    wanted = set(outputs)
    found = []
    for node in reversed(seen.nodes):
        if not wanted.isdisjoint(node.outputs) and node.operator not in WITHOUT_GRADIENT:
            found.append(node)
            wanted.update(node.inputs)
    return tuple(reversed(found))


def _is_weight(name: str, node: Node, slot: int, seen: View) -> bool:
    array = seen.tensors[name]
    if not np.issubdtype(array.dtype, np.floating) or _is_mask(array):
        return False
    if node.operator in _CELLS and slot in _STATES and not array.any():
        return False
    if array.size > 1 or node.operator in _LAYERS:
        return True
    if node.operator != "Add" or node.inputs[slot] != name:
        return False
    other = seen.producers.get(node.inputs[1 - slot])
    return other is not None and other.operator in _LAYERS


def _is_mask(array: Array) -> bool:
    """Whether it lets entries through or shuts them out, as what is added to attention scores."""
    shut = array <= _SHUT
    return bool(shut.any() and (array[~shut] == 0).all())


def _stored(value: str, seen: View) -> Iterator[str]:
    """The stored tensors that a value is made of, where it is made of nothing else."""
    pending, checked = [value], set()
    while pending:
        name = pending.pop()
        if name in checked or name not in seen.constants:
            continue
        checked.add(name)
        if name in seen.tensors:
            yield name
        elif name in seen.producers:
            pending.extend(reversed(seen.producers[name].inputs))
