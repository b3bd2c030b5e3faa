"""Attention as a recurrence over a matrix of fixed size."""

from collections.abc import Mapping

import torch
from torch import Tensor

from tieshare.graph.view import Node
from tieshare.twin.types import Builder, Operation


def _linear_attention(node: Node) -> Operation:
    """Yang et al., "Gated Delta Networks", ICLR 2025, eq. 10, and its parts; a step a token t:

    S = exp(g_t) S                            rules "gated" and "gated_delta"
    v_t = beta_t (v_t - S' k_t)               rules "delta" and "gated_delta"
    S = S + k_t v_t',   o_t = scale S' q_t
    """
    heads, kv_heads = node.attributes["q_num_heads"], node.attributes["kv_num_heads"]
    scale = node.setting("scale", default=0.0)

    def run(
        query: Tensor,
        key: Tensor,
        value: Tensor,
        past: Tensor | None = None,
        decay: Tensor | None = None,
        beta: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """All but ``past`` are (N, L, heads * D); it is (N, heads of values, D, D of values)."""
        dtype = torch.promote_types(query.dtype, torch.float32)
        q, k, v = (
            x.unflatten(-1, (count, -1)).to(dtype)  # (N, L, H, D)
            for x, count in ((query, heads), (key, kv_heads), (value, kv_heads))
        )
        q = q * (scale or q.shape[-1] ** -0.5)
        q = q.unflatten(2, (kv_heads, -1))  # (N, L, H of values, queries that share one, D)
        kept = None if decay is None else decay.unflatten(-1, (kv_heads, -1)).to(dtype).exp()
        rate = None if beta is None else beta.unsqueeze(-1).to(dtype)
        if past is None:
            state = q.new_zeros(q.shape[0], kv_heads, k.shape[-1], v.shape[-1])
        else:
            state = past.to(dtype)
        found = []
        for t in range(query.shape[1]):
            added = v[:, t]
            if kept is not None:
                state = state * kept[:, t, :, :, None]
            if rate is not None:
                seen = (k[:, t, :, None] @ state).squeeze(2)  # (N, H, D of values)
                added = rate[:, t] * (added - seen)
            state = state + k[:, t, :, :, None] * added[:, :, None]
            found.append(q[:, t] @ state)  # (N, H, queries that share it, D of values)
        y = torch.stack(found, dim=1).flatten(2).to(query.dtype)
        return y, state.to(query.dtype if past is None else past.dtype)

    return run


BUILDERS: Mapping[str, Builder] = {
    "LinearAttention": _linear_attention,
}
