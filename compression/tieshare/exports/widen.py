"""The way back from narrow layers to the uploaded shapes."""

from collections import defaultdict
from collections.abc import Mapping

import numpy as np
from onnx import ModelProto

from tieshare.exports.units import entries_of_units, from_the_end, matrix, read_units
from tieshare.graph.structure import Structure
from tieshare.graph.tensors import Array, tensors


def widen(model: ModelProto, structure: Structure, narrow: Mapping[str, Array]) -> dict[str, Array]:
    """Tensors of ``remove_dead_units(model)`` at their places in ``model``, by value name.

    The other entries keep the values that they have in ``model``, a tied export.
    """
    whole = tensors(model)
    places: dict[str, dict[int, Array]] = defaultdict(dict)
    for link, producer, consumer in from_the_end(structure):
        keep = read_units(link, producer.units, matrix(whole[consumer.weight], consumer))
        units, rows = np.flatnonzero(keep), keep[link.unit_of_row] | (link.unit_of_row < 0)
        places[consumer.weight][consumer.row_axis] = np.flatnonzero(rows)
        for name, axis in entries_of_units(link, producer):
            places[name][axis % whole[name].ndim] = units
    wide = {}
    for name, array in narrow.items():
        wide[name] = whole[name].copy()
        at = [places[name].get(axis, np.arange(size)) for axis, size in enumerate(array.shape)]
        wide[name][np.ix_(*at)] = array
    return wide
