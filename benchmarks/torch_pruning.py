"""Torch-Pruning's group norm pruner (Fang et al., "DepGraph", CVPR 2023), as its authors use it."""

import copy
import importlib
import subprocess
import sys
import tempfile
from collections.abc import Callable
from typing import Any

from torch import Tensor, nn

Train = Callable[[nn.Module, Any], None]
"""Trains a network in place, with the gradient of a pruner's penalty added to the loss's."""


def sparse(net: nn.Module, x: Tensor, train: Train) -> nn.Module:
    """A copy of ``net`` after training with the pruner's penalty; ``x``: one sample."""
    trained = copy.deepcopy(net)
    pruner = _pruner(trained, x)
    pruner.update_regularizer()
    train(trained, pruner)
    return trained


def pruned(net: nn.Module, x: Tensor, most: int) -> nn.Module:
    """A copy of ``net`` with no more than so many parameters."""
    smaller = copy.deepcopy(net)
    pruner = _pruner(smaller, x)
    while sum(weight.numel() for weight in smaller.parameters()) > most:
        pruner.step()
    return smaller


def _pruner(net: nn.Module, x: Tensor) -> Any:
    """One for the network, whose last layer, the classes, stays."""
    tp = _module()
    *_, last = net.children()
    return tp.pruner.GroupNormPruner(
        net,
        x,
        importance=tp.importance.GroupMagnitudeImportance(),
        pruning_ratio=1.0,
        iterative_steps=400,
        global_pruning=True,
        max_pruning_ratio=0.97,
        ignored_layers=[last],
    )


def _module() -> Any:
    """Torch-Pruning; it is installed into a folder of its own where it is missing."""
    try:
        return importlib.import_module("torch_pruning")
    except ImportError:
        folder = tempfile.mkdtemp(prefix="torch-pruning-")
        command = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--target", folder]
        subprocess.run([*command, "torch-pruning"], check=True)
        sys.path.append(folder)
        return importlib.import_module("torch_pruning")
