"""The two stages of the method as the authors' code runs them on a network of `Rows`."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from benchmarks.paper_networks import Split
from benchmarks.paper_rows import Rows
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from tieshare.cluster import cluster_rows, tie
from tieshare.penalties import Matrix, Penalty

BATCH = 128
FEWEST_ROWS = 4  # with fewer alive the authors' code calls a layer zero, and throws the run away
ROUNDING = float(np.finfo(np.float32).eps)  # the norm up to which their masks call a row zero

Tell = Callable[[int, float], None]


class LayerDied(Exception):
    """Hardly a row of a layer is left."""


@dataclass(frozen=True)
class Schedule:
    """SGD with momentum 0.9, whose rate is multiplied by ``decay`` every ``every`` epochs."""

    epochs: int
    rate: float
    decay: float
    every: int

    def at(self, epoch: int) -> float:
        """The rate of an epoch, from 0 on."""
        return self.rate * self.decay ** (epoch // self.every)


def descend(
    net: nn.Sequential,
    data: Split,
    schedule: Schedule,
    *,
    l2: float,
    penalties: Mapping[str, Penalty],
    tell: Tell,
) -> None:
    """Train; after each epoch one proximal step, of the rate's size, on each layer named.

    ``l2``: l2/2 times the squares of all weights and biases, those of batch norm apart, is part of
    the loss. ``tell`` gets each epoch and the loss of its last batch. LayerDied.
    """
    optimizer = torch.optim.SGD(_groups(net, l2), schedule.rate, 0.9, fused=True)
    regularised = [(rows_of(net)[name], penalty) for name, penalty in penalties.items()]
    batch = min(BATCH, len(data.y))
    net.train()
    read = _read(net, data.x)
    for epoch in range(schedule.epochs):
        rate = schedule.at(epoch)
        for group in optimizer.param_groups:
            group["lr"] = rate
        order = torch.randperm(len(data.y), device=data.y.device)
        for index in order[: len(order) // batch * batch].split(batch):
            loss = F.cross_entropy(net(data.prepared(read[index])), data.y[index])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        before = [rows.alive for rows, _ in regularised]
        for rows, penalty in regularised:
            _step(rows, penalty, rate, optimizer)
        if before != [rows.alive for rows, _ in regularised]:
            read = _read(net, data.x)
        tell(epoch, float(loss.detach()))


def tie_rows(net: nn.Sequential, names: tuple[str, ...], preference: float, untied: float) -> None:
    """Cluster the alive rows of each layer named; each cluster becomes one row, the mean.

    ``untied``: with more clusters than this part of its alive rows, a layer is left alone.
    """
    for name in names:
        rows = rows_of(net)[name]
        W = rows.matrix()
        W[_norms(W) <= ROUNDING] = 0
        labels = cluster_rows(W, preference, untied_above=untied).labels
        rows.put(tie(W, labels), labels)


def accuracy(net: nn.Sequential, data: Split) -> float:
    """The part of the samples that the network gets right."""
    net.eval()
    right = 0
    with torch.no_grad():
        for x, y in zip(data.x.split(1000), data.y.split(1000), strict=True):
            right += int((net(data.prepared(x)).argmax(1) == y).sum())
    return right / len(data.y)


def rows_of(net: nn.Sequential) -> dict[str, Rows]:
    """The layers whose rows may die, by name."""
    return {name: layer for name, layer in net.named_children() if isinstance(layer, Rows)}


def _step(rows: Rows, penalty: Penalty, rate: float, optimizer: torch.optim.Optimizer) -> None:
    W = penalty.prox(rows.matrix(), rate)
    alive = (rows.labels >= 0) & (_norms(W) > ROUNDING)
    left = int(np.count_nonzero(alive))
    if left < FEWEST_ROWS:
        raise LayerDied(f"{left} of a layer's {len(W)} rows are left")
    rows.put(W, np.where(alive, np.cumsum(alive) - 1, -1), optimizer)


def _read(net: nn.Sequential, x: Tensor) -> Tensor:
    """What of x the first layer computes with, where it is known for all samples at once."""
    first = net[0]
    return first.projected(x) if isinstance(first, Rows) and x.dim() == 2 else x


def _groups(net: nn.Module, l2: float) -> list[dict[str, object]]:
    norms = [
        module for module in net.modules() if isinstance(module, nn.modules.batchnorm._BatchNorm)
    ]
    apart = {id(value) for norm in norms for value in norm.parameters()}
    decayed = [value for value in net.parameters() if id(value) not in apart]
    others = [value for value in net.parameters() if id(value) in apart]
    return [{"params": decayed, "weight_decay": l2}, {"params": others}]


def _norms(W: Matrix) -> Matrix:
    norms: Matrix = np.linalg.norm(W, axis=1)
    return norms
