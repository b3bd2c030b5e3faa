"""What training minimises: the labels' loss and the uploaded model's outputs, in one number."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from tieshare.data import Goal


@dataclass(frozen=True)
class Objective:
    """(1 - distill) * loss against the targets + distill * loss against the teacher.

    The teacher is the uploaded model; its outputs are softened by ``temperature`` T and their
    loss is multiplied by T^2 (Hinton, Vinyals, Dean, arXiv 1503.02531, section 2). With several
    goals it is the mean of theirs. Outputs are logits for labels, the values themselves for
    numbers:

    classes     (N, ...) with C classes along the goal's axis against integers (N, ...), negative
                where there is no label; of the target's size for two classes
    multilabel  (N, L) against 0 to 1
    regression  any shape, squared error in the goal's unit
    """

    goals: tuple[Goal, ...]
    distill: float
    temperature: float

    def loss(
        self,
        outputs: Sequence[Tensor],
        targets: Sequence[Tensor],
        teacher: Sequence[Tensor] | None,
    ) -> Tensor:
        """Mean over the batch's labels or numbers; ``teacher`` None where nothing is distilled."""
        taught = outputs if teacher is None else teacher
        losses = list(map(self._loss, self.goals, outputs, targets, taught))
        return losses[0] if len(losses) == 1 else torch.stack(losses).mean()

    def _loss(self, goal: Goal, output: Tensor, target: Tensor, taught: Tensor) -> Tensor:
        places = _labelled(goal, target)
        rows = _rows(goal, output, target, places)
        if not len(rows):
            return rows.sum()  # no place of the batch has a label
        wanted = target if places is None else target[places]
        if self.distill == 0:
            return _against_labels(goal, rows, wanted)
        distilled = self._against_teacher(goal, rows, _rows(goal, taught, target, places))
        if self.distill == 1:
            return distilled
        return torch.lerp(_against_labels(goal, rows, wanted), distilled, self.distill)

    def _against_teacher(self, goal: Goal, rows: Tensor, taught: Tensor) -> Tensor:
        if goal.task == "regression":
            return F.mse_loss(rows, taught) / goal.unit
        soft, wanted = rows / self.temperature, taught / self.temperature
        if goal.task == "multilabel" or rows.shape[1] == 1:
            likely = torch.sigmoid(wanted)
            least = F.binary_cross_entropy_with_logits(wanted, likely)
            loss = F.binary_cross_entropy_with_logits(soft, likely) - least
        else:
            p, q = F.log_softmax(wanted, 1), F.log_softmax(soft, 1)
            loss = F.kl_div(q, p, log_target=True, reduction="batchmean")
        return self.temperature**2 * loss


def _against_labels(goal: Goal, rows: Tensor, wanted: Tensor) -> Tensor:
    if goal.task == "regression":
        return F.mse_loss(rows, wanted.reshape(rows.shape)) / goal.unit
    if goal.task == "multilabel" or rows.shape[1] == 1:
        return F.binary_cross_entropy_with_logits(rows, wanted.reshape(rows.shape).to(rows.dtype))
    return F.cross_entropy(rows, wanted.reshape(-1))


def _labelled(goal: Goal, target: Tensor) -> Tensor | None:
    """Which places have a label; None where all have one."""
    if goal.task != "classes" or target.ndim == 1:
        return None
    places = target >= 0
    return None if places.all() else places


def _rows(goal: Goal, output: Tensor, target: Tensor, places: Tensor | None) -> Tensor:
    """One row a sample; of classes one for each label that is there: (labels, classes or 1)."""
    if goal.task != "classes":
        return output.reshape(len(output), -1)
    if output.numel() != target.numel() and goal.axis is not None:
        output = output.movedim(goal.axis, -1)
    rows = output.reshape(target.numel(), -1)
    return rows if places is None else rows[places.reshape(-1)]
