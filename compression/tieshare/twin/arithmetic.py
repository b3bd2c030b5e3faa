"""Arithmetic on values that broadcast."""

from collections.abc import Mapping
from functools import reduce

import torch
from torch import Tensor

from tieshare.graph.view import Node
from tieshare.twin.types import Builder, Operation


def legacy(run: Operation) -> Builder:
    """The operator with the broadcasting of opset 6: y begins at an axis of x."""

    def builder(node: Node) -> Operation:
        axis = node.setting("axis") if node.opset < 7 else None
        if axis is None:
            return run
        return lambda x, y: run(x, y.reshape(*y.shape, *[1] * (x.dim() - axis % x.dim() - y.dim())))

    return builder


def _div(x: Tensor, y: Tensor) -> Tensor:
    """Integers are divided as ONNX Runtime does, towards zero."""
    if x.is_floating_point():
        return torch.div(x, y)
    return torch.div(x, y, rounding_mode="trunc")


def _mod(node: Node) -> Operation:
    """The sign of the result is that of the divisor, or with fmod that of the dividend."""
    return torch.fmod if node.setting("fmod", default=0) else torch.remainder


def _pow(node: Node) -> Operation:
    """The result has the dtype of the base."""
    exponent = node.known[1]
    if exponent is not None and exponent.ndim == 0:
        power = exponent.item()
        return lambda x, _: x.pow(power).to(x.dtype)
    return legacy(lambda x, y: torch.pow(x, y).to(x.dtype))(node)


def _max(*values: Tensor) -> Tensor:
    return reduce(torch.maximum, values)


def _min(*values: Tensor) -> Tensor:
    return reduce(torch.minimum, values)


def _sum(*values: Tensor) -> Tensor:
    return reduce(torch.add, values)


def _mean(*values: Tensor) -> Tensor:
    return _sum(*values) / len(values)


def _scaler(node: Node) -> Operation:
    """(x - offset) * scale, column by column."""
    offset = torch.tensor(node.setting("offset", default=[0.0]), dtype=torch.float32)
    scale = torch.tensor(node.setting("scale", default=[1.0]), dtype=torch.float32)
    return lambda x: (x.float() - offset.to(x.device)) * scale.to(x.device)


BUILDERS: Mapping[str, Builder] = {
    "Abs": lambda _: torch.abs,
    "Acos": lambda _: torch.acos,
    "Acosh": lambda _: torch.acosh,
    "Add": legacy(torch.add),
    "Asin": lambda _: torch.asin,
    "Asinh": lambda _: torch.asinh,
    "Atan": lambda _: torch.atan,
    "Atanh": lambda _: torch.atanh,
    "Ceil": lambda _: torch.ceil,
    "Cos": lambda _: torch.cos,
    "Cosh": lambda _: torch.cosh,
    "Det": lambda _: torch.linalg.det,
    "Div": legacy(_div),
    "Exp": lambda _: torch.exp,
    "Floor": lambda _: torch.floor,
    "Log": lambda _: torch.log,
    "Max": lambda _: _max,
    "Mean": lambda _: _mean,
    "Min": lambda _: _min,
    "Mod": _mod,
    "Mul": legacy(torch.mul),
    "Neg": lambda _: torch.neg,
    "Pow": _pow,
    "Reciprocal": lambda _: torch.reciprocal,
    "Round": lambda _: torch.round,
    "Sign": lambda _: torch.sign,
    "Sin": lambda _: torch.sin,
    "Sinh": lambda _: torch.sinh,
    "Sqrt": lambda _: torch.sqrt,
    "Sub": legacy(torch.sub),
    "Sum": lambda _: _sum,
    "Tan": lambda _: torch.tan,
    "ai.onnx.ml.Scaler": _scaler,
}
