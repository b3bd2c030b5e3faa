"""Memory of each process of ``tieshare serve``; ``python -m benchmarks.memory``.

One job on a 784-300-10 network, over HTTP as a user's, on made data of MNIST's size: 70,000 images
of 784 bytes, 54,000 of them to train on. Few epochs: more take longer, not more memory.
RSS counts shared pages in full in every process that maps them; PSS divides each by the number of
those processes, so that it can be added up. Systems other than Linux tell USS, the pages of one
process alone, in its place. Peaks are the largest of ten samples a second.
"""

import argparse
import os
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import reduce
from operator import add
from pathlib import Path

import httpx
import numpy as np
import onnx
import psutil
from benchmarks.machine import machine
from examples import service
from onnx.numpy_helper import from_array

from tieshare_service.client import Client

SAMPLES = {"x": 54_000, "x_val": 6_000, "x_test": 10_000}
INPUTS, HIDDEN, CLASSES = 784, 300, 10
RECIPE = {"path_epochs": 6, "retrain_epochs": 2, "batch_size": 256}
NETWORK = f"""
<ir_version: 9, opset_import: ["" : 20]>
dense (float[batch, {INPUTS}] x) => (float[batch, {CLASSES}] logits) {{
    hidden = Gemm(x, w1, b1)
    active = Relu(hidden)
    logits = Gemm(active, w2, b2)
}}
"""
BATCH, REQUESTS = 128, 100
INTERVAL_S = 0.1
SETTLE_S = 3.0
JOB_S = 300.0

# The row of a process: the first whose word is in its command line.
ROLES = {
    "tieshare_service.child": "training child",
    "tieshare_service.gate_child": "check of an upload",
    "api": "control API",
    "inference": "inference",
    "worker": "worker",
    "serve": "serve, which starts the others",
}
ALL = "all"
SHARE = "PSS" if psutil.LINUX else "USS"


@dataclass(frozen=True)
class Memory:
    """Of one process, or of all, in bytes. ``share`` is PSS, or USS where there is none."""

    rss: int = 0
    share: int = 0

    def __add__(self, other: "Memory") -> "Memory":
        return Memory(self.rss + other.rss, self.share + other.share)

    def __or__(self, other: "Memory") -> "Memory":
        """The larger of each."""
        return Memory(max(self.rss, other.rss), max(self.share, other.share))


Sample = dict[str, Memory]


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.memory")
    parser.add_argument("--threads", type=int, default=2, help="of the training process")
    flags = parser.parse_args()
    os.environ["TIESHARE_THREADS"] = str(flags.threads)
    began = time.perf_counter()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        bytes_sent = make(folder)
        running = service.start(folder / "data", folder / "log")
        try:
            columns = measure(running, folder)
        finally:
            running.stop()
    took = time.perf_counter() - began
    print(table(columns))
    print(
        f"\nMiB, {SHARE} after the stroke. {INPUTS}-{HIDDEN}-{CLASSES}, data {bytes_sent / 1e6:.0f}"
        f" MB, {flags.threads} threads, {took:.0f} s in all. "
        f"{machine('torch', 'onnxruntime', 'psutil')}."
    )


def make(folder: Path) -> int:
    """Write model and data; the size of the data in bytes.

    The classes are noisy copies of ten images. The network's hidden weights are random, those
    behind them the least-squares fit; training would not change what it takes.
    """
    rng = np.random.default_rng(0)
    images = rng.integers(0, 128, (CLASSES, INPUTS), dtype=np.uint8)
    arrays: dict[str, np.ndarray] = {}
    for split, samples in SAMPLES.items():
        labels = rng.integers(0, CLASSES, samples)
        arrays[split.replace("x", "y", 1)] = labels
        arrays[split] = images[labels] + rng.integers(0, 128, (samples, INPUTS), dtype=np.uint8)
    np.savez(folder / "data.npz", **arrays)  # type: ignore[arg-type]
    x, y = arrays["x_val"] / 255, np.eye(CLASSES)[arrays["y_val"]]
    w1 = rng.normal(0, (2 / INPUTS) ** 0.5, (INPUTS, HIDDEN))
    b1 = -(x @ w1).mean(axis=0)
    w2 = np.linalg.lstsq(np.maximum(x @ w1 + b1, 0), y, rcond=None)[0]
    model = onnx.parser.parse_model(NETWORK)
    for name, values in {"w1": w1, "b1": b1, "w2": w2, "b2": np.zeros(CLASSES)}.items():
        model.graph.initializer.append(from_array(values.astype(np.float32), name))
    onnx.save(model, folder / "dense.onnx")
    return (folder / "data.npz").stat().st_size


