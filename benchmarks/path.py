"""How small stage 1 makes each network before it loses accuracy; ``python -m benchmarks.path``.

    python -m benchmarks.path [NAME ...] [--epochs 30] [--max-drop 0.02] [--verbose]

The networks and data of benchmarks.networks. Told is, for several losses of held-out accuracy, the
largest ratio of parameters to those alive at the end of an epoch that has lost no more, before any
retraining and without ties. Its digits and sequences have some 300 held-out samples, so that one of
them is a third of a point: this is to compare ways to steer the path, over several networks.
"""

import argparse
import tempfile
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import torch
from benchmarks.machine import machine
from benchmarks.networks import PATH_EPOCHS, dense_model
from examples.networks import ARCHITECTURES, EXPORTERS
from examples.networks.data import parted

from tieshare import Progress, Recipe, Target
from tieshare.checkpoint import Checkpoints
from tieshare.data import Dataset, fit
from tieshare.graph import describe, read_model
from tieshare.job import Job
from tieshare.progress import Narrator
from tieshare.walk import walk

NAMES = ("mlp", "resnet18", "mobilenet", "unet", "encoder", "vit", "lstm")
LOSSES = (0.01, 0.02, 0.03, 0.05, 0.08)

Epoch = tuple[float, float]
"""Ratio, and loss of accuracy."""


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.path")
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(ARCHITECTURES))
    parser.add_argument("--epochs", type=int, default=PATH_EPOCHS)
    parser.add_argument("--max-drop", type=float, default=0.02)
    parser.add_argument("--verbose", action="store_true", help="every epoch")
    flags = parser.parse_args()
    torch.set_num_threads(1)
    print(machine("torch", "onnx"))
    print(f"{'':<12}{'epochs':>7}" + "".join(f"{100 * loss:>7g} %" for loss in LOSSES), flush=True)
    for name in flags.names or NAMES:
        epochs = path(name, flags.epochs, flags.max_drop)
        cells = [f"{_largest(epochs, most):>9.1f}" for most in LOSSES]
        print(f"{name:<12}{len(epochs):>7}{''.join(cells)}", flush=True)
        if flags.verbose:
            print("  ".join(f"{ratio:.1f}: {100 * lost:.1f} %" for ratio, lost in epochs))


def _largest(epochs: Sequence[Epoch], most: float) -> float:
    return max((ratio for ratio, lost in epochs if lost <= most), default=1.0)


def path(name: str, epochs: int, max_drop: float) -> Sequence[Epoch]:
    """Train a network densely, then along the path; each epoch of it."""
    made = ARCHITECTURES[name]
    arrays = parted(made.data())
    flags = argparse.Namespace(exporter=next(iter(EXPORTERS)), unfolded=False)
    model = read_model(dense_model(name, made, arrays, flags).SerializeToString())
    recipe = Recipe(target=Target(max_drop=max_drop), path_epochs=epochs)
    told: list[Progress] = []
    with tempfile.TemporaryDirectory() as folder:
        splits = fit(Dataset(arrays), asdict(describe(model)), recipe)
        job = Job(model, splits, recipe, Checkpoints(Path(folder)), Narrator(told.append))
        dense = float(job.dense.mean())
        walk(job)
    metrics = [progress.metrics for progress in told if progress.stage == "path"]
    return [(one["compression_ratio"], dense - one["accuracy"]) for one in metrics]


if __name__ == "__main__":
    main()
