"""Stage 2: retrain under the structure that was found.

Dead rows stay dead and each cluster is one row, so that its gradient is the sum over its members
(Zhang et al., ICLR 2018, section 3.4).
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from onnx import ModelProto
from torch import Tensor, nn

from tieshare.exports.prune import remove_dead_units
from tieshare.exports.rows import read_rows
from tieshare.graph.layers import Layer, to_rows
from tieshare.graph.structure import structure_of
from tieshare.graph.tensors import Array
from tieshare.recipe import Recipe
from tieshare.straight_through import Units, grid_of
from tieshare.trainer import Trainer, Trial
from tieshare.twin import Twin, from_onnx
from tieshare.twin.module import channels_last

RATES = (5e-3, 2e-3, 1e-3, 5e-4, 2e-4, 1e-4, 5e-5)
_TRIAL = Trial(steps=60, lost=0.02)
_RISING = 0.1  # of the steps
_ROUNDED_RATE = 0.2  # of the rate before


class TiedTwin(nn.Module):
    """A twin in which the weight of some layers is made of a table of its unique rows.

    Row i of the weight is row ``places[i]`` of the table (clusters, columns), and the zero row
    behind it where row i is dead.

    ``units``  of all weights that can be rounded, tied or not.
    ``bits``   of those that are rounded, each on its own of the ``grids``.
    """

    def __init__(
        self,
        twin: Twin,
        layers: Mapping[str, tuple[Layer, Array]],
        units: Mapping[str, Units] | None = None,
    ) -> None:
        super().__init__()
        self.twin, self.units = twin, units or {}
        self.bits: Mapping[str, int] = {}
        self.grids = nn.ModuleList()
        self.layers = {weight: layer for weight, (layer, _) in layers.items()}
        self.tables = nn.ParameterList()
        for position, (weight, (layer, W)) in enumerate(layers.items()):
            twin.parameter(weight).requires_grad_(False)
            rows = read_rows(W)
            self.tables.append(nn.Parameter(torch.from_numpy(W[rows.first])))
            places = np.where(rows.numbers < 0, rows.clusters, rows.numbers)
            self.register_buffer(f"places_{position}", torch.from_numpy(places))
            self.register_buffer(f"zero_{position}", torch.zeros(1, layer.columns))

    def forward(self, *inputs: Tensor) -> Tensor | tuple[Tensor, ...]:
        """As the twin's."""
        answer: Tensor | tuple[Tensor, ...] = self.twin(*inputs, weights=self.weights())
        return answer

    def weights(self) -> dict[str, Tensor]:
        """The tied and the rounded weights in their own shapes, by value name."""
        made = self._tied()
        for weight, grid in zip(self.bits, self.grids, strict=True):
            made[weight] = grid(self._exact(weight, made))
        return made

    def round_to(self, bits: Mapping[str, int]) -> None:
        """Round these weights, and no others, from here on."""
        made = self._tied()
        self.bits = dict(bits)
        self.grids = nn.ModuleList(
            grid_of(self._exact(weight, made), n, self.units[weight]) for weight, n in bits.items()
        )

    def tensors(self) -> dict[str, Array]:
        """As the twin's."""
        tied = {
            name: weight.detach().cpu().numpy().copy() for name, weight in self.weights().items()
        }
        return self.twin.tensors() | tied

    def _exact(self, weight: str, made: Mapping[str, Tensor]) -> Tensor:
        return made[weight] if weight in made else self.twin.parameter(weight)

    def _tied(self) -> dict[str, Tensor]:
        made = {}
        for position, (weight, layer) in enumerate(self.layers.items()):
            zero, places = (
                self.get_buffer(f"zero_{position}"),
                self.get_buffer(f"places_{position}"),
            )
            table = torch.cat([self.tables[position], zero])
            W = table.index_select(0, places)  # (rows, columns)
            shaped = W.reshape(layer.rows, layer.units, *layer.kernel)
            made[weight] = channels_last(shaped.movedim((0, 1), (layer.row_axis, layer.unit_axis)))
        return made


class Retraining:
    """Call ``epoch`` as often as it was said; ``state`` and ``restore`` survive a crash."""

    def __init__(
        self,
        tied: ModelProto,
        values: Sequence[str],
        trainer: Trainer,
        recipe: Recipe,
        epochs: int,
    ) -> None:
        self.trainer, self.seed, self.epochs = trainer, recipe.seed, epochs
        narrow = remove_dead_units(tied)
        twin = from_onnx(narrow, values)
        normed = {n.input[0] for n in narrow.graph.node if n.op_type == "BatchNormalization"}
        layers, units = {}, {}
        for layer in structure_of(narrow).layers:
            if layer.weight in twin.names:
                W = to_rows(layer, twin.parameter(layer.weight).detach().numpy())
                if W.dtype == np.float32:
                    units[layer.weight] = Units(layer.unit_axis, layer.output in normed)
                if not read_rows(W).distinct:
                    layers[layer.weight] = (layer, W)
        self.network = TiedTwin(twin, layers, units).to(trainer.device)
        self.rate = trainer.largest_stable_rate(self.network, RATES, self._optimizer, _TRIAL)
        self.done = 0
        self._start(self.rate, epochs)

    @property
    def bits(self) -> Mapping[str, int]:
        """Of each weight that is rounded, by value name."""
        return self.network.bits

    def skip(self, network: Mapping[str, Any]) -> None:
        """All epochs up to rounding were done before; they left the ``network`` in this state."""
        self.network.load_state_dict(network)
        self.done = self.epochs

    def round(self, bits: Mapping[str, int], epochs: int) -> None:
        """Go on for so many ``epochs`` more, with these weights (value names) in so many bits."""
        self.network.round_to(bits)
        self.epochs = self.done + epochs
        self._start(_ROUNDED_RATE * self.rate, epochs)

    def epoch(self) -> float:
        """Train one epoch; the mean score on held-out samples after it."""
        self.network.train()
        for index in self.trainer.batches(self.seed, self.done):
            self.trainer.step(self.network, self.optimizer, index)
            self.schedule.step()
        self.done += 1
        return float(self.trainer.right(self.network).mean())

    def state(self) -> dict[str, Any]:
        """All that the next epoch depends on."""
        return {
            "network": self.network.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "schedule": self.schedule.state_dict(),
            "done": self.done,
            "epochs": self.epochs,
            "bits": dict(self.bits),
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from there."""
        self.done = state["done"]
        if state["bits"]:
            self.round(state["bits"], state["epochs"] - self.done)
        self.network.load_state_dict(state["network"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.schedule.load_state_dict(state["schedule"])

    def _start(self, rate: float, epochs: int) -> None:
        """The rate rises to this one, and falls to nothing, in so many epochs."""
        self.optimizer = self._optimizer(rate)
        self.schedule = torch.optim.lr_scheduler.OneCycleLR(
            self.optimizer,
            rate,
            total_steps=max(epochs, 1) * self.trainer.steps,
            pct_start=_RISING,
            cycle_momentum=False,
        )

    def _optimizer(self, rate: float) -> torch.optim.Optimizer:
        trained = [weight for weight in self.network.parameters() if weight.requires_grad]
        return torch.optim.Adam(trained, lr=rate, fused=True)
