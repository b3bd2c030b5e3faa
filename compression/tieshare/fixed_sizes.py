"""Weights in front of a batch norm keep their size while a penalty shrinks their rows."""

import torch

from tieshare.twin import Twin


class FixedSizes:
    """The norms of a twin's scale-free weights, as they are at first.

    The norm behind such a weight W hides that W shrinks, so that no gradient holds it, and as
    gradients are orthogonal to W and grow as 1 / ||W||, a step turns it by rate / ||W||^2 (van
    Laarhoven, arXiv 1706.05350, section 2): all rows would shrink alike until training diverges.
    At a fixed size, rows that are needed grow at the expense of the others.
    """

    def __init__(self, twin: Twin) -> None:
        weights = [twin.parameter(name).detach() for name in twin.scale_free]
        self._kept = [(weight, torch.linalg.vector_norm(weight)) for weight in weights]

    def __bool__(self) -> bool:
        """Whether there are any."""
        return bool(self._kept)

    @torch.no_grad()
    def restore(self) -> None:
        """Scale each weight to its size; one that is zero stays so."""
        for weight, size in self._kept:
            now = torch.linalg.vector_norm(weight)
            if now > 0:
                weight.mul_(size / now)
