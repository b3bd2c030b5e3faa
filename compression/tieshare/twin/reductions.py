"""Reductions along axes, and what runs along one axis."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from tieshare.graph.view import Node
from tieshare.twin.types import Builder, Operation, option

Axes = tuple[int, ...]


@dataclass(frozen=True)
class _Reduction:
    """``over`` some axes, kept with length 1 or not; ``alone`` is each element by itself."""

    over: Callable[[Tensor, Axes, bool], Tensor]
    alone: Callable[[Tensor], Tensor]


def _reduce(rule: _Reduction) -> Builder:
    """Without axes all of them are reduced, or none (noop_with_empty_axes)."""

    def build(node: Node) -> Operation:
        axes = option(node, "axes", 1)
        keep = node.setting("keepdims", default=1) == 1
        noop = node.setting("noop_with_empty_axes", default=0) == 1

        def run(*inputs: Tensor) -> Tensor:
            x = inputs[0]
            dims = tuple(axes.of(inputs) or (() if noop else range(x.dim())))
            return rule.over(x, dims, keep) if dims else rule.alone(x)

        if axes.fixed and axes.value:
            dims = tuple(axes.value)
            return lambda x, *_: rule.over(x, dims, keep)
        return run

    return build


def _same(x: Tensor) -> Tensor:
    return x


def _sum(x: Tensor, dims: Axes, keep: bool) -> Tensor:
    return torch.sum(x, dims, keepdim=keep, dtype=x.dtype)


def _mean(x: Tensor, dims: Axes, keep: bool) -> Tensor:
    """Integers are rounded towards zero."""
    if x.is_floating_point():
        return torch.mean(x, dims, keepdim=keep)
    return torch.mean(x.double(), dims, keepdim=keep).to(x.dtype)


def _prod(x: Tensor, dims: Axes, keep: bool) -> Tensor:
    for dim in sorted((axis % x.dim() for axis in dims), reverse=True):
        x = torch.prod(x, dim, keepdim=keep, dtype=x.dtype)
    return x


def _max(x: Tensor, dims: Axes, keep: bool) -> Tensor:
    if x.numel() == 0:
        return x.new_full(_sum(x, dims, keep).shape, _extremes(x.dtype)[0])
    return torch.amax(x, dims, keepdim=keep)


def _min(x: Tensor, dims: Axes, keep: bool) -> Tensor:
    if x.numel() == 0:
        return x.new_full(_sum(x, dims, keep).shape, _extremes(x.dtype)[1])
    return torch.amin(x, dims, keepdim=keep)


def _extremes(dtype: torch.dtype) -> tuple[Any, Any]:
    if dtype.is_floating_point:
        return -torch.inf, torch.inf
    if dtype == torch.bool:
        return False, True
    limits = torch.iinfo(dtype)
    return limits.min, limits.max


def _l1(x: Tensor, dims: Axes, keep: bool) -> Tensor:
    return _sum(x.abs(), dims, keep)


def _l2(x: Tensor, dims: Axes, keep: bool) -> Tensor:
    """Its gradient at zero is zero."""
    values = x if x.is_floating_point() else x.double()
    norm: Tensor = torch.linalg.vector_norm(values, 2, dims, keepdim=keep)
    return norm.to(x.dtype)


def _log_sum(x: Tensor, dims: Axes, keep: bool) -> Tensor:
    return _log(_sum(x, dims, keep))


def _log(x: Tensor) -> Tensor:
    return torch.log(x).to(x.dtype)


def _log_sum_exp(x: Tensor, dims: Axes, keep: bool) -> Tensor:
    return torch.logsumexp(x, dims, keepdim=keep).to(x.dtype)


def _sum_square(x: Tensor, dims: Axes, keep: bool) -> Tensor:
    return _sum(x.square(), dims, keep)


def _arg(node: Node, find: Callable[..., Tensor]) -> Operation:
    """The place of the extreme value: of the first one, or of the last."""
    axis = node.setting("axis", default=0)
    keep = node.setting("keepdims", default=1) == 1
    if node.setting("select_last_index", default=0) == 1:
        return lambda x: x.shape[axis] - 1 - find(x.flip(axis), dim=axis, keepdim=keep)
    return lambda x: find(x, dim=axis, keepdim=keep)


def _cumulate(node: Node, run: Callable[..., Tensor], neutral: float) -> Operation:
    """Exclusive: each place gets what lies before it, the first one the neutral element."""
    axis = option(node, "axis", 1)
    exclusive = node.setting("exclusive", default=0) == 1
    backwards = node.setting("reverse", default=0) == 1

    def along(*inputs: Tensor) -> Tensor:
        x, dim = inputs[0], _number(axis.of(inputs))
        x = x.flip(dim) if backwards else x
        if exclusive:
            first = torch.full_like(x.narrow(dim, 0, 1), neutral)
            x = torch.cat((first, x.narrow(dim, 0, x.shape[dim] - 1)), dim)
        x = run(x, dim, dtype=x.dtype)
        return x.flip(dim) if backwards else x

    return along


def _top_k(node: Node) -> Operation:
    """Of equal values the one that comes first is taken first, which torch.topk leaves open."""
    count = option(node, "k", 1)
    axis = node.setting("axis", default=-1)
    largest = node.setting("largest", default=1) == 1

    def run(*inputs: Tensor) -> tuple[Tensor, Tensor]:
        k = _number(count.of(inputs))
        values, places = torch.sort(inputs[0], dim=axis, descending=largest, stable=True)
        return values.narrow(axis, 0, k), places.narrow(axis, 0, k)

    return run


def _number(value: Any) -> int:
    """A scalar, also where it is kept in a list of one."""
    return int(np.ravel(value)[0])


BUILDERS: Mapping[str, Builder] = {
    "ArgMax": lambda node: _arg(node, torch.argmax),
    "ArgMin": lambda node: _arg(node, torch.argmin),
    "CumProd": lambda node: _cumulate(node, torch.cumprod, 1),
    "CumSum": lambda node: _cumulate(node, torch.cumsum, 0),
    "ReduceL1": _reduce(_Reduction(_l1, torch.abs)),
    "ReduceL2": _reduce(_Reduction(_l2, torch.abs)),
    "ReduceLogSum": _reduce(_Reduction(_log_sum, _log)),
    "ReduceLogSumExp": _reduce(_Reduction(_log_sum_exp, _same)),
    "ReduceMax": _reduce(_Reduction(_max, _same)),
    "ReduceMean": _reduce(_Reduction(_mean, _same)),
    "ReduceMin": _reduce(_Reduction(_min, _same)),
    "ReduceProd": _reduce(_Reduction(_prod, _same)),
    "ReduceSum": _reduce(_Reduction(_sum, _same)),
    "ReduceSumSquare": _reduce(_Reduction(_sum_square, torch.square)),
    "TopK": _top_k,
}
