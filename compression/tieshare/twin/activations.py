"""Activations: one value in, one of the same shape out."""

from collections.abc import Mapping
from functools import partial

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812 - torch's own name for it

from tieshare.graph.view import Node
from tieshare.twin.types import Builder, Operation


def _clip(node: Node) -> Operation:
    low, high = node.setting("min", 1), node.setting("max", 2)
    if low is None and high is None:
        return torch.clone
    return partial(torch.clamp, min=low, max=high)


def _celu(node: Node) -> Operation:
    return partial(F.celu, alpha=node.setting("alpha", default=1.0))


def _elu(node: Node) -> Operation:
    return partial(F.elu, alpha=node.setting("alpha", default=1.0))


def _gelu(node: Node) -> Operation:
    return partial(F.gelu, approximate=node.setting("approximate", default="none"))


def _hard_sigmoid(node: Node) -> Operation:
    alpha, beta = node.setting("alpha", default=0.2), node.setting("beta", default=0.5)
    return lambda x: (alpha * x + beta).clamp(0, 1)


def _leaky_relu(node: Node) -> Operation:
    return partial(F.leaky_relu, negative_slope=node.setting("alpha", default=0.01))


def _prelu(x: Tensor, slope: Tensor) -> Tensor:
    """The slope is lined up with the last axes of x."""
    per_channel = slope.dim() == x.dim() - 1 and slope.numel() == slope.shape[0]
    if x.dim() > 1 and (slope.numel() == 1 or (per_channel and slope.numel() == x.shape[1])):
        return F.prelu(x, slope.reshape(-1))
    return torch.where(x < 0, x * slope, x)


def _selu(node: Node) -> Operation:
    alpha = node.setting("alpha", default=1.67326319217681884765625)
    gamma = node.setting("gamma", default=1.05070102214813232421875)
    return lambda x: gamma * F.elu(x, alpha)


def _log_softmax(node: Node) -> Operation:
    return _over_classes(node, F.log_softmax)


def _softmax(node: Node) -> Operation:
    return _over_classes(node, F.softmax)


def _over_classes(node: Node, run: Operation) -> Operation:
    """Before opset 13 an axis stands for itself and all behind it."""
    if node.opset >= 13:
        return partial(run, dim=node.setting("axis", default=-1))
    axis = node.setting("axis", default=1)
    return lambda x: run(x.flatten(axis), dim=-1).view_as(x)


def _softplus(_: Node) -> Operation:
    # F.softplus cuts off above 20; this is exact everywhere.
    return lambda x: torch.logaddexp(x, torch.zeros_like(x))


def _swish(node: Node) -> Operation:
    alpha = node.setting("alpha", default=1.0)
    return F.silu if alpha == 1 else lambda x: x * torch.sigmoid(alpha * x)


def _thresholded_relu(node: Node) -> Operation:
    return partial(F.threshold, threshold=node.setting("alpha", default=1.0), value=0.0)


BUILDERS: Mapping[str, Builder] = {
    "Celu": _celu,
    "Clip": _clip,
    "Elu": _elu,
    "Erf": lambda _: torch.erf,
    "Gelu": _gelu,
    "HardSigmoid": _hard_sigmoid,
    "HardSwish": lambda _: F.hardswish,
    "LeakyRelu": _leaky_relu,
    "LogSoftmax": _log_softmax,
    "Mish": lambda _: F.mish,
    "PRelu": lambda _: _prelu,
    "Relu": lambda _: torch.relu,
    "Selu": _selu,
    "Sigmoid": lambda _: torch.sigmoid,
    "Softmax": _softmax,
    "Softplus": _softplus,
    "Softsign": lambda _: F.softsign,
    "Swish": _swish,
    "Tanh": lambda _: torch.tanh,
    "ThresholdedRelu": _thresholded_relu,
}
