"""Losses as nodes in the twin against ONNX Runtime."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

Check = Callable[..., None]

OPTIONS = [
    "",
    '<reduction = "sum">',
    '<reduction = "none">',
    "<ignore_index = 2>",
    "<ignore_index = -1>",
    '<ignore_index = 2, reduction = "none">',
]
NODES = [
    "p = LogSoftmax <axis = 1> (x) y = NegativeLogLikelihoodLoss {} (p, classes{})",
    "y = SoftmaxCrossEntropyLoss {} (x, classes{})",
]
STORED = "float[4] w = {0.5, 1.0, 2.0, 0.25}"


def _inputs(*spatial: int, dtype: type = np.float32) -> dict[str, NDArray[Any]]:
    rng = np.random.default_rng(1)
    scores: NDArray[Any] = rng.normal(size=(5, 4, *spatial)).astype(dtype)
    return {"x": scores, "classes": rng.integers(0, 4, (5, *spatial))}


@pytest.mark.parametrize("options", OPTIONS)
@pytest.mark.parametrize("weights", ["", ", w"])
@pytest.mark.parametrize("node", NODES)
@pytest.mark.parametrize("spatial", [(), (3,), (3, 2)])
def test_losses_are_those_of_onnx_runtime(
    agree: Check, options: str, weights: str, node: str, spatial: tuple[int, ...]
) -> None:
    agree(13, node.format(options, weights), _inputs(*spatial), STORED)


def test_cross_entropy_gives_the_log_probabilities_too(agree: Check) -> None:
    nodes = "y, p = SoftmaxCrossEntropyLoss (x, classes)"
    agree(13, nodes, _inputs(), outputs="float[] y, float[] p")


@pytest.mark.parametrize("node", NODES)
@pytest.mark.parametrize("options", OPTIONS)
def test_losses_have_the_right_gradient(differentiate: Check, node: str, options: str) -> None:
    differentiate(13, node.format(options, ""), _inputs(3, dtype=np.float64), "double[] y")
