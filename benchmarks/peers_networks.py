"""The networks that pruning tools are compared on: how each is built, trained, and made small."""

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import onnx
import torch
from benchmarks import mnist, resnet20
from onnx import ModelProto
from torch import Tensor, nn

from tieshare.augment import augmented
from tieshare.data import Dataset, Goal
from tieshare.objective import Objective
from tieshare.recipe import Augment

MNIST = Path(os.environ.get("TIESHARE_MNIST", "../shared/data/mnist.npz"))
CIFAR = Path(os.environ.get("TIESHARE_CIFAR", "../shared/data/cifar10_jpeg.npz"))
BATCH = 128
OBJECTIVE = Objective((Goal("y", "classes", 10, 1),), distill=0.9, temperature=4.0)
"""What our jobs minimise by default: the others get the same teacher."""

AfterStep = Callable[[nn.Module], None]


@dataclass(frozen=True)
class Cycle:
    """Epochs in which the rate rises to ``rate`` and falls to nothing."""

    epochs: int
    rate: float


@dataclass(frozen=True)
class Network:
    """``dense``: of the dense training; then ``path`` and ``retrain`` epochs for every tool.

    ``tune_rate``  the largest of one cycle, for the tools whose training is not their own.
    ``sizes``      how many times fewer parameters the others are pruned to.
    ``samples``    of the training split, after the dense training; None: all.
    """

    build: Callable[[], nn.Sequential]
    data: Callable[[int], Dataset]
    dense: Cycle
    tune_rate: float
    path: int
    retrain: int
    augment: Augment
    sizes: tuple[float, ...]
    max_drop: float
    samples: int | None = None
    adam: bool = True


def images(data: Dataset, split: str = "") -> Tensor:
    """(n, channels, height, width) in [0, 1]."""
    x = torch.from_numpy(data.arrays[f"x{split}"]).float() / 255
    return x if x.ndim == 4 else x[:, None]


def train(
    network: Network,
    net: nn.Module,
    data: Dataset,
    cycle: Cycle,
    *,
    teacher: nn.Module | None = None,
    before_step: AfterStep | None = None,
    after_step: AfterStep | None = None,
) -> None:
    """One cycle; with the outputs of ``teacher`` in the loss where there is one."""
    x, y = images(data), torch.from_numpy(data.arrays["y"]).long()
    steps = len(x) // BATCH
    optimizer = _optimizer(network, net, cycle.rate)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, cycle.rate, total_steps=steps * cycle.epochs
    )
    net.train()
    for _ in range(cycle.epochs):
        for index in torch.randperm(len(x))[: steps * BATCH].split(BATCH):
            (batch,) = augmented([x[index]], network.augment)
            optimizer.zero_grad()
            _loss(net, batch, y[index], teacher).backward()
            if before_step is not None:
                before_step(net)
            optimizer.step()
            if after_step is not None:
                after_step(net)
            schedule.step()
    net.eval()


def _loss(net: nn.Module, x: Tensor, y: Tensor, teacher: nn.Module | None) -> Tensor:
    if teacher is None:
        return nn.functional.cross_entropy(net(x), y)
    with torch.no_grad():
        taught = teacher(x)
    return OBJECTIVE.loss([net(x)], [y], [taught])


def _optimizer(network: Network, net: nn.Module, rate: float) -> torch.optim.Optimizer:
    if network.adam:
        return torch.optim.AdamW(net.parameters(), lr=rate, weight_decay=0.01, fused=True)
    return torch.optim.SGD(net.parameters(), rate, 0.9, weight_decay=5e-4, nesterov=True)


def export(net: nn.Module, x: Tensor) -> ModelProto:
    """With a free batch; batch normalisation goes into the layers before it."""
    net.eval()
    program = torch.onnx.export(
        net,
        (torch.cat([x, x]).contiguous(),),
        input_names=["x"],
        dynamic_shapes=({0: torch.export.Dim("batch")},),
        verbose=False,
    )
    if program is None:
        raise RuntimeError("the exporter gave nothing back")
    return onnx.load_model_from_string(program.model_proto.SerializeToString())


NETWORKS: Mapping[str, Network] = {
    "mlp": Network(
        build=lambda: mnist.network("mlp", 0.0, 0),
        data=lambda seed: mnist.split(MNIST, seed),
        dense=Cycle(25, 2e-3),
        tune_rate=2e-3,
        path=95,
        retrain=38,
        augment=Augment(shift=1),
        sizes=(2, 4, 8, 16, 32),
        max_drop=0.01,
    ),
    "lenet5": Network(
        build=lambda: mnist.network("lenet5", 0.0, 0),
        data=lambda seed: mnist.split(MNIST, seed),
        dense=Cycle(20, 2e-3),
        tune_rate=2e-3,
        path=44,
        retrain=18,
        augment=Augment(shift=1),
        sizes=(4, 16, 64),
        max_drop=0.005,
    ),
    "resnet20": Network(
        build=resnet20.resnet20,
        data=lambda seed: resnet20.images(CIFAR, seed),
        dense=Cycle(30, 0.2),
        tune_rate=0.05,
        path=30,
        retrain=8,
        augment=Augment(shift=4, flip=True),
        sizes=(1.5, 2, 3),
        max_drop=0.02,
        samples=20_000,
        adam=False,
    ),
}
