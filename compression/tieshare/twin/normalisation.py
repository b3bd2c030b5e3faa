"""Normalisation by statistics of the batch, of a sample or of its neighbours; and dropout."""

import math
from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - torch's own name for it

from tieshare.graph.view import Node
from tieshare.twin.dtypes import torch_dtype
from tieshare.twin.types import Builder, Operation, option


class BatchNorm(nn.Module):
    """Statistics of the batch while training, which also moves the running ones; else these.

    ``frozen``: the running statistics are tensors that other nodes read too, so they are used
    as they are, always. ``keep`` is the share of the old statistics in the new (ONNX momentum).
    """

    def __init__(self, epsilon: float, keep: float, *, frozen: bool) -> None:
        super().__init__()
        self.epsilon, self.keep, self.frozen = epsilon, keep, frozen

    def forward(
        self, x: Tensor, scale: Tensor, bias: Tensor, mean: Tensor, variance: Tensor
    ) -> Tensor:
        """x is (N, C, ...), all others (C,)."""
        if self.frozen:
            mean, variance = mean.detach(), variance.detach()
        live = self.training and not self.frozen
        return F.batch_norm(x, mean, variance, scale, bias, live, 1 - self.keep, self.epsilon)


def _batch_norm(node: Node) -> Operation:
    """A node that says it is training, before opset 14 by naming more outputs, stays so."""
    epsilon = node.setting("epsilon", default=1e-5)
    keep = node.setting("momentum", default=0.9)
    if node.setting("training_mode", default=0) == 0 and not any(node.outputs[1:]):
        return BatchNorm(epsilon, keep, frozen=not all(node.sole[3:5]))

    def run(
        x: Tensor, scale: Tensor, bias: Tensor, mean: Tensor, variance: Tensor
    ) -> tuple[Tensor, ...]:
        dims = (0, *range(2, x.dim()))
        new_variance, new_mean = torch.var_mean(x, dims, correction=0)
        statistics = (
            mean * keep + new_mean * (1 - keep),
            variance * keep + new_variance * (1 - keep),
        )
        fast = torch.backends.cudnn.enabled
        y = torch.batch_norm(x, scale, bias, None, None, True, 0.0, epsilon, fast)
        return y, *statistics, new_mean, new_variance

    return run


