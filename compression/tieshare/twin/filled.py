"""Tensors made of nothing but a shape or a few numbers."""

import math
from collections.abc import Mapping
from typing import Any

import torch
from onnx import numpy_helper
from torch import Tensor

from tieshare.graph.view import Node
from tieshare.twin.dtypes import torch_dtype
from tieshare.twin.types import Builder, Operation, option


def number(value: Any) -> Any:
    """The value of an option that is a number; some exporters write it as a list of one."""
    return value[0] if isinstance(value, list) else value


def _constant_of_shape(node: Node) -> Operation:
    given = node.setting("value")
    value: float = 0.0 if given is None else numpy_helper.to_array(given).item()
    dtype = torch.float32 if given is None else torch_dtype(given.data_type)
    target = option(node, "shape", 0)

    def run(shape: Tensor) -> Tensor:
        size: list[int] = target.of((shape,))
        return torch.full(size, value, dtype=dtype, device=shape.device)

    return run


def _eye_like(node: Node) -> Operation:
    diagonal, given = node.setting("k", default=0), node.setting("dtype")
    dtype = None if given is None else torch_dtype(given)

    def run(x: Tensor) -> Tensor:
        rows, columns = (torch.arange(size, device=x.device) for size in x.shape)
        return torch.eq(rows.unsqueeze(1) + diagonal, columns).to(dtype or x.dtype)

    return run


def _range(node: Node) -> Operation:
    start, limit, delta = (
        option(node, name, slot) for slot, name in enumerate(("start", "limit", "delta"))
    )

    def run(*inputs: Tensor) -> Tensor:
        first, step = number(start.of(inputs)), number(delta.of(inputs))
        count = max(math.ceil((number(limit.of(inputs)) - first) / step), 0)
        exact = torch.float64 if inputs[0].is_floating_point() else torch.int64
        places = torch.arange(count, dtype=exact, device=inputs[0].device)
        return places.mul(step).add(first).to(inputs[0].dtype)

    return run


BUILDERS: Mapping[str, Builder] = {
    "ConstantOfShape": _constant_of_shape,
    "EyeLike": _eye_like,
    "Range": _range,
}
