"""MNIST: a dense network trained here, then a job for each accuracy that it must keep.

    python -m benchmarks.mnist [--network mlp|lenet5] [--seeds 0 1 2] [--shift 1] [--jobs 0.98]

The npz holds x_train (60000, 28, 28) uint8, y_train, x_test and y_test. A tenth of the training
split is held out of both trainings: the job chooses on it, as a user's own validation split would
be, and so does this table: of the points of the front whose held-out accuracy is high enough it
takes the one with the fewest unique parameters, and the one with the smallest packed file, for
the accuracy that the job was asked for and for those above it. ``--jobs`` leaves jobs out. The test
split is read once, when the front is there. With ``--shift`` all trainings move the images by
up to so many pixels, the dense network's too. "dense, longer" is the dense network after as many
further epochs as a point of the front has had.
"""

import argparse
import os
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import onnx
import torch
from benchmarks.machine import machine
from benchmarks.training import Cycle, train
from examples.networks import export
from torch import nn

from tieshare import Progress, Recipe, Result, Target, compress
from tieshare.data import Dataset
from tieshare.files import Files
from tieshare.measure import predict
from tieshare.recipe import Augment

DATA = Path(os.environ.get("TIESHARE_MNIST", "../shared/data/mnist.npz"))


@dataclass(frozen=True)
class Goal:
    """What is to be reached at this test accuracy: ratio, and dense file / packed file."""

    accuracy: float
    ratio: float
    packed: float | None = None


@dataclass(frozen=True)
class Setting:
    """A network, how it is trained, and what its job is asked for."""

    epochs: int
    rate: float
    minutes: int
    goals: Sequence[Goal]


SETTINGS = {
    "mlp": Setting(25, 2e-3, 10, (Goal(0.980, 45, 150), Goal(0.982, 25))),
    "lenet5": Setting(20, 2e-3, 45, (Goal(0.990, 130, 350), Goal(0.9915, 50))),
}


@dataclass(frozen=True)
class Found:
    """The best at one goal, of the front of a job that was asked for ``asked``; fractions."""

    asked: float
    goal: Goal
    ratio: float
    ratio_test: float
    packed: float
    packed_test: float


def main() -> None:
    flags = _flags()
    print(machine("torch", "onnxruntime"), flush=True)
    flags.out.mkdir(parents=True, exist_ok=True)
    found = [run(flags, seed) for seed in flags.seeds]
    for per_goal in zip(*found, strict=True):
        goal, asked = per_goal[0].goal, per_goal[0].asked
        print(
            f"\njobs to {100 * asked:.2f} %, held-out accuracy at least "
            f"{100 * goal.accuracy:.2f} %, {len(found)} seeds:"
        )
        print(_line("ratio", [(it.ratio, it.ratio_test) for it in per_goal], goal.ratio))
        print(
            _line("dense / packed", [(it.packed, it.packed_test) for it in per_goal], goal.packed)
        )


def run(flags: argparse.Namespace, seed: int) -> list[Found]:
    """Train the dense network, and for each goal run its job and print the front."""
    setting = SETTINGS[flags.network]
    data, augment = split(flags.data, seed), Augment(shift=flags.shift)
    net = network(flags.network, flags.dropout, seed)
    train(net, data, Cycle(setting.epochs, setting.rate, augment))
    dense = flags.out / f"{flags.network}-{seed}.onnx"
    _export(net, dense)
    test = _accuracy(onnx.load(dense), data, "test")
    found = []
    for asked in (goal.accuracy for goal in setting.goals if goal.accuracy in flags.jobs):
        print(f"\n{flags.network}, seed {seed}, to {100 * asked:.2f} %", flush=True)
        began = time.perf_counter()
        result = _job(dense, data, asked, augment, seed)
        took = time.perf_counter() - began
        print(f"the job took {took:.0f} s (at most {60 * setting.minutes} s)")
        tests = _print(result, data)
        result.save(flags.out / f"{flags.network}-{seed}-{asked:g}")
        size = dense.stat().st_size
        found += [
            _best(Found(asked, goal, 1.0, test, 1.0, test), result.front, tests, size)
            for goal in setting.goals
            if goal.accuracy >= asked
        ]
    plan = result.report.recipe
    extra = plan["path_epochs"] + plan["retrain_epochs"]
    train(net, data, Cycle(extra, setting.rate / 10, augment))
    longer = flags.out / f"{flags.network}-{seed}-longer.onnx"
    _export(net, longer)
    longer_test = _accuracy(onnx.load(longer), data, "test")
    print(f"dense {100 * test:.2f} % of the test split, longer {100 * longer_test:.2f} %")
    return found


def _job(dense: Path, data: Dataset, asked: float, augment: Augment, seed: int) -> Result:
    """It may lose what the dense network has above that on the held-out samples."""
    held_out = _accuracy(onnx.load(dense), data, "val")
    target = Target(max_drop=max(held_out - asked, 0.0))
    return compress(dense, data, Recipe(target=target, augment=augment, seed=seed), tell)


