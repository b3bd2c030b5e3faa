"""Which keys the queries of an attention see."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812 - torch's own name for it

from tieshare.graph.view import Node


@dataclass(frozen=True)
class Sight:
    """``left`` keys before a query's own place and ``right`` behind it; infinity for all.

    ``pads``  whether a mask may be shorter than the keys; those behind it are not seen then.
    """

    left: float
    right: float
    pads: bool

    @classmethod
    def of(cls, node: Node) -> "Sight":
        """As an Attention node says."""
        sides = [node.setting(f"{side}_window_size", default=-1) for side in ("left", "right")]
        left, right = (math.inf if size < 0 else size for size in sides)
        causal = node.setting("is_causal", default=0) == 1
        return cls(left, 0 if causal else right, pads=node.opset >= 24)

    @property
    def causal(self) -> bool:
        """Whether a query sees itself and all before it."""
        return self.right == 0 and self.left == math.inf

    @property
    def full(self) -> bool:
        """Whether a query sees all."""
        return self.right == self.left == math.inf

    def mask(
        self, q: Tensor, k: Tensor, given: Tensor | None, offset: int, lengths: Tensor | None
    ) -> Tensor | None:
        """Truth values, or numbers to be added: they broadcast to (N, heads, L, S).

        q is (N, heads, L, D), k (N, heads, S, D). The first query stands at key ``offset``, or
        with ``lengths`` (N,), keys a sample has, the last query stands at the last key.
        """
        queries, keys = q.shape[2], k.shape[2]
        seen = None
        if not self.full:
            own = torch.arange(queries, device=q.device)[:, None] + offset  # (L, 1)
            if lengths is not None:
                own = own + (lengths - queries)[:, None, None, None]  # (N, 1, L, 1)
            distance = torch.arange(keys, device=q.device) - own
            seen = (distance >= -self.left) & (distance <= self.right)
        if lengths is not None:
            real = torch.arange(keys, device=q.device) < lengths[:, None, None, None]
            seen = real if seen is None else seen & real
        if given is None:
            return seen if seen is None else _of_rank_4(seen)
        lacking = keys - given.shape[-1] if self.pads else 0
        if given.dtype == torch.bool:
            given = F.pad(given, (0, lacking), value=False)
            return _of_rank_4(given if seen is None else given & seen)
        given = F.pad(given.to(q.dtype), (0, lacking), value=-torch.inf)
        return _of_rank_4(given if seen is None else given.where(seen, -torch.inf))


def _of_rank_4(mask: Tensor) -> Tensor:
    return mask[(None,) * (4 - mask.dim())]
