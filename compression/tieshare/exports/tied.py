"""The tied export: the uploaded graph with other values."""

from collections.abc import Mapping

import numpy as np
from onnx import ModelProto

from tieshare.exports.units import Units, entries_of_units, from_the_end, matrix, read_units
from tieshare.graph.structure import Structure
from tieshare.graph.tensors import Array, tensors, with_tensors
from tieshare.graph.view import View, view

# Behind these a zero among the constants gives a finite activation; behind Div it would not.
_ZERO_IS_SAFE = frozenset({"Add", "BatchNormalization", "Mul", "PRelu", "Sub"})
_BATCH_NORM_STATISTICS = (3, 4)


def tied(model: ModelProto, values: Mapping[str, Array], structure: Structure) -> ModelProto:
    """Same nodes, names and shapes as ``model``, with ``values`` (by value name) in it.

    Units that no alive row of their consumer reads are zeroed too: their columns, bias, and what
    a unit is scaled and shifted by on its way. That changes no output.
    """
    now = {**tensors(model), **values}
    changed = dict(values)
    seen = view(model)
    for link, producer, consumer in from_the_end(structure):
        dead = ~read_units(link, producer.units, matrix(now[consumer.weight], consumer))
        if not dead.any():
            continue
        carried = {name for name, _ in link.carried}
        for name, axis in entries_of_units(link, producer):
            if name not in carried or _may_be_zero(name, seen):
                now[name] = changed[name] = _zeroed(now[name], axis, dead)
    return with_tensors(model, changed)


def _may_be_zero(name: str, seen: View) -> bool:
    return all(
        node.operator in _ZERO_IS_SAFE
        and not (node.operator == "BatchNormalization" and slot in _BATCH_NORM_STATISTICS)
        for node, slot in seen.readers[name]
    )


def _zeroed(array: Array, axis: int, dead: Units) -> Array:
    copy = array.copy()
    np.moveaxis(copy, axis, 0)[dead] = 0
    return copy
