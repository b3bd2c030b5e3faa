"""The proximal step on layers whose rows die together."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from tieshare.graph.layers import Layer
from tieshare.penalties import OrderedRows, Penalty

_SHORT = 1e-6  # a step against the largest entry, so that it leaves next to nothing at zero


@dataclass(frozen=True, eq=False)
class Rows:
    """The rows of one layer, and the group that each of them belongs to: (rows,)."""

    layer: Layer
    groups: Tensor


def typical_size(
    weights: Sequence[Tensor], parts: Sequence[Rows], groups: int, penalty: Penalty
) -> float:
    """What a threshold of the penalty is compared with; never 0.

    Of ordered rows a group's mean norm. Else the length of the first step that brings W nearest
    to zero: <W, G> / <G, G>, where a short step t takes t G away. That is the mean norm for group
    lasso, for l1 the mean entry of those that are not zero, and 1 for weight decay.
    """
    rows = _rows_first(weights, parts)
    if isinstance(penalty, OrderedRows):
        return float(_norms(rows, parts, groups).mean(dtype=torch.float64)) or 1.0
    W = _side_by_side(rows, parts, groups).double().cpu().numpy()
    short = _SHORT * float(np.abs(W).max()) or 1.0
    G = (W - replace(penalty, strength=1.0, l2=0.0).prox(W, short)) / short
    return float(np.vdot(W, G)) / (float(np.vdot(G, G)) or 1.0) or 1.0


def shrink(
    weights: Sequence[Tensor],
    parts: Sequence[Rows],
    penalty: Penalty,
    *,
    step: float,
    alive: Tensor,
) -> Tensor:
    """Overwrite ``weights`` by their prox; groups not ``alive`` (groups,) become zero again.

    A group is a row of a matrix in which all the weights stand side by side. Returns which groups
    are alive now. Where none would be, only those are zeroed that were before.
    """
    rows = _rows_first(weights, parts)
    for W, part in zip(rows, parts, strict=True):
        W.mul_(_beside(alive[part.groups].to(W.dtype), W))
    if isinstance(penalty, OrderedRows):
        norms = _norms(rows, parts, len(alive))
        scales = torch.from_numpy(penalty.row_scales(norms.cpu().numpy(), step)).to(norms)
        left = norms * scales > 0
        if left.any():
            for W, part in zip(rows, parts, strict=True):
                W.mul_(_beside(scales[part.groups], W))
    else:
        together = _side_by_side(rows, parts, len(alive))
        new = torch.from_numpy(penalty.prox(together.cpu().numpy(), step)).to(together.device)
        left = new.any(1)
        if left.any():
            _put_back(new, rows, parts)
    return left if left.any() else alive


def group_norms(weights: Sequence[Tensor], parts: Sequence[Rows], groups: int) -> Tensor:
    """(groups,) norms, over all rows of a group."""
    return _norms(_rows_first(weights, parts), parts, groups)


def _rows_first(weights: Sequence[Tensor], parts: Sequence[Rows]) -> list[Tensor]:
    """The weights, seen as (rows, ...)."""
    return [
        weight.movedim(part.layer.row_axis, 0) for weight, part in zip(weights, parts, strict=True)
    ]


def _norms(rows: Sequence[Tensor], parts: Sequence[Rows], groups: int) -> Tensor:
    """(groups,) norms of weights (rows, ...), over all rows of a group."""
    norms: list[Tensor] = [torch.linalg.vector_norm(W, dim=tuple(range(1, W.dim()))) for W in rows]
    if len(parts) == 1 and len(norms[0]) == groups:
        return norms[0]
    squares = norms[0].new_zeros(groups)
    for norm, part in zip(norms, parts, strict=True):
        squares.index_add_(0, part.groups, norm.square())
    return squares.sqrt()


def _beside(rows: Tensor, W: Tensor) -> Tensor:
    """One number a row (rows,) in the shape that multiplies a weight (rows, ...)."""
    return rows.reshape(-1, *[1] * (W.dim() - 1))


def _side_by_side(rows: Sequence[Tensor], parts: Sequence[Rows], groups: int) -> Tensor:
    """(groups, columns) the weights (rows, ...), all rows of a group in one; zero elsewhere."""
    blocks = []
    for W, part in zip(rows, parts, strict=True):
        turns = _turns(part.groups)
        block = W.new_zeros(groups, int(turns.max()) + 1, W[0].numel())
        block[part.groups, turns] = W.reshape(len(W), -1)
        blocks.append(block.flatten(1))
    return torch.cat(blocks, 1)


def _put_back(together: Tensor, rows: Sequence[Tensor], parts: Sequence[Rows]) -> None:
    """Overwrite the weights by what stands in their places of (groups, columns)."""
    start = 0
    for W, part in zip(rows, parts, strict=True):
        turns = _turns(part.groups)
        end = start + (int(turns.max()) + 1) * W[0].numel()
        block = together[:, start:end].unflatten(1, (-1, W[0].numel()))
        W.copy_(block[part.groups, turns].view(W.shape))
        start = end


def _turns(groups: Tensor) -> Tensor:
    """(rows,) how many rows of the same group come before each row."""
    ordered, places = groups.sort(stable=True)
    turns = torch.empty_like(groups)
    first = torch.searchsorted(ordered, ordered)
    turns[places] = torch.arange(len(groups), device=groups.device) - first
    return turns
