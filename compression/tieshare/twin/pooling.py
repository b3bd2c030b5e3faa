"""Pooling over windows and over whole axes."""

import math
from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812 - torch's own name for it

from tieshare.graph.view import Node
from tieshare.twin.types import Builder, Operation, option
from tieshare.twin.windows import Sizes, Window, pad, windows_of

# By spatial axes.
_MAX = {1: F.max_pool1d, 2: F.max_pool2d, 3: F.max_pool3d}
_AVERAGE = {1: F.avg_pool1d, 2: F.avg_pool2d, 3: F.avg_pool3d}
_CONVOLUTIONS = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}


def _max_pool(node: Node) -> Operation:
    slide = windows_of(node)(tuple(node.attributes["kernel_shape"]))
    ceil = node.setting("ceil_mode", default=0) == 1
    plain = _MAX[len(slide.size)]
    places = len(node.outputs) > 1
    by_column = node.setting("storage_order", default=0) == 1

    def run(x: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        before, after = _whole(slide, x.shape[2:], ceil=ceil)
        lowest = float("-inf") if x.is_floating_point() else torch.iinfo(x.dtype).min
        seen = pad(x, before, after, lowest)
        if not places:
            return plain(seen, slide.size, slide.stride, 0, slide.dilation)
        y, found = plain(seen, slide.size, slide.stride, 0, slide.dilation, return_indices=True)
        return y, _placed(found, seen.shape[2:], before, x.shape, by_column=by_column)

    if slide.even and not _is_wide(slide) and not places:
        return lambda x: plain(x, slide.size, slide.stride, slide.before, slide.dilation, ceil)
    return run


def _placed(found: Tensor, seen: Sizes, before: Sizes, shape: Sizes, *, by_column: bool) -> Tensor:
    """torch's places within a channel of the padded input as ONNX's in the whole input."""
    spatial = shape[2:]
    inner = torch.zeros_like(found)
    for axis, along in enumerate(torch.unravel_index(found, seen)):
        faster = spatial[:axis] if by_column else spatial[axis + 1 :]
        inner += (along - before[axis]) * math.prod(faster)
    channels = torch.arange(shape[0] * shape[1], device=found.device)
    return inner + (channels * math.prod(spatial)).reshape(*shape[:2], *(1 for _ in spatial))


def _average_pool(node: Node) -> Operation:
    """Padding counts as zeros, or not at all; what ceil mode adds behind it never counts."""
    slide = windows_of(node)(tuple(node.attributes["kernel_shape"]))
    ceil = node.setting("ceil_mode", default=0) == 1
    counted = node.setting("count_include_pad", default=0) == 1
    plain = _AVERAGE[len(slide.size)]

    def run(x: Tensor) -> Tensor:
        before, after = _whole(slide, x.shape[2:], ceil=ceil)
        given = slide.padding(x.shape[2:])[1]
        here = torch.ones((1, 1, *x.shape[2:]), dtype=x.dtype, device=x.device)
        here = pad(here, before, given, 1.0 if counted else 0.0)
        extra = [n - m for n, m in zip(after, given, strict=True)]
        return _mean(pad(x, before, after), slide) / _mean(pad(here, slide.none, extra), slide)

    if slide.even and not slide.dilated and not _is_wide(slide):
        return lambda x: plain(x, slide.size, slide.stride, slide.before, ceil, counted)
    return run


def _lp_pool(node: Node) -> Operation:
    """The p-norm of each window; padding counts as zeros."""
    slide = windows_of(node)(tuple(node.attributes["kernel_shape"]))
    ceil = node.setting("ceil_mode", default=0) == 1
    p = node.setting("p", default=2)

    def run(x: Tensor) -> Tensor:
        before, after = _whole(slide, x.shape[2:], ceil=ceil)
        total = _mean(pad(x.abs().pow(p), before, after), slide) * math.prod(slide.size)
        # The root has no finite slope at 0: there the gradient is 0, as that of torch's norms.
        some = total > 0
        return torch.where(some, total, 1).pow(1 / p) * some

    return run


def _is_wide(slide: Window) -> bool:
    """Whether the padding is more than half a window, which torch's pooling does not take."""
    return any(2 * n > size for n, size in zip(slide.before, slide.size, strict=True))


def _whole(slide: Window, spatial: Sizes, *, ceil: bool) -> tuple[Sizes, Sizes]:
    """The padding with which whole windows fit: ceil mode adds to the end, or entries that no
    window sees are cut off there.

    A window that would start behind the input and its padding in front is left out.
    """
    before, after = slide.padding(spatial)
    ends = []
    for axis, length in enumerate(spatial):
        step, reach = slide.stride[axis], slide.reach[axis]
        padded = length + before[axis] + after[axis]
        windows = (padded - reach + (step - 1 if ceil else 0)) // step + 1
        if ceil and (windows - 1) * step >= length + before[axis]:
            windows -= 1
        ends.append((windows - 1) * step + reach - length - before[axis])
    return before, tuple(ends)


def _mean(x: Tensor, slide: Window) -> Tensor:
    """The mean over each window, channel by channel; there is no padding."""
    if not slide.dilated:
        return _AVERAGE[len(slide.size)](x, slide.size, slide.stride)
    share = torch.full(
        (1, 1, *slide.size), 1 / math.prod(slide.size), dtype=x.dtype, device=x.device
    )
    single = x.reshape(-1, 1, *x.shape[2:])  # (N * C, 1, ...)
    means = _CONVOLUTIONS[len(slide.size)](single, share, None, slide.stride, 0, slide.dilation)
    return means.reshape(*x.shape[:2], *means.shape[2:])


def _max_unpool(node: Node) -> Operation:
    """Each entry goes to its place, zeros elsewhere.

    Places count in the shape that the window's options give. Where a larger one is asked for, zeros
    follow on each axis, as ONNX defines it; ONNX Runtime counts places in the larger one.
    """
    slide = windows_of(node)(tuple(node.attributes["kernel_shape"]))
    shape = option(node, "output_shape", 2)

    def run(*inputs: Tensor) -> Tensor:
        x, places = inputs[:2]
        axes = zip(x.shape[2:], slide.size, slide.stride, slide.before, slide.after, strict=True)
        sizes = [(n - 1) * step - a - b + size for n, size, step, a, b in axes]
        flat = x.new_zeros(x.shape[0] * x.shape[1] * math.prod(sizes))
        y = flat.scatter(0, places.reshape(-1), x.reshape(-1))
        y = y.reshape(*x.shape[:2], *sizes)
        wanted = shape.of(inputs)
        if wanted is None:
            return y
        return pad(y, slide.none, [n - m for n, m in zip(wanted[2:], sizes, strict=True)])

    return run


def _spatial(x: Tensor) -> Sizes:
    return tuple(range(2, x.dim()))


def _global_lp_pool(node: Node) -> Operation:
    p = node.setting("p", default=2)
    return lambda x: torch.linalg.vector_norm(x, p, dim=_spatial(x), keepdim=True)


BUILDERS: Mapping[str, Builder] = {
    "AveragePool": _average_pool,
    "GlobalAveragePool": lambda _: lambda x: x.mean(dim=_spatial(x), keepdim=True),
    "GlobalLpPool": _global_lp_pool,
    "GlobalMaxPool": lambda _: lambda x: x.amax(dim=_spatial(x), keepdim=True),
    "LpPool": _lp_pool,
    "MaxPool": _max_pool,
    "MaxUnpool": _max_unpool,
}
