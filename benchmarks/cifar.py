"""ResNet-20 on CIFAR-10: our job beside Torch-Pruning's group norm pruner.

    python -m benchmarks.cifar --data cifar10_jpeg.npz [--epochs 15] [--samples 45000]

Both get the same dense model, the same images (each also mirrored) and the same number of epochs:
``--path`` with a penalty, ``--retrain`` after that. Theirs is then pruned to as few parameters as
ours has unique ones, and to as few multiplications, exported, and measured as ours is: on the file,
in ONNX Runtime, on one thread. A tenth of the training images is held out and never trained on;
the test split is read once for each row of the table.
"""

import argparse
import copy
import importlib
import io
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
import torch.nn.functional as F  # noqa: N812
from benchmarks.machine import machine
from benchmarks.mnist import tell
from numpy.typing import NDArray
from onnx import ModelProto
from PIL import Image
from torch import Tensor, nn

from tieshare import Recipe, Target, compress
from tieshare.data import Dataset
from tieshare.measure import latencies, predict

DATA = Path(os.environ.get("TIESHARE_CIFAR", "../shared/data/cifar10_jpeg.npz"))
BATCH = 128


class Block(nn.Module):
    """Two convolutions beside a shortcut, projected where the shape changes."""

    def __init__(self, before: int, after: int, stride: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(before, after, 3, stride, 1, bias=False)
        self.first_norm = nn.BatchNorm2d(after)
        self.second = nn.Conv2d(after, after, 3, 1, 1, bias=False)
        self.second_norm = nn.BatchNorm2d(after)
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or before != after:
            project = nn.Conv2d(before, after, 1, stride, bias=False)
            self.shortcut = nn.Sequential(project, nn.BatchNorm2d(after))

    def forward(self, x: Tensor) -> Tensor:
        inner = F.relu(self.first_norm(self.first(x)))
        return F.relu(self.second_norm(self.second(inner)) + self.shortcut(x))


def resnet20() -> nn.Sequential:
    """He et al., CVPR 2016, section 4.2; projection shortcuts."""
    layers: list[nn.Module] = [nn.Conv2d(3, 16, 3, 1, 1, bias=False), nn.BatchNorm2d(16), nn.ReLU()]
    width = 16
    for after in (16, 32, 64):
        for position in range(3):
            layers.append(Block(width, after, 2 if width != after and position == 0 else 1))
            width = after
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, 10))


def main() -> None:
    flags = _flags()
    print(machine("torch", "onnxruntime", "torch-pruning"), flush=True)
    torch.manual_seed(flags.seed)
    data = images(flags.data, flags.samples, flags.seed)
    flags.out.mkdir(parents=True, exist_ok=True)
    net = _dense(data, flags)
    dense = export(net)
    (flags.out / "dense.onnx").write_bytes(dense.SerializeToString())
    began = time.perf_counter()
    recipe = Recipe(
        target=Target(max_drop=flags.max_drop),
        path_epochs=flags.path,
        retrain_epochs=flags.retrain,
        batch_size=BATCH,
        seed=flags.seed,
    )
    result = compress(dense, data, recipe, tell)
    result.save(flags.out)
    print(f"our job: {time.perf_counter() - began:.0f} s\n{result.report.table()}", flush=True)
    models = {"dense": dense, "ours": result.shared}
    sparse = sparse_training(net, data, flags.path)
    wanted = {"parameters": parameters(result.shared), "multiplications": macs(result.shared)}
    for name, goal in wanted.items():
        pruned = prune(sparse, name, goal)
        descend(pruned, data, flags.retrain, 0.02)
        models[f"Torch-Pruning, same {name}"] = export(pruned)
    _table(models, data)


def images(path: Path, samples: int, seed: int) -> Dataset:
    """uint8 (n, 3, 32, 32): training images and the same mirrored, a tenth held out, test."""
    with np.load(path) as stored:
        train, y_train = _decode(stored["jpeg_train"], stored["end_train"]), stored["y_train"]
        test, y_test = _decode(stored["jpeg_test"], stored["end_test"]), stored["y_test"]
    order = np.random.default_rng(seed).permutation(len(train))
    held_out, chosen = order[:5000], order[5000 : 5000 + samples]
    x = train[chosen]
    return Dataset(
        {
            "x": np.concatenate([x, x[..., ::-1]]),
            "y": np.tile(y_train[chosen], 2),
            "x_val": train[held_out],
            "y_val": y_train[held_out],
            "x_test": test,
            "y_test": y_test,
        }
    )


def _decode(jpeg: NDArray[np.uint8], ends: NDArray[np.int64]) -> NDArray[np.uint8]:
    raw = jpeg.tobytes()
    starts = np.concatenate([[0], ends[:-1]])
    pictures = [
        np.asarray(Image.open(io.BytesIO(raw[start:end])))
        for start, end in zip(starts, ends, strict=True)
    ]
    return np.stack(pictures).transpose(0, 3, 1, 2)


def _dense(data: Dataset, flags: argparse.Namespace) -> nn.Sequential:
    """Trained here, or read from the folder of an earlier run with the same options."""
    net = resnet20()
    stored = flags.out / f"dense-{flags.epochs}-{flags.samples}-{flags.seed}.pt"
    if stored.exists():
        net.load_state_dict(torch.load(stored))
        return net
    began = time.perf_counter()
    descend(net, data, flags.epochs, 0.2, crop=True)
    torch.save(net.state_dict(), stored)
    print(f"dense network trained in {time.perf_counter() - began:.0f} s", flush=True)
    return net


