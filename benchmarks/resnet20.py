"""ResNet-20 and CIFAR-10: the network and its data."""

import io
from pathlib import Path

import numpy as np
import torch.nn.functional as F  # noqa: N812
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn

from tieshare.data import Dataset

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