class Dropout(nn.Module):
    """Drops while training, and always where the node says so (training_mode).

    ``seed``    gives the mask that ONNX's reference evaluator draws; training draws anew.
    ``masked``  whether the mask is asked for, as booleans or, before opset 10, in x's dtype.
    """

    def __init__(self, node: Node) -> None:
        super().__init__()
        self.ratio = option(node, "ratio", 1, default=0.5)
        self.always = option(node, "training_mode", 2, default=False)
        self.seed: int | None = node.setting("seed")
        self.masked, self.boolean = any(node.outputs[1:]), node.opset >= 10

    def forward(self, *inputs: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        """x, and where the node has them the ratio and the mode."""
        x = inputs[0]
        drops = self.training or self.always.of(inputs)
        ratio = self.ratio.of(inputs) if drops else 0.0
        seed = None if self.training else self.seed
        if not self.masked and (ratio == 0 or seed is None):
            return F.dropout(x, ratio) if ratio else x
        kept = _draw(x, seed) >= ratio
        y = torch.where(kept, x / (1 - ratio), 0.0) if ratio else x
        if not self.masked:
            return y
        return y, kept if self.boolean else kept.to(x.dtype)


def _draw(x: Tensor, seed: int | None) -> Tensor:
    """Uniform numbers from 0 to 1."""
    if seed is None:
        return torch.rand(x.shape, device=x.device)
    drawn = np.random.RandomState(seed).uniform(0, 1, x.shape)
    return torch.from_numpy(drawn).to(x.device)


def _group_norm(node: Node) -> Operation:
    """As of opset 21: ONNX has withdrawn the one before, whose scale had an entry a group."""
    groups, epsilon = node.attributes["num_groups"], node.setting("epsilon", default=1e-5)

    def run(x: Tensor, scale: Tensor, bias: Tensor) -> Tensor:
        return torch.group_norm(x, groups, scale, bias, epsilon, torch.backends.cudnn.enabled)

    return run


def _instance_norm(node: Node) -> Operation:
    epsilon = node.setting("epsilon", default=1e-5)

    def run(x: Tensor, scale: Tensor, bias: Tensor) -> Tensor:
        fast = torch.backends.cudnn.enabled
        return torch.instance_norm(x, scale, bias, None, None, True, 0.0, epsilon, fast)

    return run


def _layer_norm(node: Node) -> Operation:
    axis, epsilon = node.setting("axis", default=-1), node.setting("epsilon", default=1e-5)
    stash = torch_dtype(node.setting("stash_type", default=1))

    def run(x: Tensor, scale: Tensor, bias: Tensor | None = None) -> Tensor:
        shape = x.shape[axis:]
        if scale.shape == shape and (bias is None or bias.shape == shape):
            return F.layer_norm(x, shape, scale, bias, epsilon)
        y = F.layer_norm(x, shape, None, None, epsilon) * scale
        return y if bias is None else y + bias

    def run_all(x: Tensor, scale: Tensor, bias: Tensor | None = None) -> tuple[Tensor, ...]:
        dims = tuple(range(axis % x.dim(), x.dim()))
        variance, mean = torch.var_mean(x.to(stash), dims, correction=0, keepdim=True)
        return run(x, scale, bias), mean, torch.rsqrt(variance + epsilon)

    return run_all if any(node.outputs[1:]) else run


def _rms_norm(node: Node) -> Operation:
    axis, epsilon = node.setting("axis", default=-1), node.setting("epsilon", default=1e-5)

    def run(x: Tensor, scale: Tensor) -> Tensor:
        shape = x.shape[axis:]
        if scale.shape == shape:
            return F.rms_norm(x, shape, scale, epsilon)
        return F.rms_norm(x, shape, None, epsilon) * scale

    return run


def _lp_normalization(node: Node) -> Operation:
    """Where the norm is zero the values are, and stay so."""
    axis, order = node.setting("axis", default=-1), node.setting("p", default=2)

    def run(x: Tensor) -> Tensor:
        norm: Tensor = torch.linalg.vector_norm(x, order, axis, keepdim=True)
        return x / norm.masked_fill(norm == 0, 1.0)

    return run


def _lrn(node: Node) -> Operation:
    """A window of even size reaches further ahead; torch's reaches further back."""
    size, alpha = node.attributes["size"], node.setting("alpha", default=1e-4)
    beta, bias = node.setting("beta", default=0.75), node.setting("bias", default=1.0)
    if size % 2:
        return lambda x: F.local_response_norm(x, size, alpha, beta, bias)
    return lambda x: F.local_response_norm(x.flip(1), size, alpha, beta, bias).flip(1)


def _mean_variance(node: Node) -> Operation:
    """ONNX adds 1e-9 to the deviation; a norm has a gradient also where that is zero."""
    axes: tuple[int, ...] = tuple(node.setting("axes", default=(0, 2, 3)))

    def run(x: Tensor) -> Tensor:
        away = x - x.mean(axes, keepdim=True)
        count = math.prod(x.shape[axis] for axis in axes)
        distance: Tensor = torch.linalg.vector_norm(away, 2, axes, keepdim=True)
        return away / (distance / math.sqrt(count) + 1e-9)

    return run


BUILDERS: Mapping[str, Builder] = {
    "BatchNormalization": _batch_norm,
    "Dropout": Dropout,
    "GroupNormalization": _group_norm,
    "InstanceNormalization": _instance_norm,
    "LRN": _lrn,
    "LayerNormalization": _layer_norm,
    "LpNormalization": _lp_normalization,
    "MeanVarianceNormalization": _mean_variance,
    "RMSNormalization": _rms_norm,
}
