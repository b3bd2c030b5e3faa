"""A layer that computes with what is left of its rows."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.optim import Optimizer

from tieshare.penalties import Matrix

Labels = NDArray[np.int64]


class Rows(nn.Module):
    """A dense layer or a convolution some of whose rows may be dead, or tied.

    With P (n, k) the orthonormal basis of the clusters, 1 / sqrt(size) where row i is in cluster j,
    the layer holds U = W P and reads x P: inputs of dead rows are dropped, and those of a cluster
    summed, before the product. A gradient step on U is the step on W with its gradient averaged
    over each cluster, and ||U|| = ||W||, so that weight decay is the same too.

    ``labels`` (n,): the cluster of each row, -1 where it is dead.
    """

    _alive: Tensor  # (a,) rows
    _cluster: Tensor  # (a,) of each
    _scale: Tensor  # (k,) 1 / sqrt(size)

    def __init__(self, layer: nn.Linear | nn.Conv2d) -> None:
        super().__init__()
        self.layer = layer
        self._restrict(np.arange(layer.weight.shape[1]))

    @property
    def alive(self) -> int:
        """Rows that are not dead."""
        return len(self._alive)

    @property
    def clusters(self) -> int:
        """Rows that are stored."""
        return len(self._scale)

    def forward(self, x: Tensor) -> Tensor:
        """The layer's answer to x (b, n, ...), or to what `projected` makes of it."""
        read = self.projected(x) if x.shape[1] == len(self.labels) else x
        answer: Tensor = self.layer(read)
        return answer

    def projected(self, x: Tensor) -> Tensor:
        """x P, (b, n, ...) -> (b, k, ...)."""
        if self.clusters == len(self.labels):
            return x
        kept = x.index_select(1, self._alive)
        if self.clusters == self.alive:
            return kept
        sums = kept.new_zeros(len(x), self.clusters, *x.shape[2:])
        return sums.index_add_(1, self._cluster, kept) * _beside(self._scale, x)

    def matrix(self) -> Matrix:
        """W (n, m): the rows of a cluster are equal bit for bit, dead ones zero."""
        W = self._spread(self.layer.weight.detach()).movedim(1, 0).flatten(1)
        matrix: Matrix = W.cpu().numpy()
        return matrix

    def put(self, W: Matrix, labels: Labels, optimizer: Optimizer | None = None) -> None:
        """Take over W (n, m), whose rows are as ``labels`` (n,) say.

        The layer gets a new parameter, which takes the old one's place in the optimizer, with what
        is left of its momentum.
        """
        old = self.layer.weight
        state = {} if optimizer is None else optimizer.state.pop(old, {})
        momentum = self._spread(state["momentum_buffer"]) if "momentum_buffer" in state else None
        rows = torch.from_numpy(W).to(old.device)
        full = rows.view(len(W), len(old), *old.shape[2:]).movedim(1, 0)
        self._restrict(labels)
        self.layer.weight = nn.Parameter(self.projected(full).contiguous())
        if optimizer is not None:
            for group in optimizer.param_groups:
                group["params"] = [self.layer.weight if p is old else p for p in group["params"]]
        if optimizer is not None and momentum is not None:
            optimizer.state[self.layer.weight] = {"momentum_buffer": self.projected(momentum)}

    def _restrict(self, labels: Labels) -> None:
        self.labels = labels
        alive = np.flatnonzero(labels >= 0)
        sizes = np.bincount(labels[alive])
        for name, value in (
            ("_alive", torch.from_numpy(alive)),
            ("_cluster", torch.from_numpy(labels[alive])),
            ("_scale", torch.from_numpy(sizes**-0.5).float()),
        ):
            self.register_buffer(name, value.to(self.layer.weight.device), persistent=False)

    def _spread(self, U: Tensor) -> Tensor:
        """U P', (b, k, ...) -> (b, n, ...)."""
        rows = (U * _beside(self._scale, U)).index_select(1, self._cluster)
        full = U.new_zeros(len(U), len(self.labels), *U.shape[2:])
        return full.index_copy_(1, self._alive, rows)


def _beside(scale: Tensor, x: Tensor) -> Tensor:
    """(k,) in the shape that multiplies x (b, k, ...)."""
    return scale.view(-1, *[1] * (x.dim() - 2))
