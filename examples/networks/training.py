"""A short dense training in torch, for any of the networks on its data."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, mse_loss

BATCH = 64


def train(
    module: nn.Module,
    inputs: Sequence[np.ndarray],
    targets: Sequence[np.ndarray],
    *,
    epochs: int,
    rate: float = 3e-3,
    seed: int = 0,
) -> nn.Module:
    """Adam with a rate that rises and falls; the same module, trained, in evaluation mode.

    ``targets``: one array an output, integers where it has classes and floats where it is met.
    """
    torch.manual_seed(seed)
    fed = [torch.from_numpy(array) for array in inputs]
    wanted = [torch.from_numpy(array) for array in targets]
    batches = len(fed[0]) // BATCH
    optimizer = torch.optim.Adam(module.parameters(), rate)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, rate, total_steps=epochs * batches)
    module.train()
    for _ in range(epochs):
        for index in torch.randperm(len(fed[0]))[: batches * BATCH].split(BATCH):
            optimizer.zero_grad()
            answers = module(*[array[index] for array in fed])
            loss = total_loss(answers, [array[index] for array in wanted])
            torch.autograd.backward(loss)
            optimizer.step()
            schedule.step()
    return module.eval()


def total_loss(answers: Tensor | tuple[Tensor, ...], targets: Sequence[Tensor]) -> Tensor:
    """Cross-entropy for integers and squared error for floats, added up over the outputs."""
    outputs = answers if isinstance(answers, tuple) else (answers,)
    return torch.stack([_loss(a, t) for a, t in zip(outputs, targets, strict=True)]).sum()


def _loss(answer: Tensor, target: Tensor) -> Tensor:
    if target.is_floating_point():
        return mse_loss(answer, target)
    # Classes lie on axis 1 where the labels have the other axes, and else on the last.
    on_axis_1 = target.shape == answer.shape[:1] + answer.shape[2:]
    return cross_entropy(answer if on_axis_1 else answer.movedim(-1, 1), target)
