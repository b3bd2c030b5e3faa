"""784-300-10 on MNIST: a dense network trained here, then one job with a drop and nothing else.

    python -m benchmarks.mnist --data mnist.npz [--seed 0] [--dropout 0] [--max-drop 0.002]

The npz holds x_train (60000, 28, 28) uint8, y_train, x_test and y_test. A tenth of the training
split is held out of both trainings: the job chooses on it, as a user's own validation split would
be. The test split is read once, by the job's report. Threads: two.
"""

import argparse
import os
import time
from pathlib import Path

import numpy as np
import onnx
import torch
from benchmarks.machine import machine
from torch import nn

from tieshare import Progress, Recipe, Target, compress
from tieshare.data import Dataset

DATA = Path(os.environ.get("TIESHARE_MNIST", "../shared/data/mnist.npz"))
EPOCHS, BATCH, RATE = 25, 128, 2e-3


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.mnist")
    parser.add_argument("--data", type=Path, default=DATA)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--dropout", type=float, default=0.0, help="of the dense training")
    parser.add_argument("--max-drop", type=float, default=0.002)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/mnist"))
    flags = parser.parse_args()
    print(machine("torch", "onnxruntime"), flush=True)
    data = split(flags.data, flags.seed)
    flags.out.mkdir(parents=True, exist_ok=True)
    dense = flags.out / "dense.onnx"
    began = time.perf_counter()
    train_dense(data, flags, dense)
    print(f"dense network trained in {time.perf_counter() - began:.0f} s", flush=True)
    began = time.perf_counter()
    recipe = Recipe(target=Target(max_drop=flags.max_drop), seed=flags.seed)
    result = compress(dense, data, recipe, tell)
    took = time.perf_counter() - began
    result.save(flags.out)
    report = result.report
    print(f"\n{report.table()}\n")
    for note in report.notes:
        print(f"note: {note}")
    small, large = report.shared, report.baseline
    print(f"job: {took:.0f} s with --max-drop {flags.max_drop}, seed {flags.seed}")
    print(f"whole-network compression ratio {report.tied.compression_ratio:.2f} (at least 20)")
    lost = 100 * ((large.accuracy or 0) - (small.accuracy or 0))
    print(f"accuracy lost on the test split {lost:.2f} points (at most 0.20)")
    print(f"dense file / shared file {large.bytes / small.bytes:.1f} (at least 15)")
    for batch, microseconds in small.latency_us.items():
        faster = large.latency_us[batch] / microseconds
        print(f"dense latency / shared latency at batch {batch}: {faster:.2f} (at least 1)")


def split(path: Path, seed: int) -> Dataset:
    with np.load(path) as stored:
        arrays = {name: stored[name] for name in ("x_train", "y_train", "x_test", "y_test")}
    order = np.random.default_rng(seed).permutation(len(arrays["y_train"]))
    held_out, train = np.split(order, [len(order) // 10])
    return Dataset(
        {
            "x": arrays["x_train"][train],
            "y": arrays["y_train"][train],
            "x_val": arrays["x_train"][held_out],
            "y_val": arrays["y_train"][held_out],
            "x_test": arrays["x_test"],
            "y_test": arrays["y_test"],
        }
    )


def train_dense(data: Dataset, flags: argparse.Namespace, path: Path) -> None:
    """784-300-10, ReLU; exported with a free batch."""
    torch.manual_seed(flags.seed)
    x = torch.from_numpy(data.arrays["x"]).reshape(-1, 784).float() / 255
    y = torch.from_numpy(data.arrays["y"]).long()
    dropout = nn.Dropout(flags.dropout)
    net = nn.Sequential(nn.Linear(784, 300), nn.ReLU(), dropout, nn.Linear(300, 10))
    steps = EPOCHS * (len(x) // BATCH)
    optimizer = torch.optim.AdamW(net.parameters(), lr=RATE, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, RATE, total_steps=steps)
    for _ in range(EPOCHS):
        for index in torch.randperm(len(x))[: len(x) // BATCH * BATCH].split(BATCH):
            loss = nn.functional.cross_entropy(net(x[index]), y[index])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
    net.eval()
    program = torch.onnx.export(
        net, (x[:2],), dynamic_shapes=({0: torch.export.Dim("batch")},), verbose=False
    )
    if program is None:
        raise RuntimeError("the exporter gave nothing back")
    onnx.save(program.model_proto, path)


def tell(progress: Progress) -> None:
    last = progress.done == progress.total
    if last or (progress.done and progress.done % 10 == 0):
        known = "  ".join(f"{name} {value:.4g}" for name, value in progress.metrics.items())
        print(f"{progress.stage:<8}{progress.done:>4}/{progress.total}  {known}", flush=True)


if __name__ == "__main__":
    main()
