"""Weights in front of a batch norm keep their size while a penalty shrinks their rows."""

from dataclasses import dataclass

import torch
from torch import Tensor

from tieshare.twin import Twin


@dataclass(frozen=True, eq=False)
class _Kept:
    """A weight, the ``size`` that it keeps, and what goes with it."""

    weight: Tensor
    size: Tensor
    bias: Tensor | None
    mean: Tensor
    variance: Tensor


class FixedSizes:
    """The norms of a twin's scale-free weights, as they are at first.

    Nothing in the loss tells how long such a weight W is. Gradients are orthogonal to W and as
    long as 1 / ||W||, so that a step makes it longer and turns it by rate / ||W||^2 (van Laarhoven,
    arXiv 1706.05350, section 2). Under a penalty all its rows would shrink alike, and it would turn
    ever faster until training diverges. At a fixed size, what the penalty takes from a row that is
    not needed goes to the others.
    """

    def __init__(self, twin: Twin) -> None:
        self._kept = [
            _Kept(
                weight := twin.parameter(found.weight).detach(),
                torch.linalg.vector_norm(weight),
                None if found.bias is None else twin.parameter(found.bias).detach(),
                twin.statistic(found.mean),
                twin.statistic(found.variance),
            )
            for found in twin.scale_free
        ]

    def __bool__(self) -> bool:
        """Whether there are any."""
        return bool(self._kept)

    @torch.no_grad()
    def settle(self) -> None:
        """Before a proximal step: back to their sizes, the network computing what it did."""
        for kept in self._kept:
            c = _scale(kept)
            kept.weight.mul_(c)
            if kept.bias is not None:
                kept.bias.mul_(c)
            kept.mean.mul_(c)
            kept.variance.mul_(c**2)

    @torch.no_grad()
    def restore(self) -> None:
        """After a proximal step: back to their sizes, at which the statistics were taken."""
        for kept in self._kept:
            kept.weight.mul_(_scale(kept))


def _scale(kept: _Kept) -> Tensor:
    """Of a weight that is zero, 1."""
    now = torch.linalg.vector_norm(kept.weight)
    return torch.where(now > 0, kept.size / now, 1.0)
