"""Convolutions in a chain."""

from torch import nn

# Widths of VGG-16's convolutions in units of its first; 0 is a pooling layer.
_VGG16 = (1, 1, 0, 2, 2, 0, 4, 4, 4, 0, 8, 8, 8, 0, 8, 8, 8, 0)


def lenet5(width: int) -> nn.Module:
    """For images of 28 x 28; 20-50-500 at width 20."""
    channels, hidden = width * 5 // 2, 25 * width
    features = nn.Conv2d(1, width, 5), nn.MaxPool2d(2), nn.Conv2d(width, channels, 5)
    classes = nn.Linear(16 * channels, hidden), nn.ReLU(), nn.Linear(hidden, 10)
    return nn.Sequential(*features, nn.MaxPool2d(2), nn.Flatten(), *classes)


def vgg16(width: int, channels: int = 1) -> nn.Module:
    """With batch norm, for images of 32 x 32; the published widths at 64."""
    layers: list[nn.Module] = []
    before = channels
    for factor in _VGG16:
        if factor == 0:
            layers.append(nn.MaxPool2d(2))
            continue
        after = factor * width
        conv = nn.Conv2d(before, after, 3, padding=1, bias=False)
        layers += [conv, nn.BatchNorm2d(after), nn.ReLU()]
        before = after
    hidden = nn.Linear(before, before), nn.ReLU(), nn.Dropout(0.5)
    return nn.Sequential(*layers, nn.Flatten(), *hidden, nn.Linear(before, 10))
