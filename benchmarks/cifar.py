"""ResNet-20 on CIFAR-10: our job beside Torch-Pruning's group norm pruner.

    python -m benchmarks.cifar --data cifar10_jpeg.npz [--epochs 10] [--samples 20000]

The dense network is trained on 45,000 images, mirrored and shifted. Both then get that network,
the first ``--samples`` of the same images as they are, and the same number of epochs: ``--path``
with a penalty, ``--retrain`` after that. Theirs is pruned to as few parameters as ours has unique
ones, and to as few multiplications, exported, and measured as ours is: on the file, in ONNX
Runtime, on one thread. 5,000 images are held out and never trained on; the test split is read once
for each row of the table.
"""

import argparse
import os
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
import torch
from benchmarks.machine import machine
from benchmarks.mnist import tell
from benchmarks.resnet20 import descend, export, first, images, resnet20
from benchmarks.torch_pruning import pruned, sparse
from onnx import ModelProto
from torch import nn

from tieshare import Recipe, Target, compress
from tieshare.data import Dataset
from tieshare.exports.macs import macs
from tieshare.measure import latencies, predict

DATA = Path(os.environ.get("TIESHARE_CIFAR", "../shared/data/cifar10_jpeg.npz"))


def main() -> None:
    flags = _flags()
    print(machine("torch", "onnxruntime", "torch-pruning"), flush=True)
    torch.manual_seed(flags.seed)
    everything = images(flags.data, flags.seed)
    flags.out.mkdir(parents=True, exist_ok=True)
    net = _dense(everything, flags)
    data = first(everything, flags.samples)
    models = {"dense": export(net, fold=False)}
    (flags.out / "dense.onnx").write_bytes(models["dense"].SerializeToString())
    models["ours"] = _ours(models["dense"], data, flags)
    models |= _theirs(net, data, flags, models["ours"])
    _table(models, data)


def _dense(data: Dataset, flags: argparse.Namespace) -> nn.Sequential:
    """Trained here, or read from the folder of an earlier run with the same options."""
    net = resnet20()
    stored = flags.out / f"dense-{flags.epochs}-{flags.seed}.pt"
    if stored.exists():
        net.load_state_dict(torch.load(stored))
        return net
    began = time.perf_counter()
    descend(net, data, flags.epochs, 0.2, augment=True)
    torch.save(net.state_dict(), stored)
    print(f"dense network trained in {time.perf_counter() - began:.0f} s", flush=True)
    return net


def _ours(dense: ModelProto, data: Dataset, flags: argparse.Namespace) -> ModelProto:
    """What a job gives; its files stay in the folder."""
    began = time.perf_counter()
    recipe = Recipe(
        target=Target(max_drop=flags.max_drop),
        path_epochs=flags.path,
        retrain_epochs=flags.retrain,
        batch_size=128,
        seed=flags.seed,
    )
    result = compress(dense, data, recipe, tell, flags.out / "checkpoints")
    result.save(flags.out)
    print(f"our job: {time.perf_counter() - began:.0f} s\n{result.report.table()}", flush=True)
    return result.shared


def _theirs(
    net: nn.Module, data: Dataset, flags: argparse.Namespace, ours: ModelProto
) -> dict[str, ModelProto]:
    """Pruned to what ours needs."""
    x = torch.zeros(1, 3, 32, 32)
    trained = sparse(
        net, x, lambda module, pruner: descend(module, data, flags.path, 0.05, penalty=pruner)
    )
    found = {}
    for what, goal in (("parameters", parameters(ours)), ("multiplications", macs(ours))):
        smaller = pruned(trained, x, what, goal)
        descend(smaller, data, flags.retrain, 0.02)
        found[f"Torch-Pruning, same {what}"] = export(smaller, fold=True)
        print(f"Torch-Pruning, same {what}: done", flush=True)
    return found


def parameters(model: ModelProto) -> int:
    """Floats that the file stores."""
    stored = model.graph.initializer
    kinds = (onnx.TensorProto.FLOAT, onnx.TensorProto.DOUBLE)
    return sum(int(np.prod(item.dims)) for item in stored if item.data_type in kinds)


def _table(models: dict[str, ModelProto], data: Dataset) -> None:
    x = data.arrays["x_test"].astype(np.float32) / 255
    timed = latencies(models, [x[:32]])
    print(
        f"{'':<34}{'accuracy':>9}{'stored':>9}{'MACs':>13}{'bytes':>11}{'us at 1':>9}{'at 32':>9}"
    )
    for name, model in models.items():
        logits = predict(model, model.graph.output[0].name, [x])
        accuracy = float((logits.argmax(1) == data.arrays["y_test"]).mean())
        numbers: Sequence[int] = (parameters(model), macs(model), model.ByteSize())
        us = timed[name]
        print(
            f"{name:<34}{100 * accuracy:>8.2f}%{numbers[0]:>9,}{numbers[1]:>13,}{numbers[2]:>11,}"
            f"{us[1]:>9.0f}{us[32]:>9.0f}"
        )


def _flags() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.cifar")
    parser.add_argument("--data", type=Path, default=DATA)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--epochs", type=int, default=10, help="of the dense training")
    parser.add_argument("--samples", type=int, default=20_000, help="images after that")
    parser.add_argument("--path", type=int, default=6, help="epochs with a penalty")
    parser.add_argument("--retrain", type=int, default=3, help="epochs after it")
    parser.add_argument("--max-drop", type=float, default=0.02)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/cifar"))
    return parser.parse_args()


if __name__ == "__main__":
    main()
