"""Arithmetic on values that broadcast."""

from collections.abc import Mapping

import torch
from torch import Tensor

from tieshare.graph.view import Node
from tieshare.twin.types import Builder, Operation


def _div(x: Tensor, y: Tensor) -> Tensor:
    """Integers are divided as ONNX Runtime does, towards zero."""
    whole = not (x.is_floating_point() or y.is_floating_point())
    return torch.div(x, y, rounding_mode="trunc") if whole else torch.div(x, y)


def _pow(x: Tensor, y: Tensor) -> Tensor:
    return torch.pow(x, y).to(x.dtype)


def _scaler(node: Node) -> Operation:
    """(x - offset) * scale, column by column."""
    offset = torch.tensor(node.setting("offset", default=[0.0]), dtype=torch.float32)
    scale = torch.tensor(node.setting("scale", default=[1.0]), dtype=torch.float32)
    return lambda x: (x.float() - offset.to(x.device)) * scale.to(x.device)


BUILDERS: Mapping[str, Builder] = {
    "Abs": lambda _: torch.abs,
    "Add": lambda _: torch.add,
    "Div": lambda _: _div,
    "Exp": lambda _: torch.exp,
    "Mul": lambda _: torch.mul,
    "Neg": lambda _: torch.neg,
    "Pow": lambda _: _pow,
    "Sqrt": lambda _: torch.sqrt,
    "Sub": lambda _: torch.sub,
    "ai.onnx.ml.Scaler": _scaler,
}
