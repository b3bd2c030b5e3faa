"""What training minimises: the labels' loss and the uploaded model's outputs, in one number."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from tieshare.measure import Task


@dataclass(frozen=True)
class Objective:
    """(1 - distill) * loss against the targets + distill * loss against the teacher.

    The teacher is the uploaded model; its outputs are softened by ``temperature`` T and their
    loss is multiplied by T^2 (Hinton, Vinyals, Dean, arXiv 1503.02531, section 2). Outputs are
    logits for labels, the values themselves for regression:

    classes     (N, C) or (N, C, ...) against integers (N, ...); (N, 1) or (N,) for two classes
    multilabel  (N, L) against 0 to 1
    regression  any shape, squared error
    """

    task: Task
    distill: float
    temperature: float

    def loss(self, output: Tensor, target: Tensor, teacher: Tensor) -> Tensor:
        """Mean over the batch."""
        if self.distill == 0:
            return self._labels(output, target)
        distilled = self._teacher(output, teacher)
        if self.distill == 1:
            return distilled
        return torch.lerp(self._labels(output, target), distilled, self.distill)

    def right(self, output: Tensor, target: Tensor) -> Tensor:
        """How well each sample is answered (N,): the share of right labels, or minus its error."""
        if self.task == "regression":
            error = (output - target.reshape(output.shape)).square()
            return -error.reshape(len(output), -1).mean(1)
        if self.task == "multilabel":
            same = (output > 0) == (target.reshape(output.shape) > 0.5)
            return same.double().reshape(len(output), -1).mean(1)
        if output.numel() == target.numel():
            return ((output > 0).reshape(target.shape) == target).double().reshape(len(target))
        return (output.argmax(1) == target).double().reshape(len(target), -1).mean(1)

    def _labels(self, output: Tensor, target: Tensor) -> Tensor:
        if self.task == "regression":
            return F.mse_loss(output, target.reshape(output.shape))
        if self.task == "multilabel" or output.numel() == target.numel():
            wanted = target.reshape(output.shape).to(output.dtype)
            return F.binary_cross_entropy_with_logits(output, wanted)
        return F.cross_entropy(output, target)

    def _teacher(self, output: Tensor, teacher: Tensor) -> Tensor:
        if self.task == "regression":
            return F.mse_loss(output, teacher)
        soft, wanted = output / self.temperature, teacher / self.temperature
        if self.task == "multilabel" or output.shape[1:].numel() == 1:
            likely = torch.sigmoid(wanted)
            least = F.binary_cross_entropy_with_logits(wanted, likely)
            return self.temperature**2 * (F.binary_cross_entropy_with_logits(soft, likely) - least)
        rows = F.kl_div(
            F.log_softmax(soft, 1), F.log_softmax(wanted, 1), log_target=True, reduction="none"
        )
        return self.temperature**2 * rows.sum(1).mean()
