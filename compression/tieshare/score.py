"""How good outputs are: one rule for logits while training and for the outputs of a file.

labels      a sample's right labels / labels a sample has on average, so that the mean over
            samples is the share of all labels that are right
numbers     minus the mean squared error, in the goal's unit
several     the mean over the goals. Among labels a goal of numbers counts as 1 - its error,
            the coefficient of determination R^2, which like an accuracy is 1 at its best
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tieshare.data import Goal

Array = NDArray[Any]
Scores = NDArray[np.float64]

_MOST_AT_ONCE = 1 << 25  # numbers of outputs, 128 MiB of float32
_MOST_SAMPLES = 512


@dataclass(frozen=True)
class Score:
    """Accuracy (a fraction) where any target is labels, else the mean squared error."""

    accuracy: float | None = None
    loss: float | None = None


def named(goals: Sequence[Goal], score: float) -> dict[str, float]:
    """A mean over samples, under the name by which people know it."""
    return {"loss": -score} if is_error(goals) else {"accuracy": score}


def is_error(goals: Sequence[Goal]) -> bool:
    """Whether scores are minus an error, of which a loss is a fraction: all goals are numbers."""
    return all(goal.task == "regression" for goal in goals)


def numbers(goals: Sequence[Goal], targets: Sequence[Array]) -> int:
    """How many numbers the outputs of one sample hold."""
    return sum(
        (goal.classes or 1) * (target.size // len(target))
        for goal, target in zip(goals, targets, strict=True)
    )


def at_once(goals: Sequence[Goal], targets: Sequence[Array]) -> int:
    """Of how many samples all outputs may be in memory."""
    return max(1, min(_MOST_SAMPLES, _MOST_AT_ONCE // numbers(goals, targets)))


def score(
    goals: Sequence[Goal],
    targets: Sequence[Array],
    answers: Iterable[Sequence[Array]],
    thresholds: Sequence[float],
) -> Scores:
    """The score of each sample (n,).

    ``targets``     one array (n, ...) a goal.
    ``answers``     chunk by chunk in the order of the samples, one output a goal.
    ``thresholds``  a goal's single unit says yes above it: 0 for logits, 0.5 for probabilities.
    """
    chunks = []
    start = 0
    for outputs in answers:
        end = start + len(outputs[0])
        chunk = zip(goals, outputs, targets, thresholds, strict=True)
        chunks.append([right(goal, out, y[start:end], at) for goal, out, y, at in chunk])
        start = end
    scores = np.zeros(start)
    for goal, y, parts in zip(goals, targets, zip(*chunks, strict=True), strict=True):
        scores += np.concatenate(parts) / labels(goal, y)
        if goal.task == "regression" and not is_error(goals):
            scores += 1
    return scores / len(goals)


def right(goal: Goal, output: Array, target: Array, threshold: float) -> Scores:
    """Of each sample (n,): how many labels are right, their share, or minus its squared error.

    classes     number of right labels; target (n, ...) integer, negative where there is none.
                Output: the same with an axis of classes, or one unit for each label.
    multilabel  share; output and target (n, labels)
    regression  output and target of one shape
    """
    if goal.task == "regression":
        return -_mean((output.astype(float) - target.reshape(output.shape)) ** 2) / goal.unit
    if goal.task == "multilabel":
        return _mean((output > threshold) == (target.reshape(output.shape) > 0.5))
    if output.size == target.size:
        same = (output > threshold).reshape(target.shape) == target
    else:
        same = np.equal(output.argmax(axis=goal.axis).reshape(target.shape), target)
    return _mean(same) * (target.size // len(target))


def _mean(array: Array) -> Scores:
    """Of each sample (n,)."""
    found: Scores = array.reshape(len(array), -1).mean(axis=1, dtype=float)
    return found


def labels(goal: Goal, target: Array) -> float:
    """What the sum of ``right`` is counted in: the labels of a sample on average, or 1."""
    if goal.task != "classes":
        return 1.0
    return max(np.count_nonzero(target >= 0) / len(target), 1 / len(target))
