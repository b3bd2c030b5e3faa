"""Pad and CenterCropPad: axes made longer or shorter at their ends."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812 - torch's own name for it

from tieshare.graph.view import Node
from tieshare.twin.filled import number
from tieshare.twin.types import Builder, Operation, option

# Before and after, one pair an axis of the input.
_Ends = Sequence[tuple[int, int]]

_TORCH_MODES = {"reflect": "reflect", "edge": "replicate", "wrap": "circular"}


def _pad(node: Node) -> Operation:
    """Negative pads cut off; they do so before the other end is made longer."""
    mode = node.setting("mode", default="constant")
    pads, axes = option(node, "pads", 1), option(node, "axes", 3)
    value = option(node, "value", 2, default=0.0)

    def run(*inputs: Tensor) -> Tensor:
        x = inputs[0]
        ends = _ends(pads.of(inputs), axes.of(inputs), x.dim())
        if mode == "constant":
            return _with_constant(x, ends, number(value.of(inputs)))
        return _continued(x, ends, mode)

    return run


def _ends(pads: Sequence[int], axes: Sequence[int] | None, rank: int) -> _Ends:
    half = len(pads) // 2
    pairs = zip(pads[:half], pads[half:], strict=True)
    if axes is None:
        return tuple(pairs)
    ends = [(0, 0)] * rank
    for axis, pair in zip(axes, pairs, strict=True):
        ends[axis] = pair
    return ends


def _with_constant(x: Tensor, ends: _Ends, value: float) -> Tensor:
    return F.pad(x, [n for pair in reversed(ends) for n in pair], value=value)


def _continued(x: Tensor, ends: _Ends, mode: str) -> Tensor:
    """torch's own where it goes as far: at most three spatial axes, and no second lap."""
    spatial = x.dim() - 2
    fits = 1 <= spatial <= 3 and not any(ends[0]) and not any(ends[1]) and x.is_floating_point()
    if fits and all(0 <= n < size for pair, size in zip(ends, x.shape, strict=True) for n in pair):
        last = [n for pair in reversed(ends[2:]) for n in pair]
        return F.pad(x, last, mode=_TORCH_MODES[mode])
    for axis, (before, after) in enumerate(ends):
        if before or after:
            x = _axis_continued(x, axis, (before, after), mode)
    return x


def _axis_continued(x: Tensor, axis: int, ends: tuple[int, int], mode: str) -> Tensor:
    cut = [max(-n, 0) for n in ends]
    length = x.shape[axis] - sum(cut)
    x = x.narrow(axis, cut[0], length)
    before, after = (max(n, 0) for n in ends)
    places = torch.arange(-before, length + after, device=x.device)
    if mode == "wrap":
        places = places % length
    elif mode == "edge" or length == 1:
        places = places.clamp(0, length - 1)
    else:
        places = places % (2 * (length - 1))
        places = torch.minimum(places, 2 * (length - 1) - places)
    return x.index_select(axis, places)


def _center_crop_pad(node: Node) -> Operation:
    """An odd entry is cut off, or added, at the end."""
    target, axes = option(node, "shape", 1), node.setting("axes")

    def run(*inputs: Tensor) -> Tensor:
        x = inputs[0]
        ends = [(0, 0)] * x.dim()
        for place, size in enumerate(target.of(inputs)):
            axis = place if axes is None else axes[place]
            missing = size - x.shape[axis]
            less = abs(missing) // 2 * (1 if missing > 0 else -1)
            ends[axis] = (less, missing - less)
        return _with_constant(x, ends, 0.0)

    return run


BUILDERS: Mapping[str, Builder] = {
    "CenterCropPad": _center_crop_pad,
    "Pad": _pad,
}
