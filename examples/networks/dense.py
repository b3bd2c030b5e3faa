"""Dense layers alone: classifiers, an autoencoder, several inputs, several outputs."""

import torch
from torch import Tensor, nn


def mlp(width: int, inputs: int = 784) -> nn.Module:
    """One hidden layer; 784-300-10 at width 300."""
    return nn.Sequential(nn.Flatten(), nn.Linear(inputs, width), nn.ReLU(), nn.Linear(width, 10))


class Autoencoder(nn.Module):
    """An image through a narrow waist and back."""

    def __init__(self, width: int, side: int = 8) -> None:
        super().__init__()
        pixels = side * side
        self.encoder = nn.Sequential(
            nn.Flatten(), nn.Linear(pixels, 4 * width), nn.ReLU(), nn.Linear(4 * width, width)
        )
        self.decoder = nn.Sequential(
            nn.ReLU(), nn.Linear(width, 4 * width), nn.ReLU(), nn.Linear(4 * width, pixels)
        )
        self.image = nn.Unflatten(1, (1, side, side))

    def forward(self, x: Tensor) -> Tensor:
        """(N, 1, side, side) to the same."""
        restored: Tensor = self.image(self.decoder(self.encoder(x)))
        return restored


class TwoInputs(nn.Module):
    """The upper half of an image through a convolution, the lower one as plain numbers."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.seen = nn.Sequential(
            nn.Conv2d(1, width, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten()
        )
        self.read = nn.Sequential(nn.Linear(32, 4 * width), nn.ReLU())
        self.classes = nn.Sequential(
            nn.Linear(8 * width + 4 * width, 4 * width), nn.ReLU(), nn.Linear(4 * width, 10)
        )

    def forward(self, upper: Tensor, lower: Tensor) -> Tensor:
        """(N, 1, 4, 8) and (N, 32) to (N, 10)."""
        logits: Tensor = self.classes(torch.cat([self.seen(upper), self.read(lower)], 1))
        return logits


class TwoOutputs(nn.Module):
    """One trunk, two questions about an image: its class, and how much ink it has."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.trunk = nn.Sequential(
            nn.Flatten(),
            nn.Linear(64, 4 * width),
            nn.ReLU(),
            nn.Linear(4 * width, 2 * width),
            nn.ReLU(),
        )
        self.digit = nn.Linear(2 * width, 10)
        self.ink = nn.Linear(2 * width, 1)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """(N, 1, 8, 8) to (N, 10) and (N, 1)."""
        trunk = self.trunk(x)
        return self.digit(trunk), self.ink(trunk)
