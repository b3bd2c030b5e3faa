"""Operators that write elements to places."""

import math
from collections.abc import Mapping

import torch
from torch import Tensor

from tieshare.graph.view import Node
from tieshare.twin.indexing import from_start
from tieshare.twin.types import Builder, Operation

# The same reductions as torch names them.
_REDUCTIONS = {"add": "sum", "mul": "prod", "max": "amax", "min": "amin"}


def _scatter_elements(node: Node) -> Operation:
    axis = node.setting("axis", default=0)
    reduction = _REDUCTIONS.get(node.setting("reduction", default="none"))

    def run(x: Tensor, indices: Tensor, updates: Tensor) -> Tensor:
        places = from_start(indices.long(), x.shape[axis])
        if reduction is None:
            return x.scatter(axis, places, updates)
        return x.scatter_reduce(axis, places, updates, reduction)

    return run


def _scatter_nd(node: Node) -> Operation:
    """The last axis of the indices holds the places on the first axes of x."""
    reduction = node.setting("reduction", default="none")

    def run(x: Tensor, indices: Tensor, updates: Tensor) -> Tensor:
        if reduction in ("none", "add"):
            return x.index_put(indices.unbind(-1), updates, accumulate=reduction == "add")
        depth, rows = indices.shape[-1], indices[..., 0].numel()
        places = torch.zeros_like(indices[..., 0])
        for axis, index in enumerate(indices.unbind(-1)):
            places = places * x.shape[axis] + from_start(index, x.shape[axis])
        flat = x.reshape(math.prod(x.shape[:depth]), -1)
        written = updates.reshape(rows, -1)
        along = places.reshape(rows, 1).expand_as(written)
        return flat.scatter_reduce(0, along, written, _REDUCTIONS[reduction]).view_as(x)

    return run


def _tensor_scatter(node: Node) -> Operation:
    """Writes a few steps into a cache, at each sample's own place."""
    axis, circular = node.setting("axis", default=-2), node.setting("mode") == "circular"

    def run(cache: Tensor, update: Tensor, starts: Tensor | None = None) -> Tensor:
        along = axis % cache.dim()
        places = torch.arange(update.shape[along], device=cache.device)
        places = places.view(-1, *[1] * (cache.dim() - along - 1))
        if starts is not None:
            places = places + starts.view(-1, *[1] * (cache.dim() - 1))
        if circular:
            places = places % cache.shape[along]
        return cache.scatter(along, places.expand_as(update), update)

    return run


BUILDERS: Mapping[str, Builder] = {
    "Scatter": _scatter_elements,
    "ScatterElements": _scatter_elements,
    "ScatterND": _scatter_nd,
    "TensorScatter": _tensor_scatter,
}
