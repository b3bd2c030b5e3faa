"""Pooling over windows and over whole axes."""

from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812 - torch's own name for it

from tieshare.graph.view import Node
from tieshare.twin.types import Builder, Operation
from tieshare.twin.windows import Sizes, Window, pad, window

_MAX = {1: F.max_pool1d, 2: F.max_pool2d, 3: F.max_pool3d}
_AVERAGE = {1: F.avg_pool1d, 2: F.avg_pool2d, 3: F.avg_pool3d}
_SUM = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}


def _max_pool(node: Node) -> Operation:
    slide = window(node)
    run_plain = _MAX[len(slide.size)]
    ceil = node.setting("ceil_mode", default=0) == 1

    def run(x: Tensor) -> Tensor:
        before, after = slide.padding(x.shape[2:])
        if before != after or _is_wide(slide, before):
            x, before = pad(x, before, after, float("-inf")), slide.none
        return run_plain(x, slide.size, slide.stride, before, slide.dilation, ceil)

    return run


def _average_pool(node: Node) -> Operation:
    """Padding counts as zeros, or not at all; what ceil mode adds behind it never counts."""
    slide = window(node)
    ceil = node.setting("ceil_mode", default=0) == 1
    counted = node.setting("count_include_pad", default=0) == 1

    def run(x: Tensor) -> Tensor:
        before, after = slide.padding(x.shape[2:])
        extra = _missing(slide, x.shape[2:], before, after) if ceil else slide.none
        here = torch.ones((1, 1, *x.shape[2:]), dtype=x.dtype, device=x.device)
        count = pad(here, before, after, 1.0 if counted else 0.0)
        total = _sums(pad(pad(x, before, after), slide.none, extra), slide)
        return total / _sums(pad(count, slide.none, extra), slide)

    if slide.even and set(slide.dilation) == {1} and not _is_wide(slide, slide.before):
        plain = _AVERAGE[len(slide.size)]
        return lambda x: plain(x, slide.size, slide.stride, slide.before, ceil, counted)
    return run


def _is_wide(slide: Window, before: Sizes) -> bool:
    """Whether the padding is more than half a window, which torch's pooling does not take."""
    return any(2 * n > size for n, size in zip(before, slide.size, strict=True))


def _missing(slide: Window, spatial: torch.Size, before: Sizes, after: Sizes) -> Sizes:
    """Entries that ceil mode adds at the end, so that the last window is whole.

    A window that would start behind the input and its padding in front is left out.
    """
    missing = []
    for axis, length in enumerate(spatial):
        step, reach = slide.stride[axis], slide.reach[axis]
        padded = length + before[axis] + after[axis]
        windows = -(-(padded - reach) // step) + 1
        if (windows - 1) * step >= length + before[axis]:
            windows -= 1
        missing.append(max((windows - 1) * step + reach - padded, 0))
    return tuple(missing)


def _sums(x: Tensor, slide: Window) -> Tensor:
    """The sum over each window, channel by channel."""
    ones = torch.ones((1, 1, *slide.size), dtype=x.dtype, device=x.device)
    single = x.reshape(-1, 1, *x.shape[2:])  # (N*C, 1, ...)
    total = _SUM[len(slide.size)](single, ones, None, slide.stride, 0, slide.dilation)
    return total.reshape(*x.shape[:2], *total.shape[2:])


def _global_average(x: Tensor) -> Tensor:
    return x.mean(dim=tuple(range(2, x.dim())), keepdim=True)


def _global_max(x: Tensor) -> Tensor:
    return x.amax(dim=tuple(range(2, x.dim())), keepdim=True)


def _reduce_mean(node: Node) -> Operation:
    axes = node.setting("axes", 1)
    keep = node.setting("keepdims", default=1) == 1
    if not axes:
        if node.setting("noop_with_empty_axes", default=0):
            return torch.clone
        return lambda x: x.mean(dim=tuple(range(x.dim())), keepdim=keep)
    axes = tuple(axes)
    return lambda x: x.mean(dim=axes, keepdim=keep)


BUILDERS: Mapping[str, Builder] = {
    "AveragePool": _average_pool,
    "GlobalAveragePool": lambda _: _global_average,
    "GlobalMaxPool": lambda _: _global_max,
    "MaxPool": _max_pool,
    "ReduceMean": _reduce_mean,
}
