"""Magnitude pruning: the smallest weights of a whole network become zeros (Han et al., 2015)."""

import copy
from collections.abc import Callable

import numpy as np
import torch
from onnx import ModelProto, helper, numpy_helper
from torch import nn

_FEWEST = 64  # numbers of a tensor that is worth storing as a sparse one


def zeroed(net: nn.Module, kept: float) -> tuple[nn.Module, Callable[[nn.Module], None]]:
    """A copy with this part of its weights, and what keeps the zeros while it trains."""
    smaller = copy.deepcopy(net)
    weights = {name: w for name, w in smaller.named_parameters() if w.ndim > 1}
    sizes = torch.cat([w.detach().abs().flatten() for w in weights.values()])
    least = sizes.kthvalue(max(round((1 - kept) * len(sizes)), 1)).values
    masks = {name: w.detach().abs() > least for name, w in weights.items()}

    @torch.no_grad()
    def keep_zero(module: nn.Module) -> None:
        for name, weight in module.named_parameters():
            if name in masks:
                weight.mul_(masks[name])

    keep_zero(smaller)
    return smaller, keep_zero


def stored_sparse(model: ModelProto) -> ModelProto:
    """The same with what is mostly zeros as sparse tensors, which ONNX Runtime makes dense."""
    made = ModelProto()
    made.CopyFrom(model)
    dense = list(made.graph.initializer)
    del made.graph.initializer[:]
    for item in dense:
        array = numpy_helper.to_array(item)
        places = np.flatnonzero(array)
        if array.size < _FEWEST or 3 * len(places) > array.size:
            made.graph.initializer.append(item)
            continue
        values = numpy_helper.from_array(array.ravel()[places], item.name)
        indices = numpy_helper.from_array(places.astype(np.int64))
        made.graph.sparse_initializer.append(
            helper.make_sparse_tensor(values, indices, list(array.shape))
        )
    return made
