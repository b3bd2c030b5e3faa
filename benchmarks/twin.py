"""A training step of the twin beside one of the torch module that its file was exported from.

    python -m benchmarks.twin [NAME ...] [--rounds 15] [--profile]

A step is forward, cross-entropy, backward and SGD with momentum. Both train from the same weights
on the same batch, on one thread, in turns; the figures are medians over the rounds of the
processor's time. Memory: the peak of a fresh process over two steps with four times the batch,
less what it held before them. ResNet-18 is exported with and without its batch norms: the default
exporter folds them into the convolutions.
"""

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import onnx
import psutil
import torch
from benchmarks.machine import machine
from examples.networks import export
from examples.networks.attention import Encoder
from examples.networks.convolutional import lenet5
from examples.networks.dense import mlp
from examples.networks.recurrent import Recurrent
from examples.networks.residual import resnet18
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from tieshare.twin import from_onnx

WARM = 2
MEMORY_STEPS, MEMORY_BATCHES = 2, 4
REACH_TIME, REACH_MEMORY = 1.1, 1.2


@dataclass(frozen=True)
class Workload:
    """A module, one batch for it, and how it is exported.

    ``vocabulary``: inputs are tokens below it, and else normal floats.
    """

    make: Callable[[], nn.Module]
    batch: int
    shape: tuple[int, ...]
    classes: int
    vocabulary: int | None = None
    options: Mapping[str, Any] | None = None

    def module(self) -> nn.Module:
        """Without dropout, which exported files do not have."""
        torch.manual_seed(0)
        module = self.make()
        for layer in module.modules():
            if isinstance(layer, nn.Dropout):
                layer.p = 0.0
            elif isinstance(layer, nn.MultiheadAttention):
                layer.dropout = 0.0
        return module

    def inputs(self, batches: int = 1) -> Tensor:
        generator = torch.Generator().manual_seed(0)
        shape = batches * self.batch, *self.shape
        if self.vocabulary is None:
            return torch.randn(shape, generator=generator)
        return torch.randint(self.vocabulary, shape, generator=generator)

    def labels(self, batches: int = 1) -> Tensor:
        generator = torch.Generator().manual_seed(1)
        return torch.randint(self.classes, (batches * self.batch,), generator=generator)

    def save(self, path: Path) -> None:
        example = {"x": self.inputs()[:2]}
        onnx.save(export(self.module(), example, ["logits"], **(self.options or {})), path)


_IMAGE = (1, 28, 28)
_resnet = partial(Workload, partial(resnet18, 64, 3), 16, (3, 32, 32), 10)
_encoder = partial(Workload, partial(Encoder, 128, 256, 64), 32, (64,), classes=4, vocabulary=256)

WORKLOADS: Mapping[str, Workload] = {
    "mlp": Workload(partial(mlp, 300), 128, _IMAGE, 10),
    "lenet5": Workload(partial(lenet5, 20), 128, _IMAGE, 10),
    "resnet18": _resnet(),
    "resnet18-unfolded": _resnet(options={"exporter": "script", "fold": False}),
    "encoder": _encoder(),
    "encoder-opset23": _encoder(options={"opset": 23}),
    "lstm": Workload(partial(Recurrent, 64, "LSTM", 256), 32, (64,), 4, vocabulary=256),
}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.twin")
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(WORKLOADS))
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--profile", action="store_true", help="where the time of a step goes")
    flags = parser.parse_args()
    if unknown := set(flags.names) - set(WORKLOADS):
        parser.error(f"no such workload: {', '.join(sorted(unknown))}")
    torch.set_num_threads(1)
    print(machine("torch", "onnx"), "1 thread", sep=", ")
    print(
        f"{'':<18} {'torch ms':>9} {'twin ms':>9} {'ratio':>6} {'torch MB':>9} {'twin MB':>9} ratio"
    )
    with tempfile.TemporaryDirectory() as folder:
        for name in flags.names or WORKLOADS:
            path = Path(folder) / f"{name}.onnx"
            WORKLOADS[name].save(path)
            ours, theirs = times(name, path, flags.rounds)
            held = [memory(name, given) for given in (None, path)]
            print(
                f"{name:<18} {1e3 * theirs:>9.2f} {1e3 * ours:>9.2f} {ours / theirs:>6.2f}"
                f" {held[0]:>9.1f} {held[1]:>9.1f} {held[1] / held[0]:>5.2f}",
                flush=True,
            )
            if flags.profile:
                profile(name, path)
    print(f"to be reached: {REACH_TIME} times the time, {REACH_MEMORY} times the memory")


def step_of(name: str, path: Path | None, batches: int = 1) -> Callable[[], None]:
    """One training step of the twin of a file, or of the torch module where there is none."""
    work = WORKLOADS[name]
    module = work.module() if path is None else from_onnx(onnx.load(path))
    module.train()
    optimizer = torch.optim.SGD(module.parameters(), lr=1e-3, momentum=0.9)
    x, y = work.inputs(batches), work.labels(batches)

    def step() -> None:
        optimizer.zero_grad()
        torch.autograd.backward(cross_entropy(module(x), y))
        optimizer.step()

    return step


def times(name: str, path: Path, rounds: int) -> tuple[float, float]:
    """Median seconds of a step of the twin and of the module."""
    steps = step_of(name, path), step_of(name, None)
    for step in steps * WARM:
        step()
    began = time.process_time()
    steps[1]()
    # Of short steps, several to a round: about 20 ms.
    repeats = max(1, round(0.02 / (time.process_time() - began)))
    taken: tuple[list[float], list[float]] = ([], [])
    for number in range(rounds):
        for which in (0, 1) if number % 2 else (1, 0):
            began = time.process_time()
            for _ in range(repeats):
                steps[which]()
            taken[which].append((time.process_time() - began) / repeats)
    return statistics.median(taken[0]), statistics.median(taken[1])


def memory(name: str, path: Path | None) -> float:
    """MB that a fresh process holds more at its peak than before its first step.

    The C library is told to map each tensor by itself, and to give it back at once: otherwise the
    figure is that of gaps in its heap.
    """
    os.environ["MALLOC_MMAP_THRESHOLD_"] = "65536"
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(_grown, name, path).result()


def _grown(name: str, path: Path | None) -> float:
    torch.set_num_threads(1)
    step = step_of(name, path, MEMORY_BATCHES)
    # Linux forgets a process's peak on request; what was read and built no longer counts.
    Path("/proc/self/clear_refs").write_text("5")
    before = psutil.Process().memory_info().rss
    for _ in range(MEMORY_STEPS):
        step()
    return float(_peak() - before) / 1e6


def _peak() -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM"))


def profile(name: str, path: Path) -> None:
    for label, given in (("torch", None), ("twin", path)):
        step = step_of(name, given)
        step()
        with torch.profiler.profile() as seen:
            step()
        print(f"{name}, {label}")
        print(seen.key_averages().table(sort_by="self_cpu_time_total", row_limit=15))


if __name__ == "__main__":
    main()
