"""Positions as rotations."""

from collections.abc import Mapping

import torch
from torch import Tensor

from tieshare.graph.view import Node
from tieshare.twin.types import Builder, Operation


def _rotary_embedding(node: Node) -> Operation:
    """Su et al., "RoFormer", 2021, eq. 34: pairs of entries of a head turn by the position's angle.

    A pair is entry i of the first and of the second half, or two neighbours where interleaved.
    """
    heads = node.setting("num_heads", default=0)
    turned = node.setting("rotary_embedding_dim", default=0)
    interleaved = node.setting("interleaved", default=0) == 1

    def run(x: Tensor, cos: Tensor, sin: Tensor, positions: Tensor | None = None) -> Tensor:
        """x is (N, L, heads * D) or (N, heads, L, D); cos and sin are (N, L, turned / 2), or
        (positions, turned / 2) tables where positions (N, L) are given."""
        if positions is not None:
            cos, sin = cos[positions], sin[positions]
        split = x.unflatten(-1, (heads, -1)) if x.dim() == 3 else x
        cos, sin = (table.unsqueeze(2 if x.dim() == 3 else 1) for table in (cos, sin))
        part = split[..., :turned] if turned else split
        if interleaved:
            first, second = part[..., 0::2], part[..., 1::2]
        else:
            first, second = part.chunk(2, dim=-1)
        pair = cos * first - sin * second, sin * first + cos * second
        y = torch.stack(pair, dim=-1).flatten(-2) if interleaved else torch.cat(pair, dim=-1)
        if turned:
            y = torch.cat((y, split[..., turned:]), dim=-1)
        return y.reshape(x.shape)

    return run


BUILDERS: Mapping[str, Builder] = {
    "RotaryEmbedding": _rotary_embedding,
}
