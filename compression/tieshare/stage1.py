"""Stage 1: one run along a rising penalty, from the dense network to far too small a one.

Proximal gradient on loss + sum_l Omega(W_l) (Zhang et al., ICLR 2018, equation 4 and algorithm 1).
What is not in the paper: the strength rises all the way, so that one run passes every size.
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from tieshare.errors import RecipeError, UnsupportedModel
from tieshare.exports.units import Units, read_units
from tieshare.graph.structure import Layer, Structure, from_rows, to_rows
from tieshare.graph.tensors import Array
from tieshare.penalties import L1, PENALTIES, OrderedRows, Penalty
from tieshare.recipe import Recipe
from tieshare.trainer import Trainer, descend
from tieshare.twin import Twin

RATES = (0.1, 0.05, 0.02, 0.01, 0.005, 0.002, 0.001, 5e-4, 2e-4, 1e-4)
_PROX_EVERY = 20  # steps
_FEWEST_ROWS = 8  # an input of less (the channels of an image) is no place to look for dead rows
_FIRST_STRENGTH = 1e-3
_FASTEST = 0.4  # growth of log strength in an epoch
_STEADY = 0.05  # the same while the network shrinks as it should
_GAIN = 4.0
_LAST_RATIO = 100.0  # alive parameters are to fall by this factor over the whole path


@dataclass(frozen=True)
class Regularised:
    """One layer's share of the penalty.

    ``unit``: what the strength is multiplied by, so that one strength suits all layers. It is the
    mean norm of the layer's rows, times sqrt(weights that die with a row / weights of the row).
    """

    layer: Layer
    penalty: Penalty
    unit: float


@dataclass(frozen=True)
class Snapshot:
    """The network after one epoch of the path, in numbers.

    ``score``  mean over the held-out samples, before any retraining.
    ``ratio``  parameters / parameters that are alive; ties are not counted yet.
    """

    epoch: int
    score: float
    ratio: float
    alive_rows: int


class RisingPath:
    """Call ``epoch`` until it has gone far enough; ``state`` and ``restore`` survive a crash."""

    def __init__(
        self, twin: Twin, structure: Structure, trainer: Trainer, recipe: Recipe, epochs: int
    ) -> None:
        self.twin, self.structure, self.trainer = twin, structure, trainer
        self.seed, self.aim = recipe.seed, math.log(_LAST_RATIO) / epochs
        self.regularised = regularised(twin, structure, recipe)
        self.rate = recipe.learning_rate or 0.5 * trainer.largest_stable_rate(
            twin, RATES, self._optimizer
        )
        self.optimizer = self._optimizer(self.rate)
        self.done, self.strength, self.ratio = 0, _FIRST_STRENGTH, 1.0
        self.alive = {
            item.layer.name: torch.ones(item.layer.rows, dtype=torch.bool)
            for item in self.regularised
        }
        self.total = sum(twin.parameter(name).numel() for name in twin.names)

    def epoch(self) -> Snapshot:
        """Train one epoch, shrink on the way, then raise the strength.

        RecipeError: weights are no numbers any more, as the learning rate is too large.
        """
        self.twin.train()
        for step, index in enumerate(self.trainer.batches(self.seed, self.done), start=1):
            descend(self.optimizer, self.trainer.loss(self.twin, index))
            if step % _PROX_EVERY == 0:
                self._shrink(_PROX_EVERY)
        self._shrink(self.trainer.steps % _PROX_EVERY)
        self.done += 1
        before, self.ratio = self.ratio, self._alive_ratio()
        gap = self.aim - math.log(self.ratio / before)
        self.strength *= math.exp(min(max(_STEADY + _GAIN * gap, 0.0), _FASTEST))
        return Snapshot(
            epoch=self.done,
            score=float(self.trainer.right(self.twin).mean()),
            ratio=self.ratio,
            alive_rows=sum(int(rows.sum()) for rows in self.alive.values()),
        )

    def state(self) -> dict[str, Any]:
        """All that the next epoch depends on."""
        return {
            "twin": self.twin.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "alive": self.alive,
            "rate": self.rate,
            "done": self.done,
            "strength": self.strength,
            "ratio": self.ratio,
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from there."""
        self.twin.load_state_dict(state["twin"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.alive = dict(state["alive"])
        self.rate, self.done = state["rate"], state["done"]
        self.strength, self.ratio = state["strength"], state["ratio"]

    def _optimizer(self, rate: float) -> torch.optim.Optimizer:
        # Not Adam: its steps are as long for a useless row as for a needed one, so that no
        # penalty tells the two apart.
        return torch.optim.SGD(
            self.twin.parameters(), lr=rate, momentum=0.9, nesterov=True, fused=True
        )

    @torch.no_grad()
    def _shrink(self, steps: int) -> None:
        """The prox of as many gradient steps, and the masks."""
        for item in self.regularised:
            alive = self.alive[item.layer.name]
            weight = self.twin.parameter(item.layer.weight)
            if not weight.isfinite().all():
                raise RecipeError(
                    f"training diverges at rate {self.rate:g}; a smaller one is needed",
                    where="learning_rate",
                )
            penalty = item.penalty.at(self.strength * item.unit)
            self.alive[item.layer.name] = shrink(
                weight, item.layer, penalty, step=self.rate * steps, alive=alive
            )
        for producer, read in self._read_units():
            weight = self.twin.parameter(producer.weight)
            weight.movedim(producer.unit_axis, 0)[torch.from_numpy(~read)] = 0

    def _read_units(self) -> Iterator[tuple[Layer, Units]]:
        """The producers of regularised layers, and which of their units (units,) are read."""
        layers = {layer.name: layer for layer in self.structure.layers}
        for link in self.structure.links:
            if link.consumer in self.alive:
                producer = layers[link.producer]
                alive = self.alive[link.consumer].numpy()
                yield producer, read_units(link, producer.units, alive[:, None])

    def _alive_ratio(self) -> float:
        """Parameters / those left without dead rows, and without units that feed only these."""
        rows = {name: float(alive.sum()) for name, alive in self.alive.items()}
        units = {producer.name: float(read.sum()) for producer, read in self._read_units()}
        saved = 0.0
        for layer in self.structure.layers:
            left = units.get(layer.name, layer.units)
            kernel = layer.columns // layer.units
            saved += layer.rows * layer.columns - rows.get(layer.name, layer.rows) * kernel * left
            saved += 0 if layer.bias is None else layer.units - left
        return self.total / max(self.total - saved, 1.0)


def regularised(twin: Twin, structure: Structure, recipe: Recipe) -> tuple[Regularised, ...]:
    """The layers that get a penalty, and how strong it is in each.

    Rows that are one unit each get equal weights: with ordered ones they tie and then die
    together, where the others die one by one. UnsupportedModel: no layer has enough rows.
    """
    links = {link.consumer: link for link in structure.links}
    layers = {layer.name: layer for layer in structure.layers}
    found = []
    for layer in structure.layers:
        link = links.get(layer.name)
        if layer.weight not in twin.names or (link is None and layer.rows < _FEWEST_ROWS):
            continue
        producer = None if link is None else layers[link.producer]
        name = recipe.penalty
        one_each = producer is not None and producer.units == layer.rows
        if one_each and name in ("growl", "oscar"):
            name = "group_lasso"
        penalty = PENALTIES[name](layer.rows, recipe.l2)
        weight = twin.parameter(layer.weight).detach().numpy()
        unit = typical_size(penalty, to_rows(layer, weight))
        if isinstance(penalty, OrderedRows):
            unit *= _leverage(layer, producer)
        found.append(Regularised(layer, penalty, unit))
    if not found:
        raise UnsupportedModel(
            f"no layer has {_FEWEST_ROWS} inputs or more, so that there is nothing to compress"
        )
    return tuple(found)


def typical_size(penalty: Penalty, W: Array) -> float:
    """What a threshold of the penalty is compared with: a row's norm, or an entry; never 0."""
    if isinstance(penalty, OrderedRows):
        return float(np.linalg.norm(W, axis=1).mean()) or 1.0
    if isinstance(penalty, L1):
        return float(np.abs(W).mean()) or 1.0
    return 1.0


def _leverage(layer: Layer, producer: Layer | None) -> float:
    """sqrt(weights that die with a row / weights of the row): what a row's death is worth."""
    if producer is None:
        return 1.0
    rows_of_unit = layer.rows / producer.units
    behind = (producer.rows * producer.columns / producer.units + 1) / rows_of_unit
    return math.sqrt((layer.columns + behind) / layer.columns)


def shrink(weight: Tensor, layer: Layer, penalty: Penalty, *, step: float, alive: Tensor) -> Tensor:
    """Overwrite ``weight`` by its prox; rows that were not ``alive`` (rows,) become zero again.

    Returns which rows are alive now. Where none would be, only those are zeroed that were before.
    """
    shape = [-1 if axis == layer.row_axis else 1 for axis in range(weight.ndim)]
    weight.mul_(alive.to(weight.dtype).reshape(shape))
    others = [axis for axis in range(weight.ndim) if axis != layer.row_axis]
    if isinstance(penalty, OrderedRows):
        norms = torch.linalg.vector_norm(weight, dim=others)
        scales = torch.from_numpy(penalty.row_scales(norms.numpy(), step)).to(weight.dtype)
        new = weight * scales.reshape(shape)
    else:
        W = penalty.prox(to_rows(layer, weight.numpy()), step)
        new = torch.from_numpy(from_rows(layer, W))
    left: Tensor = torch.linalg.vector_norm(new, dim=others) > 0
    if not left.any():
        return alive
    weight.copy_(new)
    return left
