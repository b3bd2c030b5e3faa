"""The way back from narrow layers to the uploaded shapes."""

from collections.abc import Mapping

import numpy as np
from onnx import ModelProto

from tieshare.exports.units import staying
from tieshare.graph.structure import Structure
from tieshare.graph.tensors import Array, tensors


def widen(model: ModelProto, structure: Structure, narrow: Mapping[str, Array]) -> dict[str, Array]:
    """Tensors of ``remove_dead_units(model)`` at their places in ``model``, by value name.

    The other entries keep the values that they have in ``model``, a tied export.
    """
    whole = tensors(model)
    masks = staying(structure, whole)
    wide = {}
    for name, array in narrow.items():
        wide[name] = whole[name].copy()
        places = [np.arange(size) for size in whole[name].shape]
        for axis, mask in masks.get(name, {}).items():
            places[axis] = np.flatnonzero(mask)
        wide[name][np.ix_(*places)] = array
    return wide
