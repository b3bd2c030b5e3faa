"""The networks that pruning tools are compared on: how each is trained, and made how small."""

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from benchmarks import mnist, resnet20
from benchmarks.training import Cycle
from torch import nn

from tieshare.data import Dataset
from tieshare.recipe import Augment

CIFAR = Path(os.environ.get("TIESHARE_CIFAR", "../shared/data/cifar10_jpeg.npz"))


@dataclass(frozen=True)
class Network:
    """``dense``: of the dense training; then ``path`` and ``retrain`` epochs for every tool.

    Ours trains one more for every four of the latter, with rounded values; the others as long.

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
    sizes: tuple[float, ...]
    max_drop: float
    samples: int | None = None

    def tuning(self, epochs: int) -> Cycle:
        """Of the tools whose training is not their own."""
        return replace(self.dense, epochs=epochs, rate=self.tune_rate)


NETWORKS: Mapping[str, Network] = {
    "mlp": Network(
        build=lambda: mnist.network("mlp", 0.0, 0),
        data=lambda seed: mnist.split(mnist.DATA, seed),
        dense=Cycle(25, 2e-3, Augment(shift=1)),
        tune_rate=2e-3,
        path=48,
        retrain=19,
        sizes=(2, 4, 8, 16, 32),
        max_drop=0.01,
    ),
    "lenet5": Network(
        build=lambda: mnist.network("lenet5", 0.0, 0),
        data=lambda seed: mnist.split(mnist.DATA, seed),
        dense=Cycle(20, 2e-3, Augment(shift=1)),
        tune_rate=2e-3,
        path=44,
        retrain=18,
        sizes=(4, 16, 64),
        max_drop=0.005,
    ),
    "resnet20": Network(
        build=resnet20.resnet20,
        data=lambda seed: resnet20.images(CIFAR, seed),
        dense=Cycle(8, 0.2, Augment(shift=4, flip=True), adam=False),
        tune_rate=0.05,
        path=10,
        retrain=3,
        sizes=(1.5, 2, 3),
        max_drop=0.02,
        samples=10_000,
    ),
}
