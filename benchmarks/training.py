"""Plain training along one cycle, for the dense networks and for the tools beside ours."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from tieshare.augment import UNCHANGED, Moves, moved
from tieshare.data import Dataset, Goal
from tieshare.objective import Objective
from tieshare.recipe import Augment

BATCH = 128
OBJECTIVE = Objective((Goal("y", "classes", 10, 1),), distill=0.9, temperature=4.0)
"""What our jobs minimise by default: the others get the same teacher."""

_CHANNELS_OF_A_VECTOR = 16  # of floats, on processors with AVX-512

Hook = Callable[[nn.Module], None]


@dataclass(frozen=True)
class Cycle:
    """Epochs in which the rate rises to ``rate`` and falls to nothing; AdamW, or else SGD."""

    epochs: int
    rate: float
    augment: Augment = UNCHANGED
    adam: bool = True


def images(data: Dataset, split: str = "") -> Tensor:
    """(n, channels, height, width) in [0, 1]."""
    x = torch.from_numpy(data.arrays[f"x{split}"]).float() / 255
    return x if x.ndim == 4 else x[:, None]


def train(
    net: nn.Module,
    data: Dataset,
    cycle: Cycle,
    *,
    teacher: nn.Module | None = None,
    before_step: Hook | None = None,
    after_step: Hook | None = None,
) -> None:
    """One cycle; with the outputs of ``teacher`` in the loss where there is one."""
    x, y = images(data), torch.from_numpy(data.arrays["y"]).long()
    steps = len(x) // BATCH
    optimizer = _optimizer(net, cycle)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, cycle.rate, total_steps=steps * cycle.epochs
    )
    _lay(net, _form(net))
    net.train()
    for _ in range(cycle.epochs):
        for index in torch.randperm(len(x))[: steps * BATCH].split(BATCH):
            (batch,) = moved([x[index]], Moves.drawn(len(index), cycle.augment))
            optimizer.zero_grad()
            _loss(net, batch, y[index], teacher).backward()
            if before_step is not None:
                before_step(net)
            optimizer.step()
            if after_step is not None:
                after_step(net)
            schedule.step()
    _lay(net, torch.contiguous_format)
    net.eval()


def _form(net: nn.Module) -> torch.memory_format:
    """As convolutions train fastest, but where oneDNN's gradient is wrong then (issue 6035)."""
    convolutions = (module for module in net.modules() if isinstance(module, nn.Conv2d))
    skipping = (one for one in convolutions if one.kernel_size == (1, 1) != one.stride)
    narrow = any(one.in_channels < _CHANNELS_OF_A_VECTOR for one in skipping)
    return torch.contiguous_format if narrow else torch.channels_last


def _lay(net: nn.Module, form: torch.memory_format) -> None:
    """The weights of convolutions in memory."""
    for weight in net.parameters():
        if weight.ndim == 4:
            weight.data = weight.data.contiguous(memory_format=form)


def _loss(net: nn.Module, x: Tensor, y: Tensor, teacher: nn.Module | None) -> Tensor:
    if teacher is None:
        return nn.functional.cross_entropy(net(x), y)
    with torch.no_grad():
        taught = teacher(x)
    return OBJECTIVE.loss([net(x)], [y], [taught])


def _optimizer(net: nn.Module, cycle: Cycle) -> torch.optim.Optimizer:
    if cycle.adam:
        return torch.optim.AdamW(net.parameters(), lr=cycle.rate, weight_decay=0.01, fused=True)
    return torch.optim.SGD(net.parameters(), cycle.rate, 0.9, weight_decay=5e-4, nesterov=True)
