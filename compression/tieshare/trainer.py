"""One network with its data: batches, losses, scores. Both stages train through it."""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from tieshare.data import Samples, Splits
from tieshare.objective import Objective

_EVALUATION_BATCH = 512
_TRIAL_STEPS = 60
_TRIAL_SAMPLES = 2048


@dataclass(frozen=True, eq=False)
class Loaded:
    """Samples as tensors, with the teacher's outputs for them."""

    inputs: tuple[Tensor, ...]
    target: Tensor
    teacher: Tensor

    def __len__(self) -> int:
        return len(self.target)


class Trainer:
    """``train`` and ``held_out`` are loaded once; every network of a job trains on the same."""

    def __init__(self, train: Loaded, held_out: Loaded, objective: Objective, batch: int) -> None:
        self.train, self.held_out, self.objective = train, held_out, objective
        self.batch = min(batch, len(train))
        self.steps = len(train) // self.batch  # an epoch leaves the incomplete last batch out

    @classmethod
    def of(cls, teacher: nn.Module, splits: Splits, objective: Objective, batch: int) -> "Trainer":
        """With the outputs of ``teacher``, which is left as it is."""
        train, held_out = load(teacher, splits.train), load(teacher, splits.held_out)
        return cls(train, held_out, objective, batch)

    def batches(self, seed: int, epoch: int) -> Iterator[Tensor]:
        """Indices of each batch: the same seed and epoch give the same order.

        Torch's generator is seeded by them too, so that dropout draws the same as well.
        """
        rng = np.random.default_rng((seed, epoch))
        order = rng.permutation(len(self.train))
        torch.manual_seed(int(rng.integers(2**63)))
        for step in range(self.steps):
            yield torch.from_numpy(order[step * self.batch : (step + 1) * self.batch])

    def loss(self, network: nn.Module, index: Tensor) -> Tensor:
        """Of the batch at these indices of the training split."""
        inputs = (array[index] for array in self.train.inputs)
        output = first(network(*inputs))
        return self.objective.loss(output, self.train.target[index], self.train.teacher[index])

    def right(self, network: nn.Module) -> NDArray[np.float64]:
        """How well each held-out sample is answered: (held out,)."""
        return self._right(network, self.held_out, len(self.held_out))

    def named(self, score: float) -> dict[str, float]:
        """A mean of ``right`` under the name by which people know it."""
        return {"loss": -score} if self.objective.task == "regression" else {"accuracy": score}

    def largest_stable_rate(
        self,
        network: nn.Module,
        rates: Sequence[float],
        start: Callable[[float], torch.optim.Optimizer],
    ) -> float:
        """The largest of the falling ``rates`` that training stands, or the last.

        Each is tried for a few steps, which are then taken back: it must stay finite and must not
        lose more than a point on samples that it trains on. Networks whose batch norm was folded
        away stand a tenth of what the same network with it does, or less.
        """
        kept = {name: value.clone() for name, value in network.state_dict().items()}
        samples = min(_TRIAL_SAMPLES, len(self.train))
        before = self._right(network, self.train, samples).mean()
        for rate in rates[:-1]:
            good = self._stands(network, start(rate), before, samples)
            network.load_state_dict(kept)
            if good:
                return rate
        return rates[-1]

    def _stands(
        self, network: nn.Module, optimizer: torch.optim.Optimizer, before: float, samples: int
    ) -> bool:
        network.train()
        done = 0
        for epoch in range(math.ceil(_TRIAL_STEPS / self.steps)):
            for index in self.batches(seed=0, epoch=epoch):
                descend(optimizer, self.loss(network, index))
                done += 1
                if done == _TRIAL_STEPS:
                    break
        after = self._right(network, self.train, samples).mean()
        allowed = 0.01 if self.objective.task != "regression" else 0.1 * abs(before) + 1e-8
        return bool(np.isfinite(after) and after >= before - allowed)

    def _right(self, network: nn.Module, data: Loaded, samples: int) -> NDArray[np.float64]:
        output = run(network, tuple(array[:samples] for array in data.inputs))
        right = self.objective.right(output, data.target[:samples])
        answer: NDArray[np.float64] = right.double().numpy()
        return answer


def load(teacher: nn.Module, samples: Samples) -> Loaded:
    """Arrays to tensors, without copying them, and what the teacher says to them."""
    inputs = tuple(torch.from_numpy(np.ascontiguousarray(array)) for array in samples.inputs)
    target = torch.from_numpy(np.ascontiguousarray(samples.target))
    return Loaded(inputs, target, run(teacher, inputs))


@torch.no_grad()
def run(network: nn.Module, inputs: Sequence[Tensor]) -> Tensor:
    """The first output for all samples, in evaluation mode."""
    network.eval()
    starts = range(0, len(inputs[0]), _EVALUATION_BATCH)
    chunks = ([array[start : start + _EVALUATION_BATCH] for array in inputs] for start in starts)
    return torch.cat([first(network(*chunk)) for chunk in chunks])


def descend(optimizer: torch.optim.Optimizer, loss: Tensor) -> None:
    """One step downhill."""
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()


def first(output: Tensor | tuple[Tensor, ...]) -> Tensor:
    """A twin with one output returns it bare."""
    return output if isinstance(output, Tensor) else output[0]
