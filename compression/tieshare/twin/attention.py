"""Scaled dot product attention."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812 - torch's own name for it

from tieshare.graph.view import Node
from tieshare.twin.dtypes import torch_dtype
from tieshare.twin.masks import Sight
from tieshare.twin.types import Builder, Operation


def _attention(node: Node) -> Operation:
    """Vaswani et al., "Attention Is All You Need", 2017, eq. 1: softmax(scale Q K' + mask) V.

    Several heads of Q may share one of K and V; what is cached of K and V is put before them.
    """
    heads, kv_heads = node.setting("q_num_heads"), node.setting("kv_num_heads")
    sight, steps = Sight.of(node), _Steps.of(node)
    fused = not steps.cap and len(node.outputs) < 4

    def run(
        q: Tensor,
        k: Tensor,
        v: Tensor,
        given: Tensor | None = None,
        past_key: Tensor | None = None,
        past_value: Tensor | None = None,
        lengths: Tensor | None = None,
    ) -> tuple[Tensor, ...]:
        packed = q.dim() == 3
        if packed:
            q, k, v = _split(q, heads), _split(k, kv_heads), _split(v, kv_heads)
        offset = 0
        if past_key is not None and past_value is not None:
            offset = past_key.shape[2]
            k, v = torch.cat((past_key, k), dim=2), torch.cat((past_value, v), dim=2)
        if fused and steps.precision in (None, q.dtype):
            causal = sight.causal and given is None and lengths is None and offset == 0
            mask = None if causal else sight.mask(q, k, given, offset, lengths)
            grouped = q.shape[1] != k.shape[1]
            y = F.scaled_dot_product_attention(
                q, k, v, mask, is_causal=causal, scale=steps.scale, enable_gqa=grouped
            )
            return _merged(y) if packed else y, k, v
        mask = sight.mask(q, k, given, offset, lengths)
        y, shown = steps.run(q, k, v, mask)
        return _merged(y) if packed else y, k, v, shown

    return run


@dataclass(frozen=True)
class _Steps:
    """Attention one operation after the other, for options that torch's own does not have.

    ``scale``      of the scores; None: 1 / sqrt(size of a head).
    ``cap``        scores become cap tanh(score / cap); 0: they stay.
    ``precision``  of the softmax; None: that of Q.
    ``shown``      which result is an output: the scores, capped, masked, or their softmax.
    """

    scale: float | None
    cap: float
    precision: torch.dtype | None
    shown: int

    @classmethod
    def of(cls, node: Node) -> "_Steps":
        precision = node.setting("softmax_precision")
        return cls(
            scale=node.setting("scale"),
            cap=node.setting("softcap", default=0.0),
            precision=None if precision is None else torch_dtype(precision),
            shown=node.setting("qk_matmul_output_mode", default=0),
        )

    def run(self, q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor]:
        """The output (N, heads, L, D of V) and the result that is shown (N, heads, L, S)."""
        shared = q.shape[1] // k.shape[1]
        if shared > 1:
            k, v = (x.repeat_interleave(shared, dim=1) for x in (k, v))
        root = (q.shape[-1] ** -0.5 if self.scale is None else self.scale) ** 0.5
        scores = (q * root) @ (k * root).mT
        capped = self.cap * torch.tanh(scores / self.cap) if self.cap else scores
        masked, blind = capped, None
        if mask is not None:
            if mask.dtype == torch.bool:
                mask = torch.zeros_like(mask, dtype=q.dtype).where(mask, -torch.inf)
            masked = capped + mask
            # A query that sees no key has no attention at all, instead of none that is a number.
            blind = mask.amax(-1, keepdim=True) == -torch.inf
        seen = masked if blind is None else masked.masked_fill(blind, 0)
        weights = seen.softmax(-1, dtype=self.precision).to(q.dtype)
        weights = weights if blind is None else weights.masked_fill(blind, 0)
        return weights @ v, (scores, capped, masked, weights)[self.shown]


def _split(x: Tensor, heads: int) -> Tensor:
    """(N, L, heads * D) to (N, heads, L, D)."""
    return x.reshape(*x.shape[:2], heads, -1).transpose(1, 2)


def _merged(x: Tensor) -> Tensor:
    """(N, heads, L, D) to (N, L, heads * D)."""
    return x.transpose(1, 2).flatten(2)


BUILDERS: Mapping[str, Builder] = {
    "Attention": _attention,
}
