"""Sampling of images at computed places."""

import itertools
from collections.abc import Mapping, Sequence
from functools import reduce

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812 - torch's own name for it

from tieshare.graph.view import Node
from tieshare.twin.types import Builder, Operation, option

_MODES = {"linear": "bilinear", "cubic": "bicubic"}


def _affine_grid(node: Node) -> Operation:
    size, align = option(node, "size", 1), node.setting("align_corners", default=0) == 1
    return lambda *inputs: F.affine_grid(inputs[0], size.of(inputs), align_corners=align)


def _grid_sample(node: Node) -> Operation:
    given = node.setting("mode", default="linear")
    mode = _MODES.get(given, given)
    padding = node.setting("padding_mode", default="zeros")
    align = node.setting("align_corners", default=0) == 1

    def run(x: Tensor, grid: Tensor) -> Tensor:
        if x.dim() == 4 or (x.dim() == 5 and mode != "bicubic"):
            return F.grid_sample(x, grid, mode, padding, align)
        return _sampled(x, grid, mode, padding, align)

    return run


def _sampled(x: Tensor, grid: Tensor, mode: str, padding: str, align: bool) -> Tensor:
    """Any number of spatial axes: the sum over the neighbours of a place, axis by axis.

    x (N, C, *in), grid (N, *out, r) with the innermost axis first; the result is (N, C, *out).
    """
    lengths = x.shape[2:]
    taps = [
        _taps(_place(grid[..., -1 - axis], length, padding, align, mode), mode)
        for axis, length in enumerate(lengths)
    ]
    flat, total = x.flatten(2), torch.zeros((), dtype=x.dtype, device=x.device)
    for neighbours in itertools.product(*taps):
        index, share = _joined(neighbours, lengths, padding, align)
        values = flat.gather(2, index.flatten(1).unsqueeze(1).expand(-1, x.shape[1], -1))
        total = total + values * share.flatten(1).unsqueeze(1)
    return total.view(*x.shape[:2], *grid.shape[1:-1])


def _place(at: Tensor, length: int, padding: str, align: bool, mode: str) -> Tensor:
    """From -1 .. 1 to entries; for cubic the neighbours are padded instead."""
    x = (at + 1) / 2 * (length - 1) if align else ((at + 1) * length - 1) / 2
    return x if mode == "bicubic" else _inside(x, length, padding, align)


def _inside(x: Tensor, length: int, padding: str, align: bool) -> Tensor:
    if padding == "reflection":
        low, width = (0.0, length - 1.0) if align else (-0.5, float(length))
        if width == 0:
            return torch.zeros_like(x)
        folded = (x - low).remainder(2 * width)
        x = torch.minimum(folded, 2 * width - folded) + low
    return x if padding == "zeros" else x.clamp(0, length - 1)


def _taps(x: Tensor, mode: str) -> list[tuple[Tensor, Tensor]]:
    """The neighbours of a place, with their shares."""
    if mode == "nearest":
        return [(x.round(), torch.ones_like(x))]
    first = x.detach().floor()
    part = x - first
    if mode == "bilinear":
        return [(first, 1 - part), (first + 1, part)]
    return [(first + step, _keys((part - step).abs())) for step in range(-1, 3)]


def _keys(distance: Tensor, a: float = -0.75) -> Tensor:
    """The cubic kernel of Keys, "Cubic convolution interpolation" (1981), equation 4."""
    near = ((a + 2) * distance - (a + 3)) * distance**2 + 1
    far = a * (((distance - 5) * distance + 8) * distance - 4)
    return torch.where(distance <= 1, near, far)


def _joined(
    neighbours: Sequence[tuple[Tensor, Tensor]], lengths: Sequence[int], padding: str, align: bool
) -> tuple[Tensor, Tensor]:
    """The place on the flattened axes, and the share, which is none outside of the image."""
    index = torch.zeros_like(neighbours[0][0], dtype=torch.int64)
    shares = []
    for (place, part), length in zip(neighbours, lengths, strict=True):
        at = _inside(place, length, padding, align).round()
        shares.append(part * ((at >= 0) & (at < length)))
        index = index * length + at.clamp(0, length - 1).long()
    return index, reduce(torch.mul, shares)


BUILDERS: Mapping[str, Builder] = {
    "AffineGrid": _affine_grid,
    "GridSample": _grid_sample,
}
