"""The shared export with its trained numbers rounded, still stored as float32."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
from onnx import ModelProto

from tieshare.exports.draft import Draft
from tieshare.exports.shared import Shared
from tieshare.graph.tensors import Array
from tieshare.graph.view import view
from tieshare.graph.weights import weights_of
from tieshare.rounding import rounded

_SMALL = 1e-3  # of the largest number: what is smaller may lose more by float16


@dataclass(frozen=True)
class Grid:
    """Of a stored tensor."""

    bits: int
    unit_axis: int


def grids_of(shared: Shared, bits: Mapping[str, int]) -> dict[str, Grid]:
    """By stored tensor, those of the layers that ``bits`` names."""
    draft = Draft(shared.model)
    return {
        choice.table: Grid(bits[choice.layer], choice.unit_axis)
        for choice in shared.choices
        if choice.layer in bits and draft.array(choice.table).dtype == np.float32
    }


def loose_of(shared: Shared) -> list[str]:
    """The other trained float32 tensors: biases, scales, what is added to activations."""
    seen = view(shared.model)
    tables = {choice.table for choice in shared.choices}
    trained = weights_of(seen, seen.outputs).trained
    return [n for n in trained if n not in tables and seen.tensors[n].dtype == np.float32]


def on_grids(model: ModelProto, grids: Mapping[str, Grid], loose: Iterable[str]) -> ModelProto:
    """The same with the weights on their grids, and with 11 binary digits of the ``loose``."""
    draft = Draft(model)
    for name in loose:
        draft.put(name, _as_half(draft.array(name)))
    for name, grid in grids.items():
        draft.put(name, _on_grid(draft.array(name), grid))
    return draft.model()


def _on_grid(values: Array, grid: Grid) -> Array:
    """Rounded; 16 or fewer distinct values are a grid already, and four bits tell them apart."""
    if np.unique(values).size <= 16:
        return values
    return rounded(values, grid.bits, grid.unit_axis)


def _as_half(values: Array) -> Array:
    """Rounded to float16, if that has room for every one of the numbers."""
    with np.errstate(over="ignore"):
        near = values.astype(np.float16).astype(np.float32)
    room = np.maximum(np.abs(values), _SMALL * np.abs(values).max(initial=0))
    return near if (np.abs(near - values) <= 2.0**-11 * room).all() else values