def descend(
    net: nn.Module,
    data: Dataset,
    epochs: int,
    rate: float,
    *,
    crop: bool = False,
    penalty: Any = None,
) -> None:
    """SGD along one cycle; ``crop``: images are shifted by up to 4 pixels."""
    net.train()
    x, y = (torch.from_numpy(np.ascontiguousarray(data.arrays[name])) for name in ("x", "y"))
    optimizer = torch.optim.SGD(net.parameters(), rate, 0.9, weight_decay=5e-4, nesterov=True)
    steps = len(x) // BATCH
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, rate, total_steps=steps * epochs)
    for _ in range(epochs):
        for index in torch.randperm(len(x))[: steps * BATCH].split(BATCH):
            batch = x[index].float() / 255
            loss = F.cross_entropy(net(_shifted(batch) if crop else batch), y[index].long())
            optimizer.zero_grad()
            loss.backward()
            if penalty is not None:
                penalty.regularize(net)
            optimizer.step()
            schedule.step()
    net.eval()


def _shifted(x: Tensor) -> Tensor:
    padded = F.pad(x, (4, 4, 4, 4))
    down, right = np.random.default_rng(int(torch.randint(2**31, ()))).integers(0, 9, 2)
    return padded[..., down : down + 32, right : right + 32]


def export(net: nn.Module) -> ModelProto:
    """Batch normalisation stays a node of its own, so that training goes on with it."""
    net.eval()
    program = torch.onnx.export(
        net,
        (torch.zeros(2, 3, 32, 32),),
        input_names=["x"],
        dynamic_shapes=({0: torch.export.Dim("batch")},),
        verbose=False,
        optimize=False,
    )
    if program is None:
        raise RuntimeError("the exporter gave nothing back")
    return onnx.load_model_from_string(program.model_proto.SerializeToString())


def sparse_training(net: nn.Module, data: Dataset, epochs: int) -> Any:
    """Torch-Pruning's group norm pruner after training with its penalty."""
    tp = _torch_pruning()
    sparse = copy.deepcopy(net)
    *_, last = sparse.children()
    pruner = tp.pruner.GroupNormPruner(
        sparse,
        torch.zeros(1, 3, 32, 32),
        importance=tp.importance.GroupMagnitudeImportance(),
        pruning_ratio=1.0,
        iterative_steps=400,
        global_pruning=True,
        max_pruning_ratio=0.97,
        ignored_layers=[last],
    )
    pruner.update_regularizer()
    descend(sparse, data, epochs, 0.05, penalty=pruner)
    return pruner


def prune(pruner: Any, what: str, goal: int) -> nn.Module:
    """A copy of the pruner's network with no more than ``goal`` parameters or multiplications."""
    tp = _torch_pruning()
    smaller = copy.deepcopy(pruner)
    x = torch.zeros(1, 3, 32, 32)
    while True:
        multiplications, count = tp.utils.count_ops_and_params(smaller.model, x)
        if (count if what == "parameters" else multiplications) <= goal:
            return smaller.model  # type: ignore[no-any-return]
        smaller.step()


def _torch_pruning() -> Any:
    """The module; it is installed into a folder of its own where it is missing."""
    try:
        return importlib.import_module("torch_pruning")
    except ImportError:
        folder = tempfile.mkdtemp(prefix="torch-pruning-")
        command = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--target", folder]
        subprocess.run([*command, "torch-pruning"], check=True)
        sys.path.append(folder)
        return importlib.import_module("torch_pruning")


def parameters(model: ModelProto) -> int:
    """Floats that the file stores."""
    stored = model.graph.initializer
    kinds = (onnx.TensorProto.FLOAT, onnx.TensorProto.DOUBLE)
    return sum(int(np.prod(item.dims)) for item in stored if item.data_type in kinds)


def macs(model: ModelProto) -> int:
    """Multiplications of convolutions and products for one sample, from the shapes of the graph."""
    inferred = onnx.shape_inference.infer_shapes(_one_sample(model), data_prop=True).graph
    shapes = {
        item.name: [dim.dim_value for dim in item.type.tensor_type.shape.dim]
        for item in (*inferred.value_info, *inferred.output)
    }
    shapes |= {item.name: list(item.dims) for item in inferred.initializer}
    total = 0
    for node in inferred.node:
        if node.op_type == "Conv":
            total += int(np.prod(shapes[node.output[0]])) * int(np.prod(shapes[node.input[1]][1:]))
        elif node.op_type in ("Gemm", "MatMul"):
            total += int(np.prod(shapes[node.input[1]]))
    return total


def _one_sample(model: ModelProto) -> ModelProto:
    copied = ModelProto()
    copied.CopyFrom(model)
    copied.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 1
    return copied


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
    parser.add_argument("--epochs", type=int, default=15, help="of the dense training")
    parser.add_argument(
        "--samples", type=int, default=45_000, help="training images, before mirrors"
    )
    parser.add_argument("--path", type=int, default=10, help="epochs with a penalty")
    parser.add_argument("--retrain", type=int, default=5, help="epochs after it")
    parser.add_argument("--max-drop", type=float, default=0.01)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/cifar"))
    return parser.parse_args()


if __name__ == "__main__":
    main()
