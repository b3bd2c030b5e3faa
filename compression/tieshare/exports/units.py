"""Which units of a layer somebody reads."""

import numpy as np
from numpy.typing import NDArray

from tieshare.graph.structure import Layer, Link, Structure
from tieshare.graph.tensors import Array

Units = NDArray[np.bool_]


def matrix(weight: Array, layer: Layer) -> Array:
    """The weight as (rows, columns), also where units or rows of ``layer`` have been cut off."""
    moved = np.moveaxis(weight, layer.row_axis, 0)
    return moved.reshape(len(moved), -1)


def read_units(link: Link, units: int, W: Array) -> Units:
    """(units,) bool: the units of the producer that an alive row of the consumer reads.

    ``W`` (rows, columns) is the consumer's. Where no row is alive the first unit stays: a layer
    can't have none.
    """
    alive = W.any(axis=1) & (link.unit_of_row >= 0)
    read = np.zeros(units, dtype=bool)
    read[link.unit_of_row[alive]] = True
    if not read.any():
        read[0] = True
    return read


def entries_of_units(link: Link, producer: Layer) -> list[tuple[str, int]]:
    """The stored tensors with an entry for each unit of the producer, and the axis of these."""
    bias = [] if producer.bias is None else [(producer.bias, -1)]
    return [(producer.weight, producer.unit_axis), *bias, *link.carried]


def from_the_end(structure: Structure) -> list[tuple[Link, Layer, Layer]]:
    """Links with producer and consumer, the last first: a cut can kill rows further up."""
    layers = {layer.name: layer for layer in structure.layers}
    ordered = sorted(structure.links, key=lambda link: -layers[link.consumer].node)
    return [(link, layers[link.producer], layers[link.consumer]) for link in ordered]
