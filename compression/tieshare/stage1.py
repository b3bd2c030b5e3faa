"""Stage 1: one run along a rising penalty, from the dense network to far too small a one.

Proximal gradient on loss + sum_l Omega(W_l) (Zhang et al., ICLR 2018, equation 4 and algorithm 1).
What is not in the paper: the strength rises from next to nothing, and the network shrinks at an
even pace; so one run passes every size.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from tieshare.errors import RecipeError
from tieshare.exports.units import Masks, size_left, staying
from tieshare.fixed_sizes import FixedSizes
from tieshare.graph.layers import Layer
from tieshare.graph.structure import Structure
from tieshare.graph.tensors import Array
from tieshare.narrow import Narrowing
from tieshare.pace import Living, Pace, strongest
from tieshare.penalties import OrderedRows
from tieshare.plan import Plan
from tieshare.prior import EqualRows
from tieshare.recipe import Recipe
from tieshare.regularised import Regularised, costs_of, regularised
from tieshare.shrink import group_norms, shrink
from tieshare.trainer import USUAL_TRIAL, Trainer, Trial
from tieshare.twin import Twin

RATES = (0.1, 0.05, 0.02, 0.01, 0.005, 0.002, 0.001, 5e-4, 2e-4, 1e-4)
OF_STABLE = 0.5  # of the largest rate that a trial stands, the path takes this
_TURNS = 60  # the strength changes so many times on the path, or once an epoch if that is more
_STEPS_A_TURN = 16  # at least: in fewer a network does not follow
_FIRST_SHARE = 0.05  # a row that no gradient holds loses this of its norm before the first
# Of the first, with batch norm: a large rate costs most there, and that is won back before
# retraining. Networks without it follow the penalty better at an even one.
LAST_RATE = 0.1
BACKS = 2  # in a row that may be due to the penalty; then it is the rate
_SOME = 1000  # held-out samples that are looked at within an epoch
_MOST_AT_ONCE = 0.5  # of a row's first norm, with batch norm
LAST_RATIO = 100.0  # alive parameters fall by this factor over a path that has no end of its own
# With batch norm a network loses more at first, as its statistics lag behind, and makes up for it.
_NORMED_TRIAL = Trial(steps=120, lost=0.05)


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
    """Call ``epoch`` until it has gone far enough; ``state`` and ``restore`` survive a crash.

    ``last_ratio``  of all parameters to those that are to be alive after all epochs of the plan.
    ``lost``        a held-out score to the share that is lost of what may be.
    """

    def __init__(
        self,
        twin: Twin,
        structure: Structure,
        trainer: Trainer,
        recipe: Recipe,
        plan: Plan,
        last_ratio: float = LAST_RATIO,
        lost: Callable[[float], float] = lambda _: 0.0,
    ) -> None:
        self.twin, self.structure, self.trainer, self.lost = twin, structure, trainer, lost
        self.seed, self.every = recipe.seed, plan.shrink_every
        shrinkings = math.ceil(trainer.steps / self.every)
        most = max(min(shrinkings, trainer.steps // _STEPS_A_TURN), 1)
        self.turns = min(max(round(_TURNS / plan.path_epochs), 1), most)  # an epoch
        self.regularised = regularised(twin, structure, recipe)
        self.equal = EqualRows(twin, structure, recipe.tie_groups)
        self.sizes = FixedSizes(twin)
        self.rate = recipe.learning_rate or OF_STABLE * stable_rate(twin, trainer)
        self.optimizer = self._optimizer(self.rate)
        self.done = self.backs = 0
        self.all_turns = plan.path_epochs * self.turns
        self.pace = Pace(
            strength=_FIRST_SHARE * self.turns / (self.rate * trainer.steps),
            last=last_ratio,
            left=self.all_turns,
            shrinkings=shrinkings / self.turns,
        )
        self.alive = {
            item.name: torch.ones(item.groups, dtype=torch.bool, device=trainer.device)
            for item in self.regularised
        }
        self.total = sum(twin.parameter(name).numel() for name in twin.names)
        self.left: dict[str, Masks] = {}
        self.worth = self._worth()
        self.narrowing = Narrowing(twin)

    def epoch(self) -> Snapshot:
        """Train one epoch, shrink on the way, and steer the strength; the pace heeds the score.

        That at the end of the epoch is told to it by whoever gets the snapshot.

        RecipeError: weights are no numbers any more, as the learning rate is too large.
        """
        self.done += 1
        self.narrowing.follow(self._values())
        network = self.narrowing.network.train()
        steps = self.trainer.steps
        for step, index in enumerate(self.trainer.batches(self.seed, self.done - 1), start=1):
            self.trainer.step(network, self.optimizer, index)
            if step % self.every == 0 or step == steps:
                self._shrink((step - 1) % self.every + 1)
            turn = step * self.turns // steps
            if turn > (step - 1) * self.turns // steps:
                self.pace.turn()
                self._set_rate()
                self.worth = self._worth()
                if step < steps:
                    score = self.trainer.right(network, _SOME).mean()
                    self.pace.lost(self.lost(float(score)))
                    network.train()
        return self.snapshot()

    def snapshot(self) -> Snapshot:
        """The network as it is now."""
        return Snapshot(
            epoch=self.done,
            score=float(self.trainer.right(self.narrowing.network).mean()),
            ratio=self.pace.ratio,
            alive_rows=sum(int(rows.sum()) for _, rows in self._alive_rows()),
        )

    def back(self, state: Mapping[str, Any]) -> None:
        """Go on from an earlier state, with less of a penalty; the epochs since then are spent.

        Where that did not help before, at half the rate too.
        """
        done, backs = self.done, self.backs + 1
        self.restore(state)
        self.done, self.backs = done, backs
        self.pace.left = self.all_turns - done * self.turns
        self.pace.back()
        if self.backs > BACKS:
            self.rate /= 2
        self._set_rate()

    def state(self) -> dict[str, Any]:
        """All that the next epoch depends on."""
        return {
            "twin": self.twin.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "alive": self.alive,
            "rate": self.rate,
            "done": self.done,
            "backs": self.backs,
            "pace": self.pace.state(),
            "worth": {name: torch.from_numpy(sizes) for name, sizes in self.worth.items()},
            "narrowing": self.narrowing.state(),
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from there."""
        self.twin.load_state_dict(state["twin"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.alive = {name: rows.to(self.trainer.device) for name, rows in state["alive"].items()}
        self.rate, self.done, self.backs = state["rate"], state["done"], state["backs"]
        self.pace.restore(state["pace"])
        self.worth = {name: sizes.numpy() for name, sizes in state["worth"].items()}
        self.narrowing.restore(state["narrowing"])

    @property
    def rate_now(self) -> float:
        """Of this turn; with batch norm it goes down by half a cosine."""
        if not self.twin.scale_free:
            return self.rate
        done = 1 - max(self.pace.left, 0) / self.all_turns
        return self.rate * (LAST_RATE + (1 - LAST_RATE) * (1 + math.cos(math.pi * done)) / 2)

    def _set_rate(self) -> None:
        for group in self.optimizer.param_groups:
            group["lr"] = self.rate_now

    def _optimizer(self, rate: float) -> torch.optim.Optimizer:
        optimizer = descent(self.twin, rate)
        optimizer.register_step_post_hook(lambda *_: self.equal.restore())
        return optimizer

    @torch.no_grad()
    def _shrink(self, steps: int) -> None:
        """The prox of as many gradient steps, and the masks."""
        self._check_finite()
        self.sizes.settle()
        strength, step = self.pace.strength, self.rate_now * steps
        if self.sizes:  # rows would die together that between them compute what is needed
            strength = min(strength, _MOST_AT_ONCE / step)
        most = self.pace.share() * self.total / self.pace.ratio
        strength = strongest(list(self._living()), strength, step, most)
        for item in self.regularised:
            penalty, alive = item.penalty.at(strength * item.unit), self.alive[item.name]
            weights = self._weights(item)
            self.alive[item.name] = shrink(weights, item.parts, penalty, step=step, alive=alive)
        self.sizes.restore()
        layers = {layer.weight for layer in self.structure.layers}
        staying = self._staying()
        self.left = self._left(staying)
        self.pace.shrunk(self._ratio(), strength)
        for name, masks in staying.items():
            if name in layers and name in self.twin.names:
                weight = self.twin.parameter(name)
                for axis, mask in masks.items():
                    weight.movedim(axis, 0)[torch.from_numpy(~mask).to(weight.device)] = 0

    def _living(self) -> Iterator[Living]:
        """The groups that die whole, of each layer that has a penalty on them."""
        for item in self.regularised:
            if isinstance(item.penalty, OrderedRows):
                norms = group_norms(self._weights(item), item.parts, item.groups)
                norms *= self.alive[item.name]
                yield Living(item.penalty.at(item.unit), norms.cpu().numpy(), self.worth[item.name])

    def _weights(self, item: Regularised) -> list[Tensor]:
        return [self.twin.parameter(layer.weight).detach() for layer in item.layers]

    def _check_finite(self) -> None:
        for item in self.regularised:
            if not all(torch.linalg.vector_norm(W).isfinite() for W in self._weights(item)):
                raise RecipeError(
                    f"training diverges at rate {self.rate:g}; a smaller one is needed",
                    where="learning_rate",
                )

    def _staying(self) -> dict[str, Masks]:
        """What stays of each tensor with the weights as they are."""
        return staying(self.structure, self._values())

    def _values(self) -> dict[str, Array]:
        """Of the parameters of which slices may go."""
        return {
            name: self.twin.parameter(name).detach().cpu().numpy()
            for name in self.structure.entries
            if name in self.twin.names
        }

    def _alive_rows(self) -> Iterator[tuple[Layer, Tensor]]:
        """The regularised layers, and which of their rows (rows,) are alive."""
        for item in self.regularised:
            for part in item.parts:
                yield part.layer, self.alive[item.name][part.groups]

    def _left(self, masks: Mapping[str, Masks]) -> dict[str, Masks]:
        """What is alive: without dead rows, and without units that feed only these."""
        rows_of = {layer.weight: (layer.row_axis, rows) for layer, rows in self._alive_rows()}
        left: dict[str, Masks] = {}
        for name in self.twin.names:
            stays = dict(masks.get(name, {}))
            if name in rows_of:
                axis, rows = rows_of[name]
                stays[axis] = stays.get(axis, True) & rows.cpu().numpy()
            left[name] = stays
        return left

    def _ratio(self) -> float:
        """Parameters / those that are alive."""
        alive = sum(
            size_left(self.twin.parameter(name).shape, stays) for name, stays in self.left.items()
        )
        return self.total / max(alive, 1)

    def _worth(self) -> dict[str, NDArray[np.float64]]:
        """Of each regularised layer (groups,): how many weights die with a group."""
        costs = costs_of(self.twin, self.structure, self.left)
        return {item.name: item.sizes(costs, self.left) for item in self.regularised}


def descent(twin: Twin, rate: float) -> torch.optim.Optimizer:
    """How stage 1 goes downhill."""
    # Not Adam: its steps are as long for a useless row as for a needed one, so that no
    # penalty tells the two apart.
    return torch.optim.SGD(twin.parameters(), lr=rate, momentum=0.9, nesterov=True, fused=True)


def stable_rate(twin: Twin, trainer: Trainer, rates: Sequence[float] = RATES) -> float:
    """The largest of the falling rates that stage 1 stands in a trial, or the last."""
    trial = _NORMED_TRIAL if twin.scale_free else USUAL_TRIAL
    return trainer.largest_stable_rate(twin, rates, lambda rate: descent(twin, rate), trial)
