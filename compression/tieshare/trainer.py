"""One network with its data: batches, losses, scores. Both stages train through it."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, count, islice
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from tieshare.augment import UNCHANGED, Moves, moved
from tieshare.data import Samples
from tieshare.device import CPU, running_on
from tieshare.objective import Objective
from tieshare.recipe import Augment
from tieshare.score import at_once, is_error, named, score
from tieshare.team import ALONE, Alone

_TRIAL_SAMPLES = 2048
_QUARTERS, _GIVEN_UP = 4, 8.0  # of a trial, and times what may be lost by its end


@dataclass(frozen=True, eq=False)
class Loaded:
    """Samples as tensors."""

    inputs: tuple[Tensor, ...]
    targets: tuple[Tensor, ...]

    def __len__(self) -> int:
        return len(self.targets[0])


@dataclass(frozen=True)
class Trial:
    """Of a learning rate: so many ``steps``, in which it may lose ``lost`` of accuracy.

    Or ten times that part of an error.
    """

    steps: int
    lost: float


USUAL_TRIAL = Trial(steps=60, lost=0.01)

Teacher = Callable[[Tensor, Moves, Sequence[Tensor]], tuple[Tensor, ...] | None]
"""Indices of a batch of the training split, how its samples are moved, and its inputs after that,
to the uploaded model's outputs, if they are needed."""


class Trainer:
    """``train`` and ``held_out`` are loaded once; every network of a job trains on the same.

    ``team``: those who train the same network at the same time.
    """

    team: Alone = ALONE

    def __init__(
        self,
        train: Loaded,
        held_out: Loaded,
        objective: Objective,
        batch: int,
        teacher: Teacher,
        augment: Augment = UNCHANGED,
    ) -> None:
        self.train, self.held_out, self.objective = train, held_out, objective
        self.teacher, self.augment = teacher, augment
        self.batch = min(batch, len(train))
        self.steps = len(train) // self.batch  # an epoch leaves the incomplete last batch out

    @property
    def device(self) -> torch.device:
        """Where the data lie, and networks have to."""
        return self.train.targets[0].device

    def batches(self, seed: int, epoch: int) -> Iterator[Tensor]:
        """Indices of this member's part of each batch: a seed and an epoch give one order.

        Torch's generator is seeded by them too, so that dropout and ``augment`` draw the same.
        """
        rng = np.random.default_rng((seed, epoch))
        order = rng.permutation(len(self.train))
        torch.manual_seed(int(rng.integers(2**63)))
        for step in range(self.steps):
            index = torch.from_numpy(order[step * self.batch : (step + 1) * self.batch])
            yield self.team.part(index).to(self.device)

    def step(self, network: nn.Module, optimizer: torch.optim.Optimizer, index: Tensor) -> None:
        """One step downhill on the batch of which this is the member's part."""
        optimizer.zero_grad()
        self.loss(network, index).backward()
        trained = (weight for group in optimizer.param_groups for weight in group["params"])
        self.team.add(trained, len(index) / self.batch)
        optimizer.step()

    def loss(self, network: nn.Module, index: Tensor) -> Tensor:
        """Of the batch at these indices of the training split."""
        with running_on(self.device):
            moves = Moves.drawn(len(index), self.augment)
            inputs = moved([array.index_select(0, index) for array in self.train.inputs], moves)
            targets = [target.index_select(0, index) for target in self.train.targets]
            taught = self.teacher(index, moves, inputs)
        with running_on(self.device, mixed=True):
            return self.objective.loss(every(network(*inputs)), targets, taught)

    def right(self, network: nn.Module, most: int | None = None) -> NDArray[np.float64]:
        """How well each held-out sample is answered, or so many of them at ``most``: (samples,)."""
        return self._right(network, self.held_out, most or len(self.held_out))

    def named(self, score: float) -> dict[str, float]:
        """A mean of ``right`` under the name by which people know it."""
        return named(self.objective.goals, score)

    def largest_stable_rate(
        self,
        network: nn.Module,
        rates: Sequence[float],
        start: Callable[[float], torch.optim.Optimizer],
        trial: Trial = USUAL_TRIAL,
    ) -> float:
        """The largest of the falling ``rates`` that training stands, or the last.

        Each is tried for a few steps, which are then taken back: it must stay finite and must not
        lose more than ``trial`` allows on samples that it trains on. One that loses far more by a
        quarter of the steps is given up there.
        """
        kept = {name: value.clone() for name, value in network.state_dict().items()}
        before = self._on_trial(network)
        of_error = 10 * trial.lost * abs(before) + 1e-8
        allowed = of_error if is_error(self.objective.goals) else trial.lost
        early = trial.steps // _QUARTERS
        stages = (early, before - _GIVEN_UP * allowed), (trial.steps - early, before - allowed)
        for rate in rates[:-1]:
            stands = self._stands(network, start(rate), stages)
            network.load_state_dict(kept)
            if stands:
                return rate
        return rates[-1]

    def _stands(
        self,
        network: nn.Module,
        optimizer: torch.optim.Optimizer,
        stages: Iterable[tuple[int, float]],
    ) -> bool:
        """Whether the score is high enough after each stage: so many steps, and the least."""
        batches = chain.from_iterable(self.batches(seed=0, epoch=epoch) for epoch in count())
        for steps, least in stages:
            network.train()
            for index in islice(batches, steps):
                self.step(network, optimizer, index)
            after = self._on_trial(network)
            if not (np.isfinite(after) and after >= least):
                return False
        return True

    def _on_trial(self, network: nn.Module) -> float:
        """The mean score on some samples that are trained on."""
        samples = min(_TRIAL_SAMPLES, len(self.train))
        return float(self._right(network, self.train, samples).mean())

    def _right(self, network: nn.Module, data: Loaded, samples: int) -> NDArray[np.float64]:
        part = self.team.slice(min(samples, len(data)))
        goals, targets = self.objective.goals, [y[part].cpu().numpy() for y in data.targets]
        inputs = [array[part] for array in data.inputs]
        answers = run(network, inputs, at_once(goals, targets))
        chunks = ([output.cpu().numpy() for output in outputs] for outputs in answers)
        return self.team.gather(score(goals, targets, chunks, thresholds=[0.0] * len(goals)))


def load(samples: Samples, device: torch.device = CPU) -> Loaded:
    """Arrays to tensors, on a CPU without copying them."""

    def tensors(arrays: Iterable[NDArray[Any]]) -> tuple[Tensor, ...]:
        return tuple(torch.from_numpy(np.ascontiguousarray(array)).to(device) for array in arrays)

    return Loaded(tensors(samples.inputs), tensors(samples.targets))


@torch.no_grad()
def run(network: nn.Module, inputs: Sequence[Tensor], size: int) -> Iterator[tuple[Tensor, ...]]:
    """The outputs for all samples, ``size`` at a time, in evaluation mode."""
    network.eval()
    for start in range(0, len(inputs[0]), size):
        with running_on(inputs[0].device):
            answer = network(*(array[start : start + size] for array in inputs))
        yield every(answer)


def together(chunks: Iterable[tuple[Tensor, ...]]) -> tuple[Tensor, ...]:
    """Each output for all samples."""
    return tuple(torch.cat(parts) for parts in zip(*chunks, strict=True))


def every(output: Tensor | tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """A twin with one output returns it bare."""
    return (output,) if isinstance(output, Tensor) else output
