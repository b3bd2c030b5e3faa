"""Networks that add what they read to what they compute: ResNet and MobileNetV2."""

from torch import Tensor, nn


class BasicBlock(nn.Module):
    """Two convolutions and a shortcut, which is projected where the shape changes."""

    def __init__(self, before: int, after: int, stride: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(before, after, 3, stride, 1, bias=False),
            nn.BatchNorm2d(after),
            nn.ReLU(),
            nn.Conv2d(after, after, 3, 1, 1, bias=False),
            nn.BatchNorm2d(after),
        )
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or before != after:
            project = nn.Conv2d(before, after, 1, stride, bias=False)
            self.shortcut = nn.Sequential(project, nn.BatchNorm2d(after))
        self.relu = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        """(N, before, H, W) to (N, after, H / stride, W / stride)."""
        added: Tensor = self.relu(self.body(x) + self.shortcut(x))
        return added


def resnet18(width: int, channels: int = 1) -> nn.Module:
    """For small images: a first convolution of 3 x 3 without pooling; published widths at 64."""
    stem = nn.Conv2d(channels, width, 3, 1, 1, bias=False), nn.BatchNorm2d(width), nn.ReLU()
    blocks: list[nn.Module] = []
    before = width
    for stage in range(4):
        after = width << stage
        blocks += [BasicBlock(before, after, 1 if stage == 0 else 2), BasicBlock(after, after, 1)]
        before = after
    return nn.Sequential(
        *stem, *blocks, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(before, 10)
    )


class InvertedResidual(nn.Module):
    """1 x 1 to more channels, depthwise 3 x 3, 1 x 1 back to few; added where the shape stays."""

    def __init__(self, before: int, after: int, stride: int, expand: int = 4) -> None:
        super().__init__()
        inner = expand * before
        self.body = nn.Sequential(
            nn.Conv2d(before, inner, 1, bias=False),
            nn.BatchNorm2d(inner),
            nn.ReLU6(),
            nn.Conv2d(inner, inner, 3, stride, 1, groups=inner, bias=False),
            nn.BatchNorm2d(inner),
            nn.ReLU6(),
            nn.Conv2d(inner, after, 1, bias=False),
            nn.BatchNorm2d(after),
        )
        self.adds = stride == 1 and before == after

    def forward(self, x: Tensor) -> Tensor:
        """(N, before, H, W) to (N, after, H / stride, W / stride)."""
        projected: Tensor = self.body(x)
        return projected + x if self.adds else projected


def mobilenet(width: int, channels: int = 1) -> nn.Module:
    """MobileNetV2 with five blocks, for small images."""
    blocks = (
        InvertedResidual(width, width, 1),
        InvertedResidual(width, 2 * width, 2),
        InvertedResidual(2 * width, 2 * width, 1),
        InvertedResidual(2 * width, 3 * width, 2),
        InvertedResidual(3 * width, 3 * width, 1),
    )
    stem = nn.Conv2d(channels, width, 3, 1, 1, bias=False), nn.BatchNorm2d(width), nn.ReLU6()
    last = nn.Conv2d(3 * width, 8 * width, 1, bias=False), nn.BatchNorm2d(8 * width), nn.ReLU6()
    classes = nn.Flatten(), nn.Dropout(0.2), nn.Linear(8 * width, 10)
    return nn.Sequential(*stem, *blocks, *last, nn.AdaptiveAvgPool2d(1), *classes)
