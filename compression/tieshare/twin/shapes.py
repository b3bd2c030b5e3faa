"""Operators that lay elements out anew, and the arithmetic of shapes."""

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812 - torch's own name for it

from tieshare.graph.view import Node
from tieshare.twin.types import Builder, Operation, option

_FAR = 2**60


def _concat(node: Node) -> Operation:
    axis = node.attributes["axis"]
    return lambda *parts: torch.cat(parts, dim=axis)


def _depth_to_space(node: Node) -> Operation:
    """Channels are (block row, block column, channel), or with CRD the channel comes first."""
    block = node.attributes["blocksize"]
    if node.setting("mode", default="DCR") == "CRD":
        return lambda x: F.pixel_shuffle(x, block)

    def run(x: Tensor) -> Tensor:
        n, c, h, w = x.shape
        blocks = x.reshape(n, block, block, c // block**2, h, w)
        return blocks.permute(0, 3, 4, 1, 5, 2).reshape(n, c // block**2, h * block, w * block)

    return run


def _space_to_depth(node: Node) -> Operation:
    block = node.attributes["blocksize"]
    if node.setting("mode", default="DCR") == "CRD":
        return lambda x: F.pixel_unshuffle(x, block)

    def run(x: Tensor) -> Tensor:
        n, c, h, w = x.shape
        blocks = x.reshape(n, c, h // block, block, w // block, block)
        return blocks.permute(0, 3, 5, 1, 2, 4).reshape(n, c * block**2, h // block, w // block)

    return run


def _expand(node: Node) -> Operation:
    """Both broadcast: an axis of x stays where the shape says 1."""
    target = option(node, "shape", 1)

    def run(*inputs: Tensor) -> Tensor:
        x, shape = inputs[0], target.of(inputs)
        new = len(shape) - x.dim()
        sizes = [size if size != 1 or axis < new else -1 for axis, size in enumerate(shape)]
        return x.expand([-1] * -new + sizes)

    return run


def _flatten(node: Node) -> Operation:
    axis = node.setting("axis", default=1)
    if axis == 1:
        return lambda x: x.flatten(1) if x.dim() > 1 else x.unsqueeze(1)
    return lambda x: x.reshape(math.prod(x.shape[:axis]), math.prod(x.shape[axis:]))


def _reshape(node: Node) -> Operation:
    """0 copies the axis of the input, unless allowzero says that it means zero."""
    copies = node.setting("allowzero", default=0) == 0
    target = option(node, "shape", 1)
    if target.fixed and not (copies and 0 in target.value):
        return lambda x, _: x.reshape(target.value)

    def run(*inputs: Tensor) -> Tensor:
        x, sizes = inputs[0], target.of(inputs)
        if copies:
            sizes = [size or x.shape[axis] for axis, size in enumerate(sizes)]
        return x.reshape(sizes)

    return run


def _shape_of(node: Node) -> Operation:
    start, end = node.setting("start", default=0), node.setting("end")
    return lambda x: torch.tensor(x.shape[start:end], dtype=torch.int64, device=x.device)


def _size(_: Node) -> Operation:
    return lambda x: torch.tensor(x.numel(), dtype=torch.int64, device=x.device)


def _slice(node: Node) -> Operation:
    starts, ends = option(node, "starts", 1), option(node, "ends", 2)
    axes, steps = option(node, "axes", 3), option(node, "steps", 4)

    def ranges(inputs: Sequence[Tensor | None]) -> dict[int, slice]:
        first, last = map(_bounded, starts.of(inputs)), list(map(_bounded, ends.of(inputs)))
        along, step = axes.of(inputs) or range(len(last)), steps.of(inputs) or [1] * len(last)
        return dict(zip(along, map(slice, first, last, step), strict=True))

    if starts.fixed and ends.fixed and axes.fixed and steps.fixed:
        asked = ranges(())
        if all(axis >= 0 and part.step > 0 for axis, part in asked.items()):
            index = tuple(asked.get(axis, slice(None)) for axis in range(max(asked) + 1))
            return lambda *inputs: inputs[0][index]
        return lambda *inputs: _sliced(inputs[0], asked)
    return lambda *inputs: _sliced(inputs[0], ranges(inputs))


def _bounded(place: int) -> int:
    """Exporters write the end as the largest number of 64 bits; torch takes a little less."""
    return min(max(place, -_FAR), _FAR)


def _sliced(x: Tensor, asked: Mapping[int, slice]) -> Tensor:
    """torch takes no negative steps."""
    for axis, part in asked.items():
        along = axis % x.dim()
        if part.step > 0:
            x = x[(slice(None),) * along + (part,)]
        else:
            places = range(*part.indices(x.shape[along]))
            steps = torch.arange(len(places), device=x.device)
            x = x.index_select(along, places.start + part.step * steps)
    return x


def _split(node: Node) -> Operation:
    """Without sizes the parts are alike, but for the last one, which may be smaller."""
    axis = node.setting("axis", default=0)
    parts = node.setting("num_outputs", default=len(node.outputs))
    sizes = option(node, "split", 1)

    def run(*inputs: Tensor) -> tuple[Tensor, ...]:
        x, lengths = inputs[0], sizes.of(inputs)
        if lengths is None:
            length, whole = x.shape[axis], -(-x.shape[axis] // parts)
            lengths = [min(whole, max(length - whole * part, 0)) for part in range(parts)]
        result: tuple[Tensor, ...] = x.split(lengths, axis)
        return result

    return run


def _squeeze(node: Node) -> Operation:
    axes = option(node, "axes", 1)

    def run(*inputs: Tensor) -> Tensor:
        chosen = axes.of(inputs)
        return inputs[0].squeeze() if chosen is None else inputs[0].squeeze(_listed(chosen))

    return run


def _tile(node: Node) -> Operation:
    repeats = option(node, "repeats", 1)
    return lambda *inputs: inputs[0].repeat(repeats.of(inputs))


def _transpose(node: Node) -> Operation:
    perm = node.setting("perm")
    if perm is None:
        return lambda x: x.permute(*reversed(range(x.dim())))
    return lambda x: x.permute(perm)


def _unsqueeze(node: Node) -> Operation:
    axes = option(node, "axes", 1)

    def run(*inputs: Tensor) -> Tensor:
        x, chosen = inputs[0], _listed(axes.of(inputs))
        if len(chosen) == 1:
            return x.unsqueeze(chosen[0])
        rank = x.dim() + len(chosen)
        for axis in sorted(axis % rank for axis in chosen):
            x = x.unsqueeze(axis)
        return x

    return run


def _listed(axes: int | Sequence[int]) -> tuple[int, ...]:
    """Some exporters write a single axis as a scalar."""
    return (axes,) if isinstance(axes, int) else tuple(axes)


BUILDERS: Mapping[str, Builder] = {
    "Concat": _concat,
    "DepthToSpace": _depth_to_space,
    "Expand": _expand,
    "Flatten": _flatten,
    "Identity": lambda _: lambda x: x,
    "Reshape": _reshape,
    "Shape": _shape_of,
    "Size": _size,
    "Slice": _slice,
    "SpaceToDepth": _space_to_depth,
    "Split": _split,
    "Squeeze": _squeeze,
    "Tile": _tile,
    "Transpose": _transpose,
    "Unsqueeze": _unsqueeze,
}
