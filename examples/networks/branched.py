"""Networks whose channels are joined and parted: DenseNet, ShuffleNetV2, U-Net."""

import torch
from torch import Tensor, nn


class DenseLayer(nn.Module):
    """Some new channels, put behind all that there were."""

    def __init__(self, before: int, growth: int) -> None:
        super().__init__()
        self.new = nn.Sequential(
            nn.BatchNorm2d(before),
            nn.ReLU(),
            nn.Conv2d(before, 4 * growth, 1, bias=False),
            nn.BatchNorm2d(4 * growth),
            nn.ReLU(),
            nn.Conv2d(4 * growth, growth, 3, padding=1, bias=False),
        )

    def forward(self, x: Tensor) -> Tensor:
        """(N, before, H, W) to (N, before + growth, H, W)."""
        return torch.cat([x, self.new(x)], 1)


def densenet(width: int, channels: int = 1) -> nn.Module:
    """Two blocks of three layers; ``width`` is the growth of a layer."""
    layers: list[nn.Module] = [nn.Conv2d(channels, 2 * width, 3, padding=1, bias=False)]
    layers += [DenseLayer((2 + layer) * width, width) for layer in range(3)]
    before, after = 5 * width, 5 * width // 2
    transition = nn.Conv2d(before, after, 1, bias=False), nn.AvgPool2d(2)
    layers += [nn.BatchNorm2d(before), nn.ReLU(), *transition]
    layers += [DenseLayer(after + layer * width, width) for layer in range(3)]
    last = after + 3 * width
    layers += [nn.BatchNorm2d(last), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()]
    return nn.Sequential(*layers, nn.Linear(last, 10))


def _pointwise(before: int, after: int) -> list[nn.Module]:
    return [nn.Conv2d(before, after, 1, bias=False), nn.BatchNorm2d(after), nn.ReLU()]


def _depthwise(channels: int, stride: int) -> list[nn.Module]:
    conv = nn.Conv2d(channels, channels, 3, stride, 1, groups=channels, bias=False)
    return [conv, nn.BatchNorm2d(channels)]


class ShuffleUnit(nn.Module):
    """Half of the channels are left alone; then the halves are shuffled like cards.

    With stride 2 both branches read all channels, and their number doubles.
    """

    def __init__(self, channels: int, stride: int) -> None:
        super().__init__()
        self.halves = stride == 1
        inner = channels // 2 if self.halves else channels
        self.right = nn.Sequential(
            *_pointwise(inner, inner), *_depthwise(inner, stride), *_pointwise(inner, inner)
        )
        self.left: nn.Module = nn.Identity()
        if not self.halves:
            self.left = nn.Sequential(*_depthwise(inner, stride), *_pointwise(inner, inner))

    def forward(self, x: Tensor) -> Tensor:
        """(N, channels, H, W) to the same, or to (N, 2 channels, H / 2, W / 2)."""
        left, right = x.chunk(2, 1) if self.halves else (x, x)
        joined = torch.cat([self.left(left), self.right(right)], 1)
        n, channels, height, width = joined.shape
        parted = joined.view(n, 2, channels // 2, height, width)
        return parted.transpose(1, 2).reshape(n, channels, height, width)


def shufflenet(width: int, channels: int = 1) -> nn.Module:
    """ShuffleNetV2 with two stages of two units, for small images."""
    stem = nn.Conv2d(channels, width, 3, padding=1, bias=False), nn.BatchNorm2d(width), nn.ReLU()
    first = ShuffleUnit(width, 2), ShuffleUnit(2 * width, 1)
    second = ShuffleUnit(2 * width, 2), ShuffleUnit(4 * width, 1)
    last = *_pointwise(4 * width, 8 * width), nn.AdaptiveAvgPool2d(1), nn.Flatten()
    return nn.Sequential(*stem, *first, *second, *last, nn.Linear(8 * width, 10))


def _twice(before: int, after: int) -> nn.Module:
    first = nn.Conv2d(before, after, 3, padding=1), nn.BatchNorm2d(after), nn.ReLU()
    second = nn.Conv2d(after, after, 3, padding=1), nn.BatchNorm2d(after), nn.ReLU()
    return nn.Sequential(*first, *second)


class UNet(nn.Module):
    """Down twice and up twice, each way up beside what the way down saw; a class a pixel."""

    def __init__(self, width: int, channels: int = 1, classes: int = 2) -> None:
        super().__init__()
        self.pool = nn.MaxPool2d(2)
        self.down1 = _twice(channels, width)
        self.down2 = _twice(width, 2 * width)
        self.bottom = _twice(2 * width, 4 * width)
        self.raise2 = nn.ConvTranspose2d(4 * width, 2 * width, 2, 2)
        self.up2 = _twice(4 * width, 2 * width)
        self.raise1 = nn.ConvTranspose2d(2 * width, width, 2, 2)
        self.up1 = _twice(2 * width, width)
        self.classes = nn.Conv2d(width, classes, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(N, channels, H, W) to (N, classes, H, W); H and W are multiples of 4."""
        high = self.down1(x)
        middle = self.down2(self.pool(high))
        low = self.bottom(self.pool(middle))
        middle = self.up2(torch.cat([middle, self.raise2(low)], 1))
        high = self.up1(torch.cat([high, self.raise1(middle)], 1))
        logits: Tensor = self.classes(high)
        return logits
