"""What behaves differently while training."""

from collections.abc import Mapping

from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - torch's own name for it

from tieshare.graph.view import Node
from tieshare.twin.types import Builder, Operation


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
    return BatchNorm(
        epsilon=node.setting("epsilon", default=1e-5),
        keep=node.setting("momentum", default=0.9),
        frozen=not all(node.sole[3:5]),
    )


def _dropout(node: Node) -> Operation:
    return nn.Dropout(node.setting("ratio", 1, default=0.5))


BUILDERS: Mapping[str, Builder] = {
    "BatchNormalization": _batch_norm,
    "Dropout": _dropout,
}
