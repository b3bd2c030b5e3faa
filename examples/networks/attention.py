"""Attention: a transformer encoder of torch's own layers, a ViT and a GPT written out."""

import torch
from torch import Tensor, nn
from torch.nn.functional import linear, scaled_dot_product_attention


class Encoder(nn.Module):
    """Torch's encoder layers on tokens and their places; a class from the mean over time."""

    def __init__(self, width: int, vocabulary: int = 16, steps: int = 12, layers: int = 2) -> None:
        super().__init__()
        self.embedding = nn.Embedding(vocabulary, width)
        self.places = nn.Parameter(0.1 * torch.randn(1, steps, width))
        self.layers = nn.Sequential(
            *[
                nn.TransformerEncoderLayer(width, 4, 4 * width, 0.1, batch_first=True)
                for _ in range(layers)
            ]
        )
        self.classes = nn.Linear(width, 4)

    def forward(self, tokens: Tensor) -> Tensor:
        """(N, steps) token ids to (N, 4)."""
        states = self.layers(self.embedding(tokens) + self.places)
        logits: Tensor = self.classes(states.mean(1))
        return logits


class Block(nn.Module):
    """Normalise first, then attention and two dense layers, each added to what it read."""

    def __init__(self, width: int, heads: int, *, causal: bool) -> None:
        super().__init__()
        self.heads, self.causal = heads, causal
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.queries_keys_values = nn.Linear(width, 3 * width)
        self.project = nn.Linear(width, width)
        self.dense = nn.Sequential(
            nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width)
        )

    def forward(self, x: Tensor) -> Tensor:
        """(N, T, width) to the same."""
        x = x + self.project(self._attend(self.norm1(x)))
        added: Tensor = x + self.dense(self.norm2(x))
        return added

    def _attend(self, x: Tensor) -> Tensor:
        n, steps, width = x.shape
        parted = self.queries_keys_values(x).view(n, steps, 3, self.heads, width // self.heads)
        queries, keys, values = parted.permute(2, 0, 3, 1, 4).unbind(0)  # (N, heads, T, width/h)
        mixed = scaled_dot_product_attention(queries, keys, values, is_causal=self.causal)
        return mixed.transpose(1, 2).reshape(n, steps, width)


class ViT(nn.Module):
    """Patches of 4 x 4 and a class token through two blocks."""

    def __init__(self, width: int, channels: int = 1, side: int = 16) -> None:
        super().__init__()
        self.patches = nn.Conv2d(channels, width, 4, 4)
        self.token = nn.Parameter(0.1 * torch.randn(1, 1, width))
        self.places = nn.Parameter(0.1 * torch.randn(1, 1 + (side // 4) ** 2, width))
        self.blocks = nn.Sequential(*[Block(width, 4, causal=False) for _ in range(2)])
        self.norm = nn.LayerNorm(width)
        self.classes = nn.Linear(width, 10)

    def forward(self, x: Tensor) -> Tensor:
        """(N, channels, side, side) to (N, 10)."""
        patches = self.patches(x).flatten(2).transpose(1, 2)
        tokens = torch.cat([self.token.expand(x.shape[0], -1, -1), patches], 1)
        states = self.norm(self.blocks(tokens + self.places))
        logits: Tensor = self.classes(states[:, 0])
        return logits


class GPT(nn.Module):
    """The next token after each; the embedding is also the last layer's weight."""

    def __init__(self, width: int, vocabulary: int = 16, steps: int = 12) -> None:
        super().__init__()
        self.embedding = nn.Embedding(vocabulary, width)
        nn.init.normal_(self.embedding.weight, std=width**-0.5)
        self.places = nn.Embedding(steps, width)
        self.blocks = nn.Sequential(*[Block(width, 4, causal=True) for _ in range(2)])
        self.norm = nn.LayerNorm(width)

    def forward(self, tokens: Tensor) -> Tensor:
        """(N, T) token ids to (N, T, vocabulary), T at most ``steps``."""
        steps = torch.arange(tokens.shape[1], device=tokens.device)
        states = self.blocks(self.embedding(tokens) + self.places(steps))
        return linear(self.norm(states), self.embedding.weight)
