"""What all steps of one job share."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from onnx import ModelProto

from tieshare.checkpoint import Checkpoints
from tieshare.data import Splits
from tieshare.errors import TwinMismatch
from tieshare.graph import Structure, find_head, structure_of
from tieshare.graph.tensors import Array
from tieshare.measure import predict
from tieshare.objective import Objective
from tieshare.plan import Plan, plan
from tieshare.progress import Narrator
from tieshare.recipe import Recipe
from tieshare.trainer import Trainer, run
from tieshare.twin import Twin, from_onnx

_TWIN_TOLERANCE = 1e-3
_PROBED = 32


@dataclass(frozen=True, eq=False)
class Job:
    """One uploaded model, its data and its recipe; what follows from them is worked out once."""

    model: ModelProto
    splits: Splits
    recipe: Recipe
    checkpoints: Checkpoints
    narrator: Narrator

    @cached_property
    def plan(self) -> Plan:
        """How long to train."""
        return plan(self.recipe, len(self.splits.train.target))

    @cached_property
    def structure(self) -> Structure:
        """The model's layers and links."""
        return structure_of(self.model)

    @cached_property
    def value(self) -> str:
        """What the loss is put on: logits for labels, the output itself for regression."""
        head = find_head(self.model)
        return head.output if self.splits.task == "regression" else head.logits

    @cached_property
    def trainer(self) -> Trainer:
        """The data, with the uploaded model as the teacher."""
        objective = Objective(self.splits.task, self.recipe.distill, self.recipe.temperature)
        return Trainer.of(self.twin(self.model), self.splits, objective, self.plan.batch)

    @cached_property
    def dense(self) -> NDArray[np.float64]:
        """(held out,) how well the uploaded model answers each held-out sample."""
        return self.trainer.right(self.twin(self.model))

    @property
    def relative(self) -> bool:
        """Whether a loss of score is a fraction of the score, as it is for squared errors."""
        return self.splits.task == "regression"

    @property
    def samples(self) -> list[Array]:
        """A few real samples, one array an input, to compare and time files on."""
        return [array[:_PROBED] for array in self.splits.held_out.inputs]

    def twin(self, model: ModelProto) -> Twin:
        """A twin that ends at ``value``."""
        return from_onnx(model, [self.value])


def check_twin(job: Job) -> None:
    """Raise TwinMismatch where the twin and ONNX Runtime differ by 1e-3 of the largest output.

    Training a twin that computes something else would compress another network.
    """
    output = find_head(job.model).output
    expected = predict(job.model, output, job.samples)
    twin = from_onnx(job.model, [output])
    found = run(twin, [torch.from_numpy(array) for array in job.samples]).numpy()
    difference = float(np.abs(found - expected).max() / max(np.abs(expected).max(), 1e-12))
    if not difference <= _TWIN_TOLERANCE:
        raise TwinMismatch(
            f"output {output!r} of the trainable twin differs from ONNX Runtime's "
            f"by {difference:.1e} of its largest entry",
            where=output,
        )