def measure(running: service.Service, folder: Path) -> dict[str, Sample]:
    """The columns of the table."""
    root = psutil.Process(running.process.pid)
    time.sleep(SETTLE_S)
    rest = sample(root)
    with Client(running.api) as client, peaks(root) as highest:
        model = client.models.create(folder / "dense.onnx")
        dataset = client.datasets.create(folder / "data.npz")
        job = client.jobs.submit(model.id, dataset.id, name="dense", recipe=RECIPE)
        client.jobs.wait(job.id, JOB_S)
    with peaks(root) as asked:
        ask(f"{running.inference}/v2/models/dense")
    time.sleep(SETTLE_S)
    return {
        "at rest": rest,
        "peak, uploads and job": highest,
        f"peak, result served, {REQUESTS} requests of {BATCH}": asked,
        "after all": sample(root),
    }


def ask(url: str) -> None:
    """Wait until the model is served, then have it answer."""
    deadline = time.monotonic() + 10
    while not httpx.get(f"{url}/ready").is_success:
        if time.monotonic() > deadline:
            raise RuntimeError(f"{url} is not served")
        time.sleep(INTERVAL_S)
    x = np.random.default_rng(0).random((BATCH, INPUTS)).round(3)
    tensor = {"name": "x", "datatype": "FP32", "shape": x.shape, "data": x.ravel().tolist()}
    with httpx.Client() as http:
        for _ in range(REQUESTS):
            http.post(f"{url}/infer", json={"inputs": [tensor]}).raise_for_status()


def sample(root: psutil.Process) -> Sample:
    """All processes of the service now, and their sum."""
    found: Sample = {}
    for process in (root, *root.children(recursive=True)):
        try:
            command, info = process.cmdline(), process.memory_full_info()
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue  # it has just ended
        role = next((role for word, role in ROLES.items() if word in command), None)
        if role is not None:
            memory = Memory(info.rss, getattr(info, SHARE.lower()))
            # The larger, not the sum: between fork and exec a child looks like its parent.
            found[role] = found.get(role, Memory()) | memory
    return {**found, ALL: reduce(add, found.values(), Memory())}


@contextmanager
def peaks(root: psutil.Process) -> Iterator[Sample]:
    """The largest of each number, whole once the block has ended."""
    highest: Sample = {}
    ended = threading.Event()

    def watch() -> None:
        while not ended.wait(INTERVAL_S):
            for role, memory in sample(root).items():
                highest[role] = highest.get(role, Memory()) | memory

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield highest
    finally:
        ended.set()
        thread.join()


def table(columns: dict[str, Sample]) -> str:
    """In markdown: a row a process, a column a moment."""
    lines = [f"| | {' | '.join(columns)} |", "|---" * (len(columns) + 1) + "|"]
    for role in (*ROLES.values(), ALL):
        cells = (cell(found.get(role)) for found in columns.values())
        lines.append(f"| {role} | {' | '.join(cells)} |")
    return "\n".join(lines)


def cell(memory: Memory | None) -> str:
    if memory is None:
        return "–"
    return f"{memory.rss / 2**20:.0f} / {memory.share / 2**20:.0f}"


if __name__ == "__main__":
    main()
