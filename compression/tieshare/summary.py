"""From the files of a job to its report: each is scored on the test split and timed."""

import platform
from collections.abc import Collection
from importlib.metadata import version

import numpy as np
from onnx import ModelProto

from tieshare.data import Goal
from tieshare.exports.count import count_dense, count_shared, paper_ratio
from tieshare.exports.rows import read_rows
from tieshare.files import Files
from tieshare.graph import find_heads, tensors, to_rows
from tieshare.graph.tensors import Array
from tieshare.job import Job
from tieshare.measure import latencies, predictions
from tieshare.report import FileReport, FrontPoint, HeldOut, LayerReport, Report
from tieshare.score import Score, at_once, named, score
from tieshare.search import Candidate, Choice, loss_of_score

_WHOLE = 32
_VERSIONS = ("tieshare", "torch", "onnx", "onnxruntime", "numpy")


def summarise(
    job: Job,
    regularised: Collection[str],
    choice: Choice,
    made: Files,
    front: tuple[FrontPoint, ...],
    dense_bytes: int,
) -> Report:
    """Score and time the dense file and those of the chosen point."""
    chosen = choice.chosen
    dense = count_dense(job.model)
    models = {"baseline": job.model, "tied": made.tied}
    models |= {"shared": made.shared.model, "packed": made.packed}
    small = count_shared(made.shared.model, dense.parameters)
    counts = {"baseline": dense, "tied": job.count(made.tied), "shared": small, "packed": small}
    timed = latencies(models, job.samples)
    files = {
        name: FileReport.of(
            dense_bytes if name == "baseline" else model.ByteSize(),
            counts[name],
            _test_score(job, model),
            timed[name],
        )
        for name, model in models.items()
    }
    return Report(
        **files,
        paper_ratio=paper_ratio(chosen.tied, job.structure, regularised),
        layers=_layers(job, made),
        front=front,
        held_out=_held_out(job, chosen),
        recipe=job.recipe.to_dict() | _filled_in(job),
        seeds={"recipe": job.recipe.seed},
        versions={name: version(name) for name in _VERSIONS}
        | {"python": platform.python_version()},
        notes=_notes(job, choice, files["baseline"]),
    )


def _test_score(job: Job, model: ModelProto) -> Score:
    goals, test = job.splits.goals, job.splits.test
    outputs = [goal.output for goal in goals]
    answers = predictions(model, outputs, test.inputs, at_once(goals, test.targets))
    thresholds = [0.0 if head.activation is None else 0.5 for head in job.heads]
    found = score(goals, test.targets, answers, thresholds)
    return Score(**named(goals, float(found.mean())))


def _layers(job: Job, made: Files) -> tuple[LayerReport, ...]:
    values = tensors(made.tied)
    choices = {choice.layer: choice for choice in made.shared.choices}
    reports = []
    for layer in job.structure.layers:
        rows = read_rows(to_rows(layer, values[layer.weight]))
        choice = choices[layer.name]
        reports.append(
            LayerReport(
                name=layer.name,
                operator=layer.operator,
                rows=layer.rows,
                columns=layer.columns,
                alive=len(rows.alive),
                clusters=rows.clusters,
                form=choice.form,
                reason=choice.reason,
                bits=made.bits.get(layer.name, _WHOLE),
            )
        )
    return tuple(reports)


def _held_out(job: Job, chosen: Candidate) -> HeldOut:
    lost, error = loss_of_score(job.dense, chosen.right, relative=job.relative)
    named = job.trainer.named(chosen.score)
    return HeldOut(samples=len(chosen.right), drop=lost, standard_error=error, **named)


def _filled_in(job: Job) -> dict[str, object]:
    return {
        "path_epochs": job.plan.path_epochs,
        "retrain_epochs": job.plan.retrain_epochs,
        "batch_size": job.plan.batch,
        "task": job.splits.task,
    }


def _notes(job: Job, choice: Choice, baseline: FileReport) -> tuple[str, ...]:
    notes = []
    if not choice.reached:
        notes.append(
            "the path ended before the target was reached: this is its smallest point"
            if job.recipe.target.front is None and job.recipe.target.max_drop is None
            else "nothing smaller that was tried keeps to max_drop: this is the uploaded network"
        )
    if choice.chosen.unsettled:
        notes.append(
            "affinity propagation did not settle, and the best of what it passed through was "
            f"taken, in {', '.join(choice.chosen.unsettled)}"
        )
    if job.rearmed.norms:
        notes.append(
            f"batch normalisation was put back while training, behind {len(job.rearmed.norms)} "
            "layers, and folded into them again: without it only small steps are stable"
        )
    if _fewer_than_one_label(job):
        notes.append(
            f"{len(job.dense)} held-out samples can't tell so small a loss as max_drop: add more "
            "of them as x_val and y_val"
        )
    notes += [
        f"the target of output {goal.output!r} looks like classes, one-hot as floats, and was "
        "taken for regression: integers are taken for classes"
        for goal, target in zip(job.splits.goals, job.splits.train.targets, strict=True)
        if _looks_one_hot(goal, target)
    ]
    notes += [
        f"output {head.output!r} has no target: nothing keeps it as it was"
        for head in find_heads(job.model)
        if head.logits not in [trained.logits for trained in job.heads]
    ]
    if job.splits.task == "classes":
        right = float(job.dense.mean())
        commonest = float(np.mean([_commonest(y) for y in job.splits.held_out.targets]))
        if right <= commonest < 1:
            notes.append(
                f"the uploaded model is right on {100 * right:.1f} % of the held-out samples, no "
                f"better than the commonest class alone, {100 * commonest:.1f} %: does it expect "
                "inputs of another scale (uint8 is multiplied by the recipe's scale) or another "
                "order of the classes?"
            )
    if baseline.accuracy is not None and job.splits.task != "auto":
        ahead = float(job.dense.mean()) - baseline.accuracy
        noise = float(job.dense.std()) / len(job.dense) ** 0.5
        noise += (baseline.accuracy * (1 - baseline.accuracy) / len(job.splits.test)) ** 0.5
        if ahead > 2 * noise:
            notes.append(
                f"the uploaded model is {100 * ahead:.1f} points better on the held-out samples "
                "than on the test split: it was probably trained on them, and the loss of "
                "accuracy is overstated. Add x_val and y_val that it has not seen: the result "
                "can then be smaller"
            )
    return tuple(notes)


def _fewer_than_one_label(job: Job) -> bool:
    drop = job.recipe.target.max_drop
    labels = sum(np.count_nonzero(target >= 0) for target in job.splits.held_out.targets)
    return drop is not None and not job.relative and 0 < drop * labels < 1


def _commonest(target: Array) -> float:
    """The share of the commonest class among the labels."""
    labels = target[target >= 0]
    return float(np.bincount(labels).max() / len(labels)) if len(labels) else 0.0


def _looks_one_hot(goal: Goal, target: Array) -> bool:
    if goal.task != "regression" or target.ndim != 2 or target.shape[1] < 2:
        return False
    return bool(np.isin(target, (0, 1)).all() and (target.sum(axis=1) == 1).all())
