"""The two networks of the paper, and their data, as the authors' code has them.

github.com/Dejiao2018/GrOWL, MNIST/networks.py and VGG/vgg_model.py: weights drawn from
N(0, 2 / units), those of a convolution from N(0, 2 / (kernel * units)), biases 0.1, batch norm
with momentum 0.99 (0.01 as torch counts it) and epsilon 1e-3.
"""

import math
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from benchmarks.paper_rows import Rows
from benchmarks.resnet20 import images
from numpy.typing import NDArray
from torch import Tensor, nn

VGG = (64, 64, 0, 128, 128, 0, 256, 256, 256, 0, 512, 512, 512, 0, 512, 512, 512, 0)
"""Channels of a convolution, 0 where the image is halved."""

_UNUSED = 5000  # the authors' reader of MNIST sets the first images aside, and nobody reads them
_SHIFT = 2


@dataclass(frozen=True, eq=False)
class Split:
    """Images ``x`` and classes ``y`` on the device; ``prepared`` makes a batch out of some of x."""

    x: Tensor
    y: Tensor
    prepared: Callable[[Tensor], Tensor]


def mlp() -> nn.Sequential:
    """784-300-10 with ReLU, then batch norm."""
    return nn.Sequential(
        OrderedDict[str, nn.Module](
            fc1=Rows(_drawn(nn.Linear(784, 300))),
            relu=nn.ReLU(),
            norm=nn.BatchNorm1d(300, eps=1e-3, momentum=0.01),
            fc2=_drawn(nn.Linear(300, 10)),
        )
    )


def vgg16() -> nn.Sequential:
    """13 convolutions with batch norm, then ReLU, and two dense layers, for images of 32 x 32."""
    layers = OrderedDict[str, nn.Module]()
    before, number = 3, 0
    for place, width in enumerate(VGG):
        if width == 0:
            layers[f"pool{place}"] = nn.MaxPool2d(2)
            continue
        number += 1
        layers[f"conv{number}"] = Rows(_drawn(nn.Conv2d(before, width, 3, padding=1)))
        layers[f"norm{number}"] = nn.BatchNorm2d(width, eps=1e-3, momentum=0.01)
        layers[f"relu{number}"] = nn.ReLU()
        before = width
    layers["flatten"] = nn.Flatten()
    layers["fc1"] = Rows(_drawn(nn.Linear(before, 512)))
    layers["norm"] = nn.BatchNorm1d(512, eps=1e-3, momentum=0.01)
    layers["fc2"] = Rows(_drawn(nn.Linear(512, 10)))
    return nn.Sequential(layers)


def mnist(path: Path, device: str) -> tuple[Split, Split]:
    """55,000 training images as the authors' reader has them, and the test split."""
    with np.load(path) as stored:
        train = stored["x_train"][_UNUSED:], stored["y_train"][_UNUSED:]
        test = stored["x_test"], stored["y_test"]
    return (
        _split(train[0].reshape(-1, 784) / np.float32(255), train[1], device, _as_they_are),
        _split(test[0].reshape(-1, 784) / np.float32(255), test[1], device, _as_they_are),
    )


def cifar(path: Path, device: str) -> tuple[Split, Split]:
    """All 50,000 training images, shifted, mirrored and standardised; the test split."""
    arrays = images(path, seed=0).arrays
    x, y = (np.concatenate([arrays[name], arrays[f"{name}_val"]]) for name in ("x", "y"))
    return (
        _split(x, y, device, lambda batch: standardised(moved(batch))),
        _split(arrays["x_test"], arrays["y_test"], device, standardised),
    )


def moved(x: Tensor) -> Tensor:
    """Each image (n, 3, s, s) shifted by up to 2 pixels, black beyond its edge, half mirrored."""
    n, _, _, size = x.shape
    padded = nn.functional.pad(x, (_SHIFT,) * 4)
    at = torch.arange(size, device=x.device)
    down, right = torch.randint(2 * _SHIFT + 1, (2, n, 1), device=x.device)
    mirror = torch.rand(n, 1, device=x.device) < 0.5
    rows = at + down  # (n, s)
    columns = torch.where(mirror, at.flip(0), at) + right
    sample = torch.arange(n, device=x.device)[:, None, None]
    return padded[sample, :, rows[:, :, None], columns[:, None, :]].movedim(-1, 1)


def standardised(x: Tensor) -> Tensor:
    """Each image with mean 0 and deviation 1."""
    pixels = x.float().flatten(1)
    deviation, mean = torch.std_mean(pixels, dim=1, correction=0, keepdim=True)
    scaled = (pixels - mean) / deviation.clamp(min=1 / math.sqrt(pixels.shape[1]))
    return scaled.view(x.shape)


def _as_they_are(x: Tensor) -> Tensor:
    return x


def _split(
    x: NDArray[np.generic],
    y: NDArray[np.generic],
    device: str,
    prepared: Callable[[Tensor], Tensor],
) -> Split:
    labels = torch.from_numpy(y.astype(np.int64)).to(device)
    return Split(torch.from_numpy(x).to(device), labels, prepared)


def _drawn(layer: nn.Linear | nn.Conv2d) -> nn.Linear | nn.Conv2d:
    spread = math.sqrt(2 / (layer.weight.shape[0] * layer.weight[0, 0].numel()))
    nn.init.normal_(layer.weight, 0, spread)
    if layer.bias is not None:
        nn.init.constant_(layer.bias, 0.1)
    return layer
