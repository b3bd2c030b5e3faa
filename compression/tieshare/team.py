"""Data-parallel training: members in processes of their own, each with a part of every batch.

All do the same steps. The gradient of a batch is the sum of what its parts make of it, as each
part's mean loss is weighted by its share of the samples; batch norm sees a part's statistics. After
each epoch all go on from the first one's state, so that processors that round differently do not
drift apart.
"""

from collections.abc import Iterable
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from numpy.typing import NDArray
from torch import Tensor


class TeamLost(ConnectionError):
    """Another member does not answer any more."""


class Alone:
    """A team of one."""

    rank = 0
    size = 1

    def part(self, index: Tensor) -> Tensor:
        """This member's part of a batch's indices."""
        return index

    def slice(self, samples: int) -> slice:
        """This member's part of so many samples."""
        return slice(samples)

    def add(self, parameters: Iterable[Tensor], share: float) -> None:
        """The gradients become the sum over all members, each weighted by its share."""

    def gather(self, scores: NDArray[np.float64]) -> NDArray[np.float64]:
        """The parts of all members, one after the other."""
        return scores

    def same(self, state: Any) -> Any:
        """The first member's."""
        return state


ALONE = Alone()


class Team(Alone):
    """Member ``rank`` of ``size`` in torch's default process group.

    Every method is called by all members, in the same order. TeamLost: one of them is gone.
    """

    def __init__(self) -> None:
        self.rank, self.size = dist.get_rank(), dist.get_world_size()

    def part(self, index: Tensor) -> Tensor:
        """As ``Alone``'s."""
        return index.tensor_split(self.size)[self.rank]

    def slice(self, samples: int) -> slice:
        """As ``Alone``'s."""
        first, last = (samples * place // self.size for place in (self.rank, self.rank + 1))
        return slice(first, last)

    def add(self, parameters: Iterable[Tensor], share: float) -> None:
        """As ``Alone``'s."""
        gradients = [p.grad for p in parameters if p.grad is not None]
        together = torch.cat([gradient.reshape(-1) for gradient in gradients]) * share
        self._all(dist.all_reduce, together)
        sums = together.split([gradient.numel() for gradient in gradients])
        for gradient, summed in zip(gradients, sums, strict=True):
            gradient.copy_(summed.view_as(gradient))

    def gather(self, scores: NDArray[np.float64]) -> NDArray[np.float64]:
        """As ``Alone``'s."""
        parts: list[Any] = [None] * self.size
        self._all(dist.all_gather_object, parts, scores)
        return np.concatenate(parts)

    def same(self, state: Any) -> Any:
        """As ``Alone``'s."""
        held = [state]
        self._all(dist.broadcast_object_list, held, src=0)
        return held[0]

    def _all(self, collective: Any, *given: Any, **options: Any) -> None:
        try:
            collective(*given, **options)
        except RuntimeError as error:
            raise TeamLost(f"member {self.rank} of {self.size} is left alone: {error}") from error
