"""How many numbers a network has, how many of them are zero, and how many are its own."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass

import numpy as np
from onnx import ModelProto

from tieshare.exports.rows import read_rows
from tieshare.exports.units import cut, matrix, staying
from tieshare.graph.head import find_heads
from tieshare.graph.structure import Structure
from tieshare.graph.tensors import Array, tensors
from tieshare.graph.view import View, view
from tieshare.graph.weights import weights_of


@dataclass(frozen=True)
class Counts:
    """Of what training changes: weights, biases, scale and shift of batch normalisation.

    ``parameters``         numbers in the file; ``zeros`` of them are zero.
    ``unique_parameters``  numbers that must be stored: one row a cluster, none for what is dead.
    ``dense_parameters``   numbers in the dense network, which ratios are taken against.
    """

    parameters: int
    unique_parameters: int
    zeros: int
    dense_parameters: int

    @property
    def sparsity(self) -> float:
        """Zero parameters / parameters."""
        return self.zeros / self.parameters

    @property
    def parameter_sharing(self) -> float:
        """Non-zero parameters / unique parameters."""
        return (self.parameters - self.zeros) / self.unique_parameters

    @property
    def compression_ratio(self) -> float:
        """Parameters of the dense network / unique parameters."""
        return self.dense_parameters / self.unique_parameters


def count_dense(model: ModelProto) -> Counts:
    """Every parameter is its own."""
    return _counted(_parameters(view(model), model))


def count_tied(
    model: ModelProto, structure: Structure, copies: Mapping[str, str] | None = None
) -> Counts:
    """Of every tensor what belongs to units that somebody reads; in a weight one row a cluster.

    ``copies``: tensors that need not be stored where they equal the one that each is mapped to.
    """
    parameters = _parameters(view(model), model)
    whole = _counted(parameters)
    sizes = _unique(model, structure, parameters)
    for copy, first in (copies or {}).items():
        if np.array_equal(parameters[copy], parameters[first]):
            del sizes[copy]
    unique = sum(sizes.values())
    return Counts(whole.parameters, unique, whole.zeros, whole.parameters)


def count_shared(model: ModelProto, dense_parameters: int) -> Counts:
    """What the shared file stores; slices of zeros are not unique.

    There are such where channels stay for the sake of speed, and where a table of rows would take
    more bytes than the dead rows do.
    """
    parameters = _parameters(view(model), model)
    stored = _counted(parameters)
    unique = sum(_unlike_zero(array).size for array in parameters.values())
    return Counts(stored.parameters, unique, stored.zeros, dense_parameters)


def paper_ratio(model: ModelProto, structure: Structure, layers: Collection[str]) -> float:
    """Parameters / unique parameters as the paper counts: weights of the named layers alone."""
    parameters = _parameters(view(model), model)
    counted = [layer for layer in structure.layers if layer.name in layers]
    unique = _unique(model, structure, parameters)
    left = sum(unique[layer.weight] for layer in counted)
    return sum(layer.rows * layer.columns for layer in counted) / max(left, 1)


def _parameters(seen: View, model: ModelProto) -> dict[str, Array]:
    """The tensors that training changes; the off and on of a OneHot are no such numbers."""
    switches = {node.inputs[2] for node in seen.nodes if node.operator == "OneHot"}
    trained = weights_of(seen, [head.output for head in find_heads(model)]).trained
    return {name: seen.tensors[name] for name in trained if name not in switches}


def _counted(parameters: dict[str, Array]) -> Counts:
    total = sum(array.size for array in parameters.values())
    zeros = sum(array.size - int(np.count_nonzero(array)) for array in parameters.values())
    return Counts(total, total, zeros, total)


def _unlike_zero(array: Array) -> Array:
    """A matrix or kernel without the slices that are zero."""
    for axis in range(array.ndim) if array.ndim > 1 else ():
        others = tuple(other for other in range(array.ndim) if other != axis)
        array = np.compress((array != 0).any(axis=others), array, axis=axis)
    return array


def _unique(
    model: ModelProto, structure: Structure, parameters: dict[str, Array]
) -> dict[str, int]:
    """By tensor, the numbers that must be stored."""
    masks = staying(structure, tensors(model))
    left = {name: cut(array, masks.get(name, {})) for name, array in parameters.items()}
    sizes = {name: array.size for name, array in left.items()}
    for layer in structure.layers:
        if layer.weight in left:
            W = matrix(left[layer.weight], layer)
            sizes[layer.weight] = read_rows(W).clusters * W.shape[1]
    return sizes
