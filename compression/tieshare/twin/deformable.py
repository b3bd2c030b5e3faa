"""Convolutions whose windows see places that are computed."""

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812 - torch's own name for it

from tieshare.graph.view import Node
from tieshare.twin.types import Builder, Operation
from tieshare.twin.windows import Window, pad, windows_of


def _deform_conv(node: Node) -> Operation:
    """Dai et al., "Deformable Convolutional Networks", ICCV 2017, eq. 2 and 3; with a mask
    Zhu et al., "Deformable ConvNets v2", CVPR 2019, eq. 1.

    ``parts``: of the channels, each of which has offsets and a mask of its own.
    """
    slides = windows_of(node)
    groups = node.setting("group", default=1)
    parts = node.setting("offset_group", default=1)

    def run(
        x: Tensor,
        weight: Tensor,
        offset: Tensor,
        bias: Tensor | None = None,
        mask: Tensor | None = None,
    ) -> Tensor:
        slide = slides(weight.shape[2:])
        out, entries, windows = offset.shape[2:], math.prod(slide.size), offset[0, 0].numel()
        moved = offset.reshape(-1, parts, entries, len(out), *out)
        places = [
            (starts + moved[:, :, :, axis]).reshape(-1, entries, windows)
            for axis, starts in enumerate(_places(slide, out, x))
        ]  # an axis each: (N * parts, K, P)
        split = x.reshape(-1, x.shape[1] // parts, *x.shape[2:])
        seen = _interpolated(split, places)  # (N * parts, C / parts, K, P)
        if mask is not None:
            seen = seen * mask.reshape(-1, 1, entries, windows)
        columns = seen.reshape(x.shape[0], groups, -1, windows)  # (N, g, C / g * K, P)
        kernels = weight.reshape(groups, weight.shape[0] // groups, -1)  # (g, M / g, C / g * K)
        y = (kernels @ columns).reshape(x.shape[0], -1, *out)
        return y if bias is None else y + bias.reshape(-1, *(1 for _ in out))

    return run


def _places(slide: Window, out: Sequence[int], like: Tensor) -> list[Tensor]:
    """Where the windows see their entries before these are moved: an axis each, (K, *out)."""
    found = []
    for axis, count in enumerate(out):
        starts = torch.arange(count, dtype=like.dtype, device=like.device) * slide.stride[axis]
        inner = torch.arange(slide.size[axis], dtype=like.dtype, device=like.device)
        along = inner[:, None] * slide.dilation[axis] + starts - slide.before[axis]  # (k, o)
        shape = [1] * (2 * len(out))
        shape[axis], shape[len(out) + axis] = along.shape
        found.append(along.reshape(shape).expand(*slide.size, *out).reshape(-1, *out))
    return found


def _interpolated(x: Tensor, places: Sequence[Tensor]) -> Tensor:
    """Linear between the entries of x (B, C, ...), zeros around it, at B x K x P places.

    torch counts from -1 at the outer edge of the first entry to 1 at that of the last. Zeros fill
    each axis up to a power of 2, for which no place is rounded on the way there and back.
    """
    if len(places) == 1:
        x, places = x.unsqueeze(2), [torch.zeros_like(places[0]), *places]
    lengths = [1 << (n - 1).bit_length() for n in x.shape[2:]]
    none = [0] * len(lengths)
    x = pad(x, none, [n - m for n, m in zip(lengths, x.shape[2:], strict=True)])
    scaled = [(2 * place + 1) / n - 1 for place, n in zip(places, lengths, strict=True)]
    grid = torch.stack(scaled[::-1], dim=-1)  # (B, K, P, axes)
    if len(places) == 3:
        return F.grid_sample(x, grid.unsqueeze(3), align_corners=False).squeeze(4)
    return F.grid_sample(x, grid, align_corners=False)


BUILDERS: Mapping[str, Builder] = {
    "DeformConv": _deform_conv,
}
