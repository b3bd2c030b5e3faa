"""What the target means for a model's output: classes, several labels, or numbers.

1. Integers with one value a sample are class numbers, from 0 on. An output of one value a sample
   is a sigmoid's: there are two classes then.
2. Floats, as many a sample as the output has, are numbers to be met (regression).
3. The recipe's task may say more: "multilabel" for values in [0, 1] of the output's shape,
   "regression" for integers that are numbers and not classes.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypeGuard

import numpy as np

from tieshare.data.dataset import Array, ArrayCard
from tieshare.errors import DataMismatch
from tieshare.recipe import TaskName

Task = Literal["classes", "multilabel", "regression"]

Output = Sequence[int | None] | None
"""The shape of one sample of the model's output; None for a free axis, or where it's unknown."""


@dataclass(frozen=True)
class Meaning:
    """The task; ``classes`` is their number, None for another task."""

    task: Task
    classes: int | None


def meaning_of(
    card: ArrayCard, values: tuple[float, float], output: Output, asked: TaskName
) -> Meaning:
    """What a target array with values in this range means.

    DataMismatch: the rules above give it no meaning.
    """
    whole = np.dtype(card.dtype).kind in "biu"
    single = math.prod(card.shape[1:]) == 1
    task = asked
    if task == "auto":
        task = "classes" if whole and single else "regression"
        if whole and not single:
            raise _mismatch(
                card,
                f"has integers of shape {card.shape}; class numbers have shape "
                f"({card.shape[0]},), and for other integers the recipe names the task "
                '"multilabel" or "regression"',
            )
    if task == "classes":
        return _classes(card, values, output, whole and single)
    _check_shape(card, output, asked)
    if task == "multilabel" and not (values[0] >= 0 and values[1] <= 1):
        raise _mismatch(card, f"has values from {values[0]} to {values[1]}; labels are in [0, 1]")
    if max(abs(values[0]), abs(values[1])) > float(np.finfo(np.float32).max):
        raise _mismatch(card, f"has values from {values[0]} to {values[1]}, beyond float32")
    return Meaning(task, None)


def as_target(array: Array, meaning: Meaning, output: Output) -> Array:
    """Class numbers (n,) int64, or floats (n, *output) float32."""
    if meaning.task == "classes":
        return array.reshape(len(array)).astype(np.int64)
    shaped = array.reshape(len(array), *output) if _known(output) else array
    return shaped.astype(np.float32)


def _classes(
    card: ArrayCard, values: tuple[float, float], output: Output, numbers: bool
) -> Meaning:
    if not numbers:
        raise _mismatch(
            card,
            f"has dtype {card.dtype} and shape {card.shape}; classes are integers of shape "
            f"({card.shape[0]},)",
        )
    if output is not None and len(output) > 1:
        raise _mismatch(
            card,
            f"holds one class a sample, but the model's output has shape {tuple(output)} a sample",
        )
    width = 1 if output == () else output[0] if output else None
    classes = int(values[1]) + 1 if width is None else max(width, 2)
    if not 0 <= values[0] <= values[1] < classes:
        raise _mismatch(
            card,
            f"has labels from {values[0]} to {values[1]}; the model's output takes 0 to "
            f"{classes - 1}",
        )
    return Meaning("classes", classes)


def _check_shape(card: ArrayCard, output: Output, asked: TaskName) -> None:
    if _known(output) and math.prod(card.shape[1:]) != math.prod(output):
        needed = "classes would be integers" if asked == "auto" else f"{asked} needs the same"
        raise _mismatch(
            card,
            f"has samples of shape {card.shape[1:]}; the model's output has {tuple(output)}, and "
            f"{needed}",
        )


def _known(output: Output) -> TypeGuard[Sequence[int]]:
    return output is not None and None not in output


def _mismatch(card: ArrayCard, what: str) -> DataMismatch:
    return DataMismatch(f"array {card.name!r} {what}", where=card.name)
