"""Losses as nodes: they compare (N, C, d1, ...) with classes (N, d1, ...)."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor
from torch.nn import functional as F  # noqa: N812 - torch's own name for it

from tieshare.graph.view import Node
from tieshare.twin.types import Builder, Operation

_NO_CLASS = -100


def _negative_log_likelihood(node: Node) -> Operation:
    options = _options(node)

    def run(log_prob: Tensor, labels: Tensor, weight: Tensor | None = None) -> Tensor:
        return F.nll_loss(log_prob, labels.long(), _fixed(weight), **options)

    return run


def _softmax_cross_entropy(node: Node) -> Operation:
    options = _options(node)

    def run(scores: Tensor, labels: Tensor, weight: Tensor | None = None) -> Tensor:
        return F.cross_entropy(scores, labels.long(), _fixed(weight), **options)

    def run_both(
        scores: Tensor, labels: Tensor, weight: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        log_prob = F.log_softmax(scores, dim=1)
        return F.nll_loss(log_prob, labels.long(), _fixed(weight), **options), log_prob

    return run_both if any(node.outputs[1:]) else run


def _options(node: Node) -> dict[str, Any]:
    return {
        "ignore_index": node.setting("ignore_index", default=_NO_CLASS),
        "reduction": node.setting("reduction", default="mean"),
    }


def _fixed(weight: Tensor | None) -> Tensor | None:
    """What each class counts is chosen, not learned."""
    return None if weight is None else weight.detach()


BUILDERS: Mapping[str, Builder] = {
    "NegativeLogLikelihoodLoss": _negative_log_likelihood,
    "SoftmaxCrossEntropyLoss": _softmax_cross_entropy,
}
