"""Operators that move elements about, and the arithmetic of shapes."""

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor

from tieshare.graph.view import Node
from tieshare.twin.types import Builder, Operation
from tieshare.twin.windows import pad as pad_with_constant


def _cast(node: Node) -> Operation:
    dtype = torch_dtype(node.attributes["to"])
    return lambda x: x.to(dtype)


def torch_dtype(elem_type: int) -> torch.dtype:
    """The torch dtype of an ONNX element type."""
    if elem_type == TensorProto.BFLOAT16:
        return torch.bfloat16
    return torch.from_numpy(np.empty(0, helper.tensor_dtype_to_np_dtype(elem_type))).dtype


def _concat(node: Node) -> Operation:
    axis = node.setting("axis", default=1)
    return lambda *parts: torch.cat(parts, dim=axis)


def _constant_of_shape(node: Node) -> Operation:
    given = node.setting("value")
    array = np.zeros(1, np.float32) if given is None else numpy_helper.to_array(given)
    value = torch.from_numpy(array.copy())
    return lambda shape: value.to(shape.device).expand(shape.tolist())


def _expand(x: Tensor, shape: Tensor) -> Tensor:
    """Both broadcast: an axis of x stays where the shape says 1."""
    return x.expand(np.broadcast_shapes(x.shape, tuple(shape.tolist())))


def _flatten(node: Node) -> Operation:
    axis = node.setting("axis", default=1)
    if axis == 1:
        return lambda x: x.flatten(1) if x.dim() > 1 else x.unsqueeze(1)
    return lambda x: x.reshape(_product(x.shape[:axis]), -1)


def _product(sizes: Sequence[int]) -> int:
    return int(np.prod(sizes))


def _gather(node: Node) -> Operation:
    axis = node.setting("axis", default=0)

    def run(x: Tensor, indices: Tensor) -> Tensor:
        along = axis % x.dim()
        flat = indices.reshape(-1).long()
        flat = torch.where(flat < 0, flat + x.shape[along], flat)
        shape = (*x.shape[:along], *indices.shape, *x.shape[along + 1 :])
        return x.index_select(along, flat).reshape(shape)

    return run


def _pad(node: Node) -> Operation:
    mode = node.setting("mode", default="constant")
    pads = node.setting("pads", 1)
    value = node.setting("value", 2, default=0.0)
    axes = node.setting("axes", 3)

    def run(x: Tensor) -> Tensor:
        rank = x.dim()
        before, after = [0] * rank, [0] * rank
        for place, axis in enumerate(range(rank) if axes is None else axes):
            before[axis] = pads[place]
            after[axis] = pads[place + len(pads) // 2]
        if mode == "constant":
            return pad_with_constant(x, before, after, value)
        for axis in range(rank):
            x = _mirrored(x, axis, before[axis], after[axis], edge=mode == "edge")
        return x

    return run


def _mirrored(x: Tensor, axis: int, before: int, after: int, *, edge: bool) -> Tensor:
    """One axis longer at both ends: by its outermost entry, or by what lies inside of it."""
    if before == after == 0:
        return x
    length = x.shape[axis]
    places = torch.arange(-before, length + after, device=x.device)
    if edge or length == 1:
        places = places.clamp(0, length - 1)
    else:
        places = places.remainder(2 * (length - 1))
        places = torch.minimum(places, 2 * (length - 1) - places)
    return x.index_select(axis, places)


def _reshape(node: Node) -> Operation:
    """0 copies the axis of the input, unless allowzero says that it means zero.

    A target without -1 that was written down for batches of another size follows the input's.
    """
    keeps_zero = node.setting("allowzero", default=0) == 1

    def sizes(target: list[int], x: Tensor) -> list[int]:
        if not keeps_zero and 0 in target:
            target = [size or x.shape[axis] for axis, size in enumerate(target)]
        if -1 not in target and _product(target) != x.numel():
            return [-1, *target[1:]]
        return target

    known = node.setting("shape", 1)
    if known is None:
        return lambda x, shape: x.reshape(sizes(shape.tolist(), x))
    return lambda x, _: x.reshape(sizes(known, x))


def _shape_of(node: Node) -> Operation:
    start, end = node.setting("start", default=0), node.setting("end")
    return lambda x: torch.tensor(x.shape[start:end], dtype=torch.int64, device=x.device)


def _slice_of(node: Node) -> Operation:
    starts, ends = node.setting("starts", 1), node.setting("ends", 2)
    axes = node.setting("axes", 3, default=range(len(starts)))
    steps = node.setting("steps", 4, default=[1] * len(starts))

    def run(x: Tensor) -> Tensor:
        for start, end, axis, step in zip(starts, ends, axes, steps, strict=True):
            if step > 0:
                x = x[(slice(None),) * (axis % x.dim()) + (slice(start, end, step),)]
            else:
                places = range(x.shape[axis])[start:end:step]
                x = x.index_select(axis, torch.tensor(places, dtype=torch.int64, device=x.device))
        return x

    return run


def _squeeze(node: Node) -> Operation:
    axes = node.setting("axes", 1)
    if axes is None:
        return torch.squeeze
    return lambda x: x.squeeze(tuple(axes))


def _transpose(node: Node) -> Operation:
    perm = node.setting("perm")
    if perm is None:
        return lambda x: x.permute(*reversed(range(x.dim())))
    return lambda x: x.permute(perm)


def _unsqueeze(node: Node) -> Operation:
    axes = np.ravel(node.setting("axes", 1)).tolist()

    def run(x: Tensor) -> Tensor:
        rank = x.dim() + len(axes)
        for axis in sorted(axis % rank for axis in axes):
            x = x.unsqueeze(axis)
        return x

    return run


BUILDERS: Mapping[str, Builder] = {
    "Cast": _cast,
    "CastLike": lambda _: lambda x, like: x.to(like.dtype),
    "Concat": _concat,
    "ConstantOfShape": _constant_of_shape,
    "Expand": lambda _: _expand,
    "Flatten": _flatten,
    "Gather": _gather,
    "Identity": lambda _: lambda x: x,
    "Pad": _pad,
    "Reshape": _reshape,
    "Shape": _shape_of,
    "Slice": _slice_of,
    "Squeeze": _squeeze,
    "Transpose": _transpose,
    "Unsqueeze": _unsqueeze,
}
