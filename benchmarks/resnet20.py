"""ResNet-20 and CIFAR-10: the network, its data, its training and its export."""

import io
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
import torch.nn.functional as F  # noqa: N812
from numpy.typing import NDArray
from onnx import ModelProto
from PIL import Image
from torch import Tensor, nn

from tieshare.data import Dataset

BATCH = 128
HELD_OUT = 5000


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


def images(path: Path, seed: int) -> Dataset:
    """uint8 (n, 3, 32, 32): 45,000 training images, 5,000 held out and never trained on, test."""
    with np.load(path) as stored:
        train, y_train = _decode(stored["jpeg_train"], stored["end_train"]), stored["y_train"]
        test, y_test = _decode(stored["jpeg_test"], stored["end_test"]), stored["y_test"]
    order = np.random.default_rng(seed).permutation(len(train))
    held_out, rest = order[:HELD_OUT], order[HELD_OUT:]
    return Dataset(
        {
            "x": train[rest],
            "y": y_train[rest],
            "x_val": train[held_out],
            "y_val": y_train[held_out],
            "x_test": test,
            "y_test": y_test,
        }
    )


def first(data: Dataset, samples: int) -> Dataset:
    """The same with so many training images."""
    return Dataset({**data.arrays, **{name: data.arrays[name][:samples] for name in ("x", "y")}})


def _decode(jpeg: NDArray[np.uint8], ends: NDArray[np.int64]) -> NDArray[np.uint8]:
    raw = jpeg.tobytes()
    starts = np.concatenate([[0], ends[:-1]])
    pictures = [
        np.asarray(Image.open(io.BytesIO(raw[start:end])))
        for start, end in zip(starts, ends, strict=True)
    ]
    return np.stack(pictures).transpose(0, 3, 1, 2)


def descend(
    net: nn.Module,
    data: Dataset,
    epochs: int,
    rate: float,
    *,
    augment: bool = False,
    penalty: Any = None,
) -> None:
    """SGD along one cycle; ``augment``: images are mirrored and shifted by up to 4 pixels.

    ``penalty``: adds its gradient where it has ``regularize(net)``, as Torch-Pruning's pruners do.
    """
    net.train()
    x, y = (torch.from_numpy(data.arrays[name]) for name in ("x", "y"))
    optimizer = torch.optim.SGD(net.parameters(), rate, 0.9, weight_decay=5e-4, nesterov=True)
    steps = len(x) // BATCH
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, rate, total_steps=steps * epochs)
    for _ in range(epochs):
        for index in torch.randperm(len(x))[: steps * BATCH].split(BATCH):
            batch = x[index].float() / 255
            loss = F.cross_entropy(net(_moved(batch) if augment else batch), y[index].long())
            optimizer.zero_grad()
            loss.backward()
            if penalty is not None:
                penalty.regularize(net)
            optimizer.step()
            schedule.step()
    net.eval()


def _moved(x: Tensor) -> Tensor:
    """Each image mirrored or not, and all of a batch shifted alike."""
    mirrored = torch.where(torch.rand(len(x), 1, 1, 1) < 0.5, x.flip(-1), x)
    padded = F.pad(mirrored, (4, 4, 4, 4))
    down, right = torch.randint(9, (2,)).tolist()
    return padded[..., down : down + 32, right : right + 32]


def export(net: nn.Module, *, fold: bool) -> ModelProto:
    """Where batch normalisation is not folded, it stays a node and training goes on with it."""
    net.eval()
    program = torch.onnx.export(
        net,
        (torch.zeros(2, 3, 32, 32),),
        input_names=["x"],
        dynamic_shapes=({0: torch.export.Dim("batch")},),
        verbose=False,
        optimize=fold,
    )
    if program is None:
        raise RuntimeError("the exporter gave nothing back")
    return onnx.load_model_from_string(program.model_proto.SerializeToString())
