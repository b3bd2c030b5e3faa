"""Which rows get a penalty, which of them die together, and the proximal step on them."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from tieshare.errors import UnsupportedModel
from tieshare.graph.atoms import NOBODY, Ids
from tieshare.graph.layers import Layer
from tieshare.graph.structure import Structure
from tieshare.penalties import L1, PENALTIES, OrderedRows, Penalty
from tieshare.recipe import PenaltyName, Recipe
from tieshare.twin import Twin

_FEWEST_ROWS = 8  # an input of less (the channels of an image) is no place to look for dead rows

_ORDERED = ("growl", "oscar")

_Key = tuple[object, ...]


@dataclass(frozen=True, eq=False)
class Rows:
    """The rows of one layer, and the group that each of them belongs to: (rows,)."""

    layer: Layer
    groups: Tensor


@dataclass(frozen=True, eq=False)
class Regularised:
    """The share of the penalty of one layer, or of several that read the same units.

    A unit goes only where nobody reads it, so that all rows that read it are one ``group``: their
    norm is that of all of them side by side. ``unit``: what the strength is multiplied by, so
    that one strength suits all layers. It is the mean norm of the groups, times
    sqrt(weights that die with a group / weights of the group).
    """

    parts: tuple[Rows, ...]
    groups: int
    penalty: Penalty
    unit: float

    @property
    def name(self) -> str:
        """That of the first layer."""
        return self.parts[0].layer.name

    @property
    def layers(self) -> tuple[Layer, ...]:
        """In graph order."""
        return tuple(part.layer for part in self.parts)


@dataclass(frozen=True, eq=False)
class _Reader:
    """A layer and the units (rows, k) that its rows read; None where no row can go."""

    layer: Layer
    units: Ids | None

    @property
    def one_unit_each(self) -> bool:
        """No two rows read the same unit; rows that read what always stays are their own."""
        if self.units is None or self.units.shape[1] > 1:
            return False
        owned = self.units[self.units != NOBODY]
        return len(np.unique(owned)) == len(owned)

    @cached_property
    def keys(self) -> list[_Key]:
        """What each row reads: rows that have the same key die together."""
        alone: list[_Key] = [(self.layer.name, row) for row in range(self.layer.rows)]
        if self.units is None:
            return alone
        if not self.one_unit_each:
            return [(self.units.shape, self.units.tobytes(), row) for _, row in alone]
        read = self.units[:, 0].tolist()
        return [key if unit == NOBODY else (unit,) for unit, key in zip(read, alone, strict=True)]


def regularised(twin: Twin, structure: Structure, recipe: Recipe) -> tuple[Regularised, ...]:
    """The layers that get a penalty, and how strong it is in each.

    1. A layer gets one if rows of it can go, or if it has enough of them to look for dead ones.
       A table does not: its rows are tokens, each of which is all that some samples hold.
    2. Layers that read the same units share one penalty, directly or by way of others.
    3. Rows that are one unit each get equal weights: with ordered ones they tie and then die
       together, where the others die one by one.

    UnsupportedModel: no layer has enough rows.
    """
    readers = []
    for layer in structure.layers:
        rows = structure.rows_of(layer)
        if layer.weight not in twin.names or layer.operator == "Gather":
            continue
        if rows is not None or layer.rows >= _FEWEST_ROWS:
            readers.append(_Reader(layer, None if rows is None else rows.ids))
    if not readers:
        raise UnsupportedModel(
            f"no layer has {_FEWEST_ROWS} inputs or more, so that there is nothing to compress"
        )
    costs = _costs(twin, structure)
    return tuple(_share(joined, twin, recipe, costs) for joined in _joined(readers))


def _joined(readers: Iterable[_Reader]) -> list[list[_Reader]]:
    """Those that have a key in common, directly or by way of others."""
    found: list[tuple[set[_Key], list[_Reader]]] = []
    for reader in readers:
        own = set(reader.keys)
        near = [group for group in found if not own.isdisjoint(group[0])]
        found = [group for group in found if own.isdisjoint(group[0])]
        members = [member for _, group in near for member in group]
        found.append((own.union(*(keys for keys, _ in near)), [*members, reader]))
    return [members for _, members in found]


def _share(
    joined: Sequence[_Reader], twin: Twin, recipe: Recipe, costs: NDArray[np.float64]
) -> Regularised:
    numbers: dict[_Key, int] = {}
    parts = []
    for reader in joined:
        groups = [numbers.setdefault(key, len(numbers)) for key in reader.keys]
        parts.append(Rows(reader.layer, torch.tensor(groups)))
    name: PenaltyName = recipe.penalty
    if name in _ORDERED and all(reader.one_unit_each for reader in joined):
        name = "group_lasso"
    penalty = PENALTIES[name](len(numbers), recipe.l2)
    weights = [twin.parameter(reader.layer.weight).detach() for reader in joined]
    unit = typical_size(penalty, weights, parts)
    if isinstance(penalty, OrderedRows):
        read = [reader.units.ravel() for reader in joined if reader.units is not None]
        atoms = np.unique(np.concatenate(read)) if read else np.zeros(0, dtype=np.int64)
        behind = costs[atoms[atoms != NOBODY]].sum()
        # What a group's death is worth: sqrt(weights that die with it / weights of the group).
        unit *= math.sqrt(1 + behind / sum(weight.numel() for weight in weights))
    return Regularised(tuple(parts), len(numbers), penalty, unit)


def _costs(twin: Twin, structure: Structure) -> NDArray[np.float64]:
    """(units,) weights that are there for a unit and go with it, those that read it apart."""
    costs = np.zeros(structure.units)
    for name, axes in structure.entries.items():
        for entries in axes:
            if not entries.read and name in twin.names:
                ids = entries.ids[entries.ids != NOBODY]
                np.add.at(costs, ids, twin.parameter(name).numel() / len(entries.ids))
    return costs


def typical_size(penalty: Penalty, weights: Sequence[Tensor], parts: Sequence[Rows]) -> float:
    """What a threshold of the penalty is compared with: a group's norm, or an entry; never 0."""
    if isinstance(penalty, OrderedRows):
        rows = _rows_first(weights, parts)
        return float(_norms(rows, parts, len(penalty.lam)).mean(dtype=torch.float64)) or 1.0
    if isinstance(penalty, L1):
        total = sum(float(weight.abs().sum(dtype=torch.float64)) for weight in weights)
        return total / sum(weight.numel() for weight in weights) or 1.0
    return 1.0


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
        scales = torch.from_numpy(penalty.row_scales(norms.numpy(), step)).to(norms.dtype)
        left = norms * scales > 0
        if left.any():
            for W, part in zip(rows, parts, strict=True):
                W.mul_(_beside(scales[part.groups], W))
    else:
        proxes = (penalty.prox(W.reshape(len(W), -1).numpy(), step) for W in rows)
        new = [torch.from_numpy(prox).view(W.shape) for W, prox in zip(rows, proxes, strict=True)]
        left = _norms(new, parts, len(alive)) > 0
        if left.any():
            for W, value in zip(rows, new, strict=True):
                W.copy_(value)
    return left if left.any() else alive


def _rows_first(weights: Sequence[Tensor], parts: Sequence[Rows]) -> list[Tensor]:
    """The weights, seen as (rows, ...)."""
    return [
        weight.movedim(part.layer.row_axis, 0) for weight, part in zip(weights, parts, strict=True)
    ]


def _norms(rows: Sequence[Tensor], parts: Sequence[Rows], groups: int) -> Tensor:
    """(groups,) norms of weights (rows, ...), over all rows of a group."""
    norms: list[Tensor] = [torch.linalg.vector_norm(W, dim=tuple(range(1, W.dim()))) for W in rows]
    if len(parts) == 1:
        return norms[0]
    squares = norms[0].new_zeros(groups)
    for norm, part in zip(norms, parts, strict=True):
        squares.index_add_(0, part.groups, norm.square())
    return squares.sqrt()


def _beside(rows: Tensor, W: Tensor) -> Tensor:
    """One number a row (rows,) in the shape that multiplies a weight (rows, ...)."""
    return rows.reshape(-1, *[1] * (W.dim() - 1))
