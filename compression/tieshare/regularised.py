"""Which rows get a penalty, how strong it is, and which of them die together."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

import numpy as np
import torch
from numpy.typing import NDArray

from tieshare.errors import RecipeError, UnsupportedModel
from tieshare.exports.units import Masks
from tieshare.graph.atoms import NOBODY, Ids
from tieshare.graph.layers import Layer
from tieshare.graph.structure import Structure
from tieshare.named import check_named
from tieshare.penalties import PENALTIES, OrderedRows, Penalty
from tieshare.recipe import LayerPenalty, PenaltyName, Recipe
from tieshare.shrink import Rows, typical_size
from tieshare.tie_groups import TiedRows
from tieshare.twin import Twin

_FEWEST_ROWS = 8  # an input of less (the channels of an image) is no place to look for dead rows

_ORDERED = ("growl", "oscar", "slope")

_Key = tuple[object, ...]


@dataclass(frozen=True, eq=False)
class Regularised:
    """The share of the penalty of one layer, or of several that read the same units.

    A unit goes only where nobody reads it, so that all rows that read it are one ``group``: their
    norm is that of all of them side by side. ``unit``: what the strength is multiplied by, so
    that one strength suits all layers. It is the mean norm of the groups, times
    sqrt(weights that die with a group / weights of the group). ``reads``: (pairs,) each a group and
    a unit that it reads.
    """

    parts: tuple[Rows, ...]
    groups: int
    penalty: Penalty
    unit: float
    reads: tuple[Ids, Ids]

    @property
    def name(self) -> str:
        """That of the first layer."""
        return self.parts[0].layer.name

    @property
    def layers(self) -> tuple[Layer, ...]:
        """In graph order."""
        return tuple(part.layer for part in self.parts)

    def sizes(self, costs: NDArray[np.float64], left: Mapping[str, Masks]) -> NDArray[np.float64]:
        """(groups,) how many weights die with each: its own, and its share of what feeds it.

        ``costs``: of the units, as ``costs_of`` has them. ``left``: what is alive of each weight.
        """
        found = np.zeros(self.groups)
        for part in self.parts:
            layer = part.layer
            own = layer.columns * _beside(left.get(layer.weight, {}), layer.row_axis)
            np.add.at(found, part.groups.cpu().numpy(), own)
        groups, units = self.reads
        readers = np.bincount(units, minlength=len(costs))
        np.add.at(found, groups, costs[units] / readers[units])
        return found


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
       together, where the others die one by one. A penalty that the recipe gives to a layer by
       its name is taken as it is.
    4. Rows that the recipe ties are one group: they shrink by one factor, and die together.

    UnsupportedModel: no layer has enough rows. RecipeError: a name in ``penalties`` is that of no
    such layer, layers that share a penalty are given two, or every layer is left alone.
    """
    check_named({layer.name: layer.rows for layer in structure.layers}, recipe)
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
    _check_regularised(readers, recipe)
    costs = costs_of(twin, structure)
    shares = []
    for joined in _joined(readers):
        name = _penalty_of(joined, recipe)
        if name != "none":
            shares.append(_share(joined, name, twin, recipe, costs))
    if not shares:
        raise RecipeError("every layer is left alone: nothing would change", where="penalties")
    return tuple(shares)


def _check_regularised(readers: Iterable[_Reader], recipe: Recipe) -> None:
    names = [reader.layer.name for reader in readers]
    for name, penalty in recipe.penalties.items():
        if penalty != "none" and name not in names:
            raise RecipeError(
                f"no row of layer {name!r} can go, so that it takes no penalty but none; "
                f"layers that take one are {', '.join(names)}",
                where=f"penalties.{name}",
            )


def _penalty_of(joined: Sequence[_Reader], recipe: Recipe) -> LayerPenalty:
    """What the recipe names for one of these holds for all; else its penalty, by rule 3."""
    named = {
        reader.layer.name: recipe.penalties[reader.layer.name]
        for reader in joined
        if reader.layer.name in recipe.penalties
    }
    for (first, wanted), (second, other) in pairwise(named.items()):
        if other != wanted:
            raise RecipeError(
                f"layers {first!r} and {second!r} read the same units and share one penalty, but "
                f"are given {wanted} and {other}",
                where=f"penalties.{second}",
            )
    if named:
        return next(iter(named.values()))
    one_unit_each = all(reader.one_unit_each for reader in joined)
    return "group_lasso" if one_unit_each and recipe.penalty in _ORDERED else recipe.penalty


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
    joined: Sequence[_Reader],
    name: PenaltyName,
    twin: Twin,
    recipe: Recipe,
    costs: NDArray[np.float64],
) -> Regularised:
    weights = [twin.parameter(reader.layer.weight).detach() for reader in joined]
    groups, parts = _grouped(joined, recipe, weights[0].device)
    penalty = PENALTIES[name](groups, recipe.l2)
    unit = typical_size(weights, parts, groups, penalty)
    reads = _reads(joined, parts)
    if isinstance(penalty, OrderedRows):
        behind = costs[np.unique(reads[1])].sum()
        # What a group's death is worth: sqrt(weights that die with it / weights of the group).
        unit *= math.sqrt(1 + behind / sum(weight.numel() for weight in weights))
    return Regularised(parts, groups, penalty, unit, reads)


def _reads(joined: Sequence[_Reader], parts: Sequence[Rows]) -> tuple[Ids, Ids]:
    """(pairs,) groups, and units that they read."""
    pairs = [np.zeros((0, 2), dtype=np.int64)]
    for reader, part in zip(joined, parts, strict=True):
        if reader.units is not None:
            groups = np.repeat(part.groups.cpu().numpy(), reader.units.shape[1])
            pairs.append(np.stack([groups, reader.units.ravel()], axis=1))
    known = np.unique(np.concatenate(pairs), axis=0)
    groups, units = known[known[:, 1] != NOBODY].T
    return groups, units


def _grouped(
    joined: Sequence[_Reader], recipe: Recipe, device: torch.device
) -> tuple[int, tuple[Rows, ...]]:
    """How many groups there are, and that of each row."""
    numbers: dict[_Key, int] = {}
    found = {
        reader.layer.name: np.array([numbers.setdefault(key, len(numbers)) for key in reader.keys])
        for reader in joined
    }
    united = np.arange(len(numbers))
    for tied in recipe.tie_groups:
        if isinstance(tied, TiedRows) and tied.layer in found:
            members = united[found[tied.layer][list(tied.rows)]]
            united[np.isin(united, members)] = members.min()
    left, new = np.unique(united, return_inverse=True)
    parts = (Rows(r.layer, torch.from_numpy(new[found[r.layer.name]]).to(device)) for r in joined)
    return len(left), tuple(parts)


def costs_of(
    twin: Twin, structure: Structure, left: Mapping[str, Masks] | None = None
) -> NDArray[np.float64]:
    """(units,) weights that are there for a unit and go with it, those that read it apart.

    ``left``: what is alive of each weight; all of it, if nothing is said.
    """
    costs, left = np.zeros(structure.units), left or {}
    for name, axes in structure.entries.items():
        for entries in axes:
            if not entries.read and name in twin.names:
                each = twin.parameter(name).numel() / len(entries.ids)
                each *= _beside(left.get(name, {}), entries.axis)
                np.add.at(costs, entries.ids[entries.ids != NOBODY], each)
    return costs


def _beside(masks: Masks, axis: int) -> float:
    """The part of a slice along this axis that is alive, by the masks of the other axes."""
    return math.prod(float(mask.mean()) for other, mask in masks.items() if other != axis)
