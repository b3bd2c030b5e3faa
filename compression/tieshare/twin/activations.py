"""Activations: one value in, one of the same shape out."""

from collections.abc import Callable, Mapping
from functools import partial

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812 - torch's own name for it

from tieshare.graph.view import Node
from tieshare.twin.types import Builder, Operation, option


def _clip(node: Node) -> Operation:
    low, high = option(node, "min", 1), option(node, "max", 2)
    if not (low.fixed and high.fixed):
        return torch.clamp
    if low.value is None and high.value is None:
        return lambda x, *_: x
    return lambda x, *_: torch.clamp(x, low.value, high.value)


def _celu(node: Node) -> Operation:
    return partial(F.celu, alpha=node.setting("alpha", default=1.0))


def _elu(node: Node) -> Operation:
    return partial(F.elu, alpha=node.setting("alpha", default=1.0))


def _gelu(node: Node) -> Operation:
    return partial(F.gelu, approximate=node.setting("approximate", default="none"))


def _hard_sigmoid(node: Node) -> Operation:
    alpha, beta = node.setting("alpha", default=0.2), node.setting("beta", default=0.5)
    if abs(alpha - 1 / 6) < 1e-6 and beta == 0.5:
        return F.hardsigmoid
    return lambda x: (alpha * x + beta).clamp(0, 1)


def _leaky_relu(node: Node) -> Operation:
    return partial(F.leaky_relu, negative_slope=node.setting("alpha", default=0.01))


def _prelu(node: Node) -> Operation:
    """The slope is lined up with the last axes of x; before opset 7 it has an entry a channel."""

    def run(x: Tensor, slope: Tensor) -> Tensor:
        per_channel = slope.dim() == x.dim() - 1 and slope.numel() == slope.shape[0]
        per_channel = (per_channel and slope.numel() == x.shape[1]) or node.opset < 7
        if x.dim() > 1 and (per_channel or slope.numel() == 1):
            return F.prelu(x, slope.reshape(-1))
        return torch.where(x < 0, x * slope, x)

    return run


def _selu(node: Node) -> Operation:
    alpha = node.setting("alpha", default=1.67326319217681884765625)
    gamma = node.setting("gamma", default=1.05070102214813232421875)
    return lambda x: gamma * F.elu(x, alpha)


def _shrink(node: Node) -> Operation:
    """Values within lambd of zero are zero, all others come nearer to it by the bias."""
    lambd, bias = node.setting("lambd", default=0.5), node.setting("bias", default=0.0)

    def run(x: Tensor) -> Tensor:
        above = torch.where(x > lambd, x - bias, torch.zeros_like(x))
        return torch.where(x < -lambd, x + bias, above).to(x.dtype)

    return run


def _hardmax(node: Node) -> Operation:
    return _over_classes(node, _first_largest)


def _first_largest(x: Tensor, dim: int) -> Tensor:
    """One where the largest value is met first, else zero."""
    return torch.zeros_like(x).scatter(dim, x.argmax(dim, keepdim=True), 1.0)


def _log_softmax(node: Node) -> Operation:
    return _over_classes(node, F.log_softmax)


def _softmax(node: Node) -> Operation:
    return _over_classes(node, F.softmax)


def _over_classes(node: Node, run: Callable[..., Tensor]) -> Operation:
    """Before opset 13 an axis stands for itself and all behind it."""
    if node.opset >= 13:
        return partial(run, dim=node.setting("axis", default=-1))
    axis = node.setting("axis", default=1)
    return lambda x: run(x.flatten(axis), dim=-1).reshape(x.shape)


def _softplus(_: Node) -> Operation:
    """Above 40 it is the identity, to the last bit of a double."""
    return partial(F.softplus, threshold=40.0)


def _swiglu(node: Node) -> Operation:
    swish = _swish(node)
    return lambda gate, value: swish(gate) * value


def _swish(node: Node) -> Callable[[Tensor], Tensor]:
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
    "Hardmax": _hardmax,
    "LeakyRelu": _leaky_relu,
    "LogSoftmax": _log_softmax,
    "Mish": lambda _: F.mish,
    "PRelu": _prelu,
    "Relu": lambda _: torch.relu,
    "Selu": _selu,
    "Shrink": _shrink,
    "Sigmoid": lambda _: torch.sigmoid,
    "Softmax": _softmax,
    "Softplus": _softplus,
    "Softsign": lambda _: F.softsign,
    "SwiGLU": _swiglu,
    "Swish": _swish,
    "Tanh": lambda _: torch.tanh,
    "ThresholdedRelu": _thresholded_relu,
}
