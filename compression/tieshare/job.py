"""What all steps of one job share."""

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from onnx import ModelProto
from onnxruntime.capi.onnxruntime_pybind11_state import Fail, InvalidArgument, RuntimeException

from tieshare.checkpoint import Checkpoints
from tieshare.data import Goal, Splits
from tieshare.device import chosen
from tieshare.errors import DataMismatch, TwinMismatch
from tieshare.exports.count import Counts, count_tied
from tieshare.exports.macs import macs
from tieshare.graph import Head, Structure, find_heads, structure_of
from tieshare.graph.tensors import Array, tensors
from tieshare.measure import predictions
from tieshare.objective import Objective
from tieshare.plan import Plan, plan
from tieshare.prior import copies_of, read_once, with_copies, with_equal
from tieshare.progress import Narrator
from tieshare.rearm import Rearmed, rearm
from tieshare.recipe import Recipe
from tieshare.score import is_error
from tieshare.teacher import taught_by
from tieshare.trainer import Trainer, load, run
from tieshare.twin import Twin, from_onnx

_TWIN_TOLERANCE = 1e-3
_PROBED = 32
_MISFITS = (Fail, InvalidArgument, RuntimeException)  # of ONNX Runtime, while a graph runs


@dataclass(frozen=True, eq=False)
class Job:
    """One uploaded model, its data and its recipe; what follows from them is worked out once."""

    model: ModelProto
    splits: Splits
    recipe: Recipe
    checkpoints: Checkpoints
    narrator: Narrator

    @cached_property
    def device(self) -> torch.device:
        """Where training runs. RecipeError: it asks for a GPU that is not there."""
        return chosen(self.recipe.device)

    @cached_property
    def plan(self) -> Plan:
        """How long to train, and how."""
        parameters = sum(array.size for array in tensors(self.model).values())
        counted = macs(self.model, self.samples)
        on_gpu = self.device.type != "cpu"
        return plan(self.recipe, len(self.splits.train), counted, parameters, on_gpu=on_gpu)

    @cached_property
    def rearmed(self) -> Rearmed:
        """The model with what the recipe ties equal, and with batch norms that it had once."""
        model, inputs = with_equal(self.model, self.recipe), self.splits.train.inputs
        asked = self.recipe.learning_rate
        return rearm(model, self.values, self.trainer, inputs, self.checkpoints, asked)

    @property
    def start(self) -> ModelProto:
        """Where training begins."""
        return self.rearmed.model

    @property
    def rate(self) -> float | None:
        """Of learning, on the path; None where it is still to be found."""
        return self.recipe.learning_rate or self.rearmed.rate

    @cached_property
    def structure(self) -> Structure:
        """The layers and links of ``start``."""
        return structure_of(self.start)

    @cached_property
    def copies(self) -> dict[str, str]:
        """From each tensor that another one stands for in ``start`` to that one."""
        return copies_of(self.model, self.recipe.tie_groups)

    def tied_file(self, made: ModelProto) -> ModelProto:
        """The uploaded graph with the values of ``made``, which has the nodes of ``start``."""
        return with_copies(self.model, self.rearmed.folded(made), self.copies)

    def read_once(self, file: ModelProto) -> ModelProto:
        """The way back from ``tied_file``: what the shared file is made from."""
        return read_once(file, self.copies)

    def count(self, made: ModelProto) -> Counts:
        """What is left of the model's parameters in ``made``, which has the nodes of ``start``."""
        return count_tied(self.tied_file(made), self.structure, self.copies)

    @cached_property
    def heads(self) -> tuple[Head, ...]:
        """Of the outputs that are trained, in the order of the goals."""
        found = {head.output: head for head in find_heads(self.model)}
        return tuple(found[goal.output] for goal in self.splits.goals)

    @property
    def values(self) -> list[str]:
        """What the losses are put on: logits for labels, the output itself for numbers."""
        return [
            head.output if goal.task == "regression" else head.logits
            for goal, head in zip(self.splits.goals, self.heads, strict=True)
        ]

    @cached_property
    def trainer(self) -> Trainer:
        """The data, with the uploaded model as the teacher."""
        recipe, plan = self.recipe, self.plan
        splits = self.splits
        train, held_out = (load(one, self.device) for one in (splits.train, splits.held_out))
        objective = Objective(splits.goals, recipe.distill, recipe.temperature)
        uploaded = self.twin(self.model)
        teacher = taught_by(
            uploaded, train, objective, recipe.augment, plan.path_epochs, self.checkpoints
        )
        return Trainer(train, held_out, objective, plan.batch, teacher, recipe.augment)

    @cached_property
    def dense(self) -> NDArray[np.float64]:
        """(held out,) how well the uploaded model answers each held-out sample."""
        return self.trainer.right(self.twin(self.model))

    @property
    def relative(self) -> bool:
        """Whether a loss of score is a fraction of the score, as it is for squared errors."""
        return is_error(self.splits.goals)

    @property
    def samples(self) -> list[Array]:
        """A few real samples, one array an input, to compare and time files on."""
        return [array[:_PROBED] for array in self.splits.held_out.inputs]

    def twin(self, model: ModelProto) -> Twin:
        """A twin that ends at ``values``, where training runs."""
        return from_onnx(model, self.values).to(self.device)


def check_outputs(job: Job) -> None:
    """Raise DataMismatch where the uploaded model can't be run on the data.

    Or where its outputs don't have the shapes of the targets: those of free axes show only now.
    """
    for goal, output, targets in zip(
        job.splits.goals, _expected(job), job.splits.held_out.targets, strict=True
    ):
        samples, target = len(job.samples[0]), targets.shape[1:]
        if len(output) != samples or not _suits(goal, output.shape[1:], target):
            raise DataMismatch(
                f"output {goal.output!r} of the model has shape {output.shape} for {samples} "
                f"samples, which does not suit targets of shape {target}",
                where=goal.output,
            )


def check_twin(job: Job) -> None:
    """Raise TwinMismatch where the twin and ONNX Runtime differ by 1e-3 of the largest output.

    Training a twin that computes something else would compress another network.
    """
    outputs = [goal.output for goal in job.splits.goals]
    twin = from_onnx(job.model, outputs)
    (found,) = run(twin, [torch.from_numpy(array) for array in job.samples], _PROBED)
    for output, answer, expected in zip(outputs, found, _expected(job), strict=True):
        difference = np.abs(answer.numpy() - expected).max() / max(np.abs(expected).max(), 1e-12)
        if not difference <= _TWIN_TOLERANCE:
            raise TwinMismatch(
                f"output {output!r} of the trainable twin differs from ONNX Runtime's "
                f"by {difference:.1e} of its largest entry",
                where=output,
            )


def _expected(job: Job) -> list[Array]:
    """What the uploaded model answers to the samples."""
    outputs = [goal.output for goal in job.splits.goals]
    try:
        chunks = list(predictions(job.model, outputs, job.samples))
    except _MISFITS as error:
        raise DataMismatch(f"the model can't be run on the data: {error}") from error
    return [np.concatenate(parts) for parts in zip(*chunks, strict=True)]


def _suits(goal: Goal, sample: tuple[int, ...], target: tuple[int, ...]) -> bool:
    single = math.prod(sample) == math.prod(target)
    if goal.task != "classes" or goal.axis is None:
        return single
    axis = goal.axis - 1
    return sample[:axis] + sample[axis + 1 :] == target and (
        single or sample[axis] >= (goal.classes or 0)
    )
