"""Recurrent classifiers of token sequences."""

from typing import Literal

from torch import Tensor, nn

Cell = Literal["LSTM", "GRU"]


class Recurrent(nn.Module):
    """Embedding, LSTM or GRU in one or two directions, and a class from the mean over time."""

    def __init__(self, width: int, cell: Cell, vocabulary: int = 16, *, both: bool = False) -> None:
        super().__init__()
        self.embedding = nn.Embedding(vocabulary, width)
        kind = nn.LSTM if cell == "LSTM" else nn.GRU
        self.cells = kind(width, 2 * width, batch_first=True, bidirectional=both)
        self.classes = nn.Linear(4 * width if both else 2 * width, 4)

    def forward(self, tokens: Tensor) -> Tensor:
        """(N, T) token ids to (N, 4)."""
        states, _ = self.cells(self.embedding(tokens))
        logits: Tensor = self.classes(states.mean(1))
        return logits