def _print(result: Result, data: Dataset) -> list[float]:
    """The front; the test accuracy of each point."""
    report = result.report
    print(f"{report.table()}\n{''.join(f'note: {note}{chr(10)}' for note in report.notes)}")
    tests = [_accuracy(files.shared.model, data, "test") for files in result.front]
    for point, test in zip(report.front, tests, strict=True):
        print(
            f"point {point.point:>2}: held out {100 * (point.accuracy or 0):.2f} %, test "
            f"{100 * test:.2f} %, {point.unique_parameters:>7,} unique "
            f"({point.compression_ratio:.1f}x), {point.macs:>9,} MACs, shared {point.bytes:>7,}, "
            f"packed {point.packed_bytes:>7,} bytes, {point.latency_us[1]:.1f} us",
            flush=True,
        )
    return tests


def _best(whole: Found, front: Sequence[Files], tests: Sequence[float], dense_bytes: int) -> Found:
    """The dense network itself, ``whole``, where no point is accurate enough."""
    pairs = zip(front, tests, strict=True)
    good = [pair for pair in pairs if pair[0].candidate.score >= whole.goal.accuracy]
    if not good:
        return whole
    fewest, fewest_test = min(good, key=lambda pair: pair[0].candidate.unique)
    smallest, smallest_test = min(good, key=lambda pair: pair[0].packed_bytes)
    return replace(
        whole,
        ratio=fewest.candidate.ratio,
        ratio_test=fewest_test,
        packed=dense_bytes / smallest.packed_bytes,
        packed_test=smallest_test,
    )


def _line(name: str, pairs: Sequence[tuple[float, float]], wanted: float | None) -> str:
    values, tests = zip(*pairs, strict=True)
    mean, spread = statistics.mean(values), max(values) - min(values)
    accuracy = ", ".join(f"{100 * test:.2f}" for test in tests)
    aim = "" if wanted is None else f" (at least {wanted:g})"
    return f"  {name}: mean {mean:.1f}, spread {spread:.1f}{aim}; test accuracy {accuracy} %"


def _accuracy(model: onnx.ModelProto, data: Dataset, split: str) -> float:
    shape = [dim.dim_value for dim in model.graph.input[0].type.tensor_type.shape.dim]
    x = data.arrays[f"x_{split}"].reshape(-1, *shape[1:]).astype(np.float32) / 255
    logits = predict(model, model.graph.output[0].name, [x])
    return float((logits.argmax(1) == data.arrays[f"y_{split}"]).mean())


def split(path: Path, seed: int) -> Dataset:
    """A tenth of the training split is held out."""
    with np.load(path) as stored:
        arrays = {name: stored[name] for name in ("x_train", "y_train", "x_test", "y_test")}
    order = np.random.default_rng(seed).permutation(len(arrays["y_train"]))
    held_out, kept = np.split(order, [len(order) // 10])
    return Dataset(
        {
            "x": arrays["x_train"][kept],
            "y": arrays["y_train"][kept],
            "x_val": arrays["x_train"][held_out],
            "y_val": arrays["y_train"][held_out],
            "x_test": arrays["x_test"],
            "y_test": arrays["y_test"],
        }
    )


def network(name: str, dropout: float, seed: int) -> nn.Sequential:
    """784-300-10, or LeNet-5 with 20 and 50 channels and 500 hidden units; ReLU."""
    torch.manual_seed(seed)
    drop = nn.Dropout(dropout)
    if name == "mlp":
        hidden = nn.Linear(784, 300), nn.ReLU(), drop
        return nn.Sequential(nn.Flatten(), *hidden, nn.Linear(300, 10))
    return nn.Sequential(
        *(nn.Conv2d(1, 20, 5), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Conv2d(20, 50, 5), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Flatten(), nn.Linear(800, 500), nn.ReLU(), drop, nn.Linear(500, 10)),
    )


def _export(net: nn.Sequential, path: Path) -> None:
    onnx.save(export(net, {"x": torch.zeros(2, 1, 28, 28)}, ["logits"]), path)


def tell(progress: Progress) -> None:
    """Every tenth epoch."""
    last = progress.done == progress.total
    if progress.front is None and (last or (progress.done and progress.done % 10 == 0)):
        known = "  ".join(f"{name} {value:.4g}" for name, value in progress.metrics.items())
        print(f"{progress.stage:<8}{progress.done:>4}/{progress.total}  {known}", flush=True)


def _flags() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.mnist")
    parser.add_argument("--data", type=Path, default=DATA)
    parser.add_argument("--network", choices=sorted(SETTINGS), default="mlp")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--dropout", type=float, default=0.0, help="of the dense training")
    parser.add_argument("--shift", type=int, default=0, help="pixels by which images are moved")
    parser.add_argument("--jobs", type=float, nargs="+", help="accuracies asked for; all")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/mnist"))
    flags = parser.parse_args()
    goals = [goal.accuracy for goal in SETTINGS[flags.network].goals]
    flags.jobs = flags.jobs or goals
    if unknown := set(flags.jobs) - set(goals):
        parser.error(f"no job for {unknown}; there are {goals}")
    return flags


if __name__ == "__main__":
    main()
