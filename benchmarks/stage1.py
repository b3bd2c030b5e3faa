"""What an epoch of stage 1 costs over an epoch of plain training of the same twin.

    python -m benchmarks.stage1 [NAME ...] [--epochs 5]

Both train on the same made samples with the same loss, learning rate and thread. Stage 1 has the
penalty's steps and masks besides, and scores the held-out tenth after each epoch, which plain
training does too. Epochs take turns; medians of their processor time. A layer's rows are shrunk
from the first epoch on, so that the prox has work to do.
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch
from benchmarks.machine import machine
from benchmarks.twin import WORKLOADS

from tieshare import Recipe
from tieshare.checkpoint import Checkpoints
from tieshare.data import Dataset, fit
from tieshare.graph import describe, read_model
from tieshare.job import Job
from tieshare.progress import Narrator, silent
from tieshare.stage1 import RisingPath, descent

NAMES = ("mlp", "lenet5", "resnet18-unfolded", "encoder", "lstm")
BATCHES = 40
RATE = 0.005
REACH = 1.1


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.stage1")
    parser.add_argument("names", nargs="*", default=NAMES, metavar="NAME", help=", ".join(NAMES))
    parser.add_argument("--epochs", type=int, default=5)
    flags = parser.parse_args()
    torch.set_num_threads(1)
    print(machine("torch", "onnx"), "1 thread", sep=", ")
    print(f"{'':<18} {'plain s':>9} {'stage 1 s':>9} {'ratio':>6}")
    with tempfile.TemporaryDirectory() as folder:
        for name in flags.names:
            plain, ours = times(_job(name, Path(folder)), flags.epochs)
            print(f"{name:<18} {plain:>9.3f} {ours:>9.3f} {ours / plain:>6.2f}", flush=True)
    print(f"to be reached: {REACH}")


def times(job: Job, epochs: int) -> tuple[float, float]:
    """Median seconds of an epoch, plain and of stage 1."""
    twin = job.twin(job.model)
    optimizer = descent(twin, RATE)
    path = RisingPath(job.twin(job.model), job.structure, job.trainer, job.recipe, job.plan)

    def plain(epoch: int) -> None:
        twin.train()
        for index in job.trainer.batches(job.recipe.seed, epoch):
            job.trainer.step(twin, optimizer, index)
        job.trainer.right(twin)

    def ours(_: int) -> None:
        path.epoch()

    ways: tuple[Callable[[int], None], ...] = plain, ours
    taken: tuple[list[float], list[float]] = ([], [])
    for epoch in range(epochs + 1):
        for which in (0, 1) if epoch % 2 else (1, 0):
            began = time.process_time()
            ways[which](epoch)
            taken[which].append(time.process_time() - began)
    return statistics.median(taken[0][1:]), statistics.median(taken[1][1:])


def _job(name: str, folder: Path) -> Job:
    work = WORKLOADS[name]
    path = folder / f"{name}.onnx"
    work.save(path)
    data = Dataset(
        {"x": work.inputs(BATCHES).numpy(), "y": work.labels(BATCHES).numpy().astype(np.int64)}
    )
    recipe = Recipe(batch_size=work.batch, learning_rate=RATE)
    read = read_model(path.read_bytes())
    splits = fit(data, asdict(describe(read)), recipe)
    return Job(read, splits, recipe, Checkpoints(folder / name), Narrator(silent))


if __name__ == "__main__":
    main()
