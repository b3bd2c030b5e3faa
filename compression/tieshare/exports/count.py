"""How many numbers a network has, how many of them are zero, and how many are its own."""

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np
from onnx import ModelProto

from tieshare.exports.rows import read_rows
from tieshare.exports.units import from_the_end, matrix, read_units
from tieshare.graph.head import find_head
from tieshare.graph.structure import Layer, Structure
from tieshare.graph.tensors import Array
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


def count_tied(model: ModelProto, structure: Structure) -> Counts:
    """In each layer's weight one row a cluster counts, and of that the units somebody reads.

    Of a bias, and of what a unit is scaled and shifted by, the entries of these units count.
    """
    seen = view(model)
    parameters = _parameters(seen, model)
    whole = _counted(parameters)
    unread = _unread_units(structure, parameters)
    saved = 0
    for layer in structure.layers:
        if layer.weight in parameters:
            weight = parameters[layer.weight]
            saved += weight.size - _unique(weight, layer, unread.get(layer.name, 0))
    layers = {layer.name: layer for layer in structure.layers}
    for link in structure.links:
        bias = layers[link.producer].bias
        beside = {*(name for name, _ in link.carried), *([] if bias is None else [bias])}
        saved += unread[link.producer] * len(beside & parameters.keys())
    return Counts(whole.parameters, whole.parameters - saved, whole.zeros, whole.parameters)


def count_shared(model: ModelProto, dense_parameters: int) -> Counts:
    """What the shared file stores; every number of it is there because it is needed."""
    stored = _counted(_parameters(view(model), model))
    return Counts(stored.parameters, stored.unique_parameters, stored.zeros, dense_parameters)


def paper_ratio(model: ModelProto, structure: Structure, layers: Collection[str]) -> float:
    """Parameters / unique parameters as the paper counts: weights of the named layers alone."""
    parameters = _parameters(view(model), model)
    unread = _unread_units(structure, parameters)
    counted = [layer for layer in structure.layers if layer.name in layers]
    unique = sum(
        _unique(parameters[layer.weight], layer, unread.get(layer.name, 0)) for layer in counted
    )
    return sum(layer.rows * layer.columns for layer in counted) / max(unique, 1)


def _parameters(seen: View, model: ModelProto) -> dict[str, Array]:
    """The tensors that training changes; the off and on of a OneHot are no such numbers."""
    switches = {node.inputs[2] for node in seen.nodes if node.operator == "OneHot"}
    trained = weights_of(seen, [find_head(model).output]).trained
    return {name: seen.tensors[name] for name in trained if name not in switches}


def _counted(parameters: dict[str, Array]) -> Counts:
    total = sum(array.size for array in parameters.values())
    zeros = sum(array.size - int(np.count_nonzero(array)) for array in parameters.values())
    return Counts(total, total, zeros, total)


def _unread_units(structure: Structure, parameters: dict[str, Array]) -> dict[str, int]:
    """By producer: how many of its units no alive row of the consumer reads."""
    found = {}
    for link, producer, consumer in from_the_end(structure):
        W = matrix(parameters[consumer.weight], consumer)
        found[producer.name] = producer.units - int(read_units(link, producer.units, W).sum())
    return found


def _unique(weight: Array, layer: Layer, unread: int) -> int:
    rows = read_rows(matrix(weight, layer)).clusters
    return rows * (layer.columns // layer.units) * (layer.units - unread)
