"""Convolutions, forwards and transposed, and the sum of overlapping blocks."""

import math
from collections.abc import Mapping, Sequence
from functools import cache

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812 - torch's own name for it

from tieshare.graph.view import Node
from tieshare.twin.types import Builder, Operation, option
from tieshare.twin.windows import Sizes, Window, halves, pad, windows_of

# By spatial axes.
_CONVOLUTIONS = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}
_EVERY = {1: F.avg_pool1d, 2: F.avg_pool2d, 3: F.avg_pool3d}  # of one entry each: so many steps on
_TRANSPOSED = {1: F.conv_transpose1d, 2: F.conv_transpose2d, 3: F.conv_transpose3d}


def _conv(node: Node) -> Operation:
    slides = windows_of(node)
    groups = node.setting("group", default=1)

    def run(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
        slide = slides(weight.shape[2:])
        (before, after), stride = slide.padding(x.shape[2:]), slide.stride
        skips = slide.skips
        if before != after or skips:
            x, before = pad(x, before, after), slide.none
        if skips:
            # Of less than 8 or 16 channels, oneDNN's gradient of these is wrong, hangs or writes
            # behind its memory (its issue 6035); that of every window is right.
            x, stride = _EVERY[len(stride)](x, 1, stride), slide.size
        convolution = _CONVOLUTIONS[len(slide.size)]
        return convolution(x, weight, bias, stride, before, slide.dilation, groups)

    return run


def _conv_transpose(node: Node) -> Operation:
    slides = windows_of(node)
    more, shape = node.setting("output_padding"), node.setting("output_shape")
    ends_of = cache(lambda slide, spatial: _ends(slide, spatial, more, shape))
    groups = node.setting("group", default=1)

    def run(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
        slide = slides(weight.shape[2:])
        cut, added = ends_of(slide, x.shape[2:])
        transposed = _TRANSPOSED[len(slide.size)]
        behind = _behind(slide, cut, added)
        if behind is not None:
            return transposed(x, weight, bias, slide.stride, cut, behind, groups, slide.dilation)
        full = transposed(x, weight, None, slide.stride, 0, 0, groups, slide.dilation)
        y = pad(full, [-n for n in cut], added)
        return y if bias is None else y + bias.reshape(-1, *(1 for _ in cut))

    return run


def _ends(
    slide: Window, spatial: Sizes, more: Sequence[int] | None, shape: Sequence[int] | None
) -> tuple[Sizes, Sizes]:
    """Of all entries that the windows reach: how many to cut off at the start, and to add at the
    end; negative where they are cut off there too.

    ``more``   output_padding.
    ``shape``  output_shape. As in ONNX Runtime, total_padding is none where it is larger than all.
    """
    reached = [
        step * (length - 1) + reach
        for length, step, reach in zip(spatial, slide.stride, slide.reach, strict=True)
    ]
    full = [n + extra for n, extra in zip(reached, more or slide.none, strict=True)]
    before, after = slide.before, slide.after
    if shape is not None or slide.same:
        scaled = [length * step for length, step in zip(spatial, slide.stride, strict=True)]
        wanted = zip(full, scaled if shape is None else shape, strict=True)
        before, after = halves(
            [max(n - size, 0) for n, size in wanted], upper=slide.auto == "SAME_UPPER"
        )
    sizes = [n - a - b for n, a, b in zip(full, before, after, strict=True)]
    axes = zip(sizes if shape is None else shape, before, reached, strict=True)
    return before, tuple(size + cut - n for size, cut, n in axes)


@cache
def _behind(slide: Window, cut: Sizes, added: Sizes) -> Sizes | None:
    """The same as torch counts it, which cuts alike on both sides and then adds at the end.

    None where it is no output_padding, of which torch takes less than a step or a dilation.
    """
    behind = tuple(a + b for a, b in zip(cut, added, strict=True))
    limits = map(max, slide.stride, slide.dilation)
    fits = all(0 <= n < limit for n, limit in zip(behind, limits, strict=True))
    return behind if fits else None


def _causal_conv(node: Node) -> Operation:
    """Depthwise over time; the state is the entries that the next call sees before its own."""
    activates = node.setting("activation", default="none") in ("silu", "swish")

    def run(
        x: Tensor, weight: Tensor, bias: Tensor | None = None, past: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        before = weight.shape[2] - 1
        x = F.pad(x, (before, 0)) if past is None else torch.cat((past, x), dim=2)
        y = F.conv1d(x, weight, bias, groups=weight.shape[0])
        return F.silu(y) if activates else y, x[:, :, x.shape[2] - before :]

    return run


def _col2im(node: Node) -> Operation:
    image_shape, block_shape = option(node, "image_shape", 1), option(node, "block_shape", 2)
    slides = windows_of(node)

    def run(*inputs: Tensor) -> Tensor:
        x, sizes = inputs[0], tuple(image_shape.of(inputs))
        slide = slides(tuple(block_shape.of(inputs)))
        if len(sizes) == 2 and slide.even:
            return F.fold(x, sizes, slide.size, slide.dilation, slide.before, slide.stride)
        return _blocks_summed(x, sizes, slide)

    return run


def _blocks_summed(x: Tensor, sizes: Sizes, slide: Window) -> Tensor:
    """A transposed convolution whose kernels have one entry, a one, each.

    x is (N, C * K, L): L blocks of K entries. Returns (N, C, *sizes).
    """
    entries = math.prod(slide.size)
    axes = zip(sizes, slide.before, slide.after, slide.reach, slide.stride, strict=True)
    blocks = [(n + a + b - reach) // step + 1 for n, a, b, reach, step in axes]
    ones = torch.eye(entries, dtype=x.dtype, device=x.device).reshape(entries, 1, *slide.size)
    each = x.reshape(-1, entries, *blocks)  # (N * C, K, *blocks)
    transposed = _TRANSPOSED[len(sizes)]
    full = transposed(each, ones, stride=slide.stride, dilation=slide.dilation)
    ends = [n + a - m for n, a, m in zip(sizes, slide.before, full.shape[2:], strict=True)]
    return pad(full, [-n for n in slide.before], ends).reshape(x.shape[0], -1, *sizes)


BUILDERS: Mapping[str, Builder] = {
    "CausalConvWithState": _causal_conv,
    "Col2Im": _col2im,
    "Conv": _conv,
    "ConvTranspose": _conv_transpose,
}
