"""Operators that pick elements by their places."""

from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812 - torch's own name for it

from tieshare.graph.view import Node
from tieshare.twin.filled import number
from tieshare.twin.types import Builder, Operation, option


def from_start(indices: Tensor, length: int) -> Tensor:
    """Places counted from the end, which are negative, counted from the start."""
    return torch.where(indices < 0, indices + length, indices)


def _compress(node: Node) -> Operation:
    """A condition that is too short leaves out the rest."""
    axis = node.setting("axis")

    def run(x: Tensor, condition: Tensor) -> Tensor:
        places = condition.nonzero().squeeze(1)
        return x.flatten()[places] if axis is None else x.index_select(axis, places)

    return run


def _gather(node: Node) -> Operation:
    axis, known = node.setting("axis", default=0), node.known[1]
    if known is not None and known.ndim == 0:
        place = int(known)
        return lambda x, _: x.select(axis, place)
    counted = known is not None and bool((known >= 0).all())

    def run(x: Tensor, indices: Tensor) -> Tensor:
        along = axis % x.dim()
        places = indices if counted else from_start(indices, x.shape[along])
        if along == 0 and x.dim() == 2:
            return F.embedding(places, x)
        shape = (*x.shape[:along], *indices.shape, *x.shape[along + 1 :])
        return x.index_select(along, places.flatten()).reshape(shape)

    return run


def _gather_elements(node: Node) -> Operation:
    axis = node.setting("axis", default=0)

    def run(x: Tensor, indices: Tensor) -> Tensor:
        return x.gather(axis, from_start(indices.long(), x.shape[axis]))

    return run


def _gather_nd(node: Node) -> Operation:
    """x and the indices have the first ``batch_dims`` axes in common."""
    batch_dims = node.setting("batch_dims", default=0)

    def run(x: Tensor, indices: Tensor) -> Tensor:
        rank = indices.dim() - 1
        shared = [
            torch.arange(x.shape[axis], device=x.device).view(-1, *[1] * (rank - axis - 1))
            for axis in range(batch_dims)
        ]
        return x[(*shared, *indices.unbind(-1))]

    return run


def _non_zero(x: Tensor) -> Tensor:
    return x.nonzero().t()


def _one_hot(node: Node) -> Operation:
    axis, depth = node.setting("axis", default=-1), option(node, "depth", 1)

    def run(*inputs: Tensor) -> Tensor:
        indices, _, values = inputs
        count = int(number(depth.of(inputs)))
        along = axis % (indices.dim() + 1)
        places = torch.arange(count, device=indices.device).to(indices.dtype)
        places = places.view(-1, *[1] * (indices.dim() - along))
        asked = indices.unsqueeze(along)
        return torch.where((asked == places) | (asked + count == places), values[1], values[0])

    return run


def _reverse_sequence(node: Node) -> Operation:
    batch, time = node.setting("batch_axis", default=1), node.setting("time_axis", default=0)

    def run(x: Tensor, lengths: Tensor) -> Tensor:
        shape = [1] * x.dim()
        shape[batch] = x.shape[batch]
        ends = lengths.view(shape)
        shape[batch], shape[time] = 1, x.shape[time]
        steps = torch.arange(x.shape[time], device=x.device).view(shape)
        places = torch.where(steps < ends, ends - 1 - steps, steps)
        return x.gather(time, places.expand(x.shape))

    return run


def _trilu(node: Node) -> Operation:
    keep = torch.triu if node.setting("upper", default=1) else torch.tril
    diagonal = option(node, "k", 1, default=0)

    return lambda *inputs: keep(inputs[0], number(diagonal.of(inputs)))


def _unique(node: Node) -> Operation:
    """Unique entries, where each is first, which one each entry is, and how many there are."""
    axis, ordered = node.setting("axis"), node.setting("sorted", default=1) == 1

    def run(x: Tensor) -> tuple[Tensor, ...]:
        along = 0 if axis is None else axis
        entries = x.flatten() if axis is None else x
        _, inverse, counts = entries.detach().unique(
            return_inverse=True, return_counts=True, dim=None if axis is None else axis
        )
        places = torch.arange(len(inverse), device=x.device)
        first = torch.full_like(counts, len(inverse)).scatter_reduce(0, inverse, places, "amin")
        if not ordered:
            first, order = first.sort()
            inverse, counts = order.argsort()[inverse], counts[order]
        return entries.index_select(along, first), first, inverse, counts

    return run


BUILDERS: Mapping[str, Builder] = {
    "Compress": _compress,
    "Gather": _gather,
    "GatherElements": _gather_elements,
    "GatherND": _gather_nd,
    "NonZero": lambda _: _non_zero,
    "OneHot": _one_hot,
    "ReverseSequence": _reverse_sequence,
    "Trilu": _trilu,
    "Unique": _unique,
}
