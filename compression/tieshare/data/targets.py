"""What the target means for a model's output: classes, several labels, or numbers.

1. Integers are class numbers, from 0 on: one a sample, or one a place (a pixel, a step). They have
   the shape of the output without its axis of classes. Where the graph does not tell that axis,
   the shapes do; where two would do, it is axis 1 of an output with four axes or more.
2. Where the output has one value a label it is a sigmoid's: there are two classes.
3. With one label a place, a negative one says that there is none; it counts nowhere.
4. Floats, as many a sample as the output has, are numbers to be met (regression).
5. The recipe's task may say more: "multilabel" for values in [0, 1] of the output's shape,
   "regression" for integers that are numbers and not classes.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np

from tieshare.data.dataset import Array, ArrayCard
from tieshare.data.shapes import Shape, filled, scrambles, text, without_ones
from tieshare.data.specs import Axes, OutputSpec
from tieshare.errors import DataMismatch
from tieshare.recipe import TaskName

Task = Literal["classes", "multilabel", "regression"]

NO_LABEL = -100
"""What every negative label becomes."""

_IMAGE_AXES = 3  # of one sample: channels, height, width


@dataclass(frozen=True)
class Meaning:
    """The task; ``shape`` of one sample's target.

    ``classes``: their number, ``axis``: of one sample of the output, along which they lie. Both
    are None for another task, the axis also where the output has none.
    """

    task: Task
    shape: Shape
    classes: int | None = None
    axis: int | None = None


@dataclass(frozen=True)
class Goal:
    """What one output is trained towards.

    ``axis``  along which the classes lie, batch included.
    ``unit``  squared errors are counted in it. It is 1 for an only goal; among several the
              variance of the target, so that 1 is the error of a model that knows nothing.
    """

    output: str
    task: Task
    classes: int | None
    axis: int | None
    unit: float = 1.0


def meaning_of(
    card: ArrayCard, values: tuple[float, float], output: OutputSpec, asked: TaskName
) -> Meaning:
    """What a target array with values in this range means.

    DataMismatch: the rules above give it no meaning.
    """
    whole = np.dtype(card.dtype).kind in "biu"
    if asked == "classes" and not whole:
        raise _mismatch(
            card,
            f"has dtype {card.dtype} and shape {card.shape}; classes are integers of shape "
            f"{_accepted(card, output)}",
        )
    if asked == "classes" or (asked == "auto" and whole):
        return _classes(card, values, output)
    shape = _shape(card, output, asked)
    if asked == "multilabel" and not (values[0] >= 0 and values[1] <= 1):
        raise _mismatch(card, f"has values from {values[0]} to {values[1]}; labels are in [0, 1]")
    if max(abs(values[0]), abs(values[1])) > float(np.finfo(np.float32).max):
        raise _mismatch(card, f"has values from {values[0]} to {values[1]}, beyond float32")
    return Meaning("multilabel" if asked == "multilabel" else "regression", shape)


def as_target(array: Array, meaning: Meaning) -> Array:
    """Class numbers (n, *shape) int64, NO_LABEL where there is none, or floats (n, *shape)."""
    shaped = array.reshape(len(array), *meaning.shape)
    if meaning.task != "classes":
        return shaped.astype(np.float32)
    labels = shaped.astype(np.int64)
    labels[labels < 0] = NO_LABEL
    return labels


def _classes(card: ArrayCard, values: tuple[float, float], output: OutputSpec) -> Meaning:
    axis, shape = _places(card, output)
    axes = output.axes
    width = None if axes is None else 1 if axis is None else axes[axis]
    known = isinstance(width, int)
    classes = max(width, 2) if isinstance(width, int) else int(values[1]) + 1
    least = 0 if math.prod(shape) == 1 else -math.inf
    if not least <= values[0] <= values[1] < classes or values[1] < 0:
        upper = f"0 to {classes - 1}" if known else "class numbers from 0 on"
        none = "" if least == 0 else ", and negative ones where there is no label"
        raise _mismatch(
            card,
            f"has labels from {values[0]} to {values[1]}; the model's output takes {upper}{none}",
        )
    return Meaning("classes", shape, classes, axis)


def _places(card: ArrayCard, output: OutputSpec) -> tuple[int | None, Shape]:
    """The axis of the classes, and the shape of one sample's labels."""
    label, axes = card.shape[1:], output.axes
    if not axes:  # one unit, or an output of unknown shape
        if axes is None or math.prod(label) == 1:
            return None, () if math.prod(label) == 1 else label
        raise _no_classes(card, output)
    fitting: Mapping[int, Shape] = {
        axis: shape
        for axis in _axes_of_classes(output)
        if (shape := without_ones(_without(axes, axis), label)) is not None
    }
    if not fitting:
        raise _no_classes(card, output)
    image = len(axes) >= _IMAGE_AXES and 0 in fitting
    if len(fitting) > 1 and not image:
        raise _mismatch(
            card,
            f"has labels of shape {text(label)} a sample, and any axis of the model's output "
            f"{output.name!r}, which has {text(axes)}, could be that of the classes: end the "
            "model in a Softmax along it",
        )
    axis = 0 if image else next(iter(fitting))
    return axis, fitting[axis]


def _axes_of_classes(output: OutputSpec) -> range:
    """Those of a sample that can be the axis of classes."""
    if output.axis is not None:
        return range(output.axis, output.axis + 1)
    return range(len(output.axes or ()))


def _without(axes: Axes, axis: int) -> Axes:
    return axes[:axis] + axes[axis + 1 :]


def _no_classes(card: ArrayCard, output: OutputSpec) -> DataMismatch:
    return _mismatch(
        card,
        f"has integers of shape {card.shape}; for the model's output {output.name!r} of "
        f"{text(output.axes or ())} a sample class numbers have shape {_accepted(card, output)}, "
        'and for other integers the recipe names the task "multilabel" or "regression"',
    )


def _accepted(card: ArrayCard, output: OutputSpec) -> str:
    """The shapes that class numbers for this output can have."""
    found = [_without(output.axes or (), axis) for axis in _axes_of_classes(output)] or [()]
    return " or ".join(dict.fromkeys(text((card.shape[0], *places)) for places in found))


def _shape(card: ArrayCard, output: OutputSpec, asked: TaskName) -> Shape:
    """Of one sample's numbers: the output's."""
    sample, axes = card.shape[1:], output.axes
    shape = sample if axes is None else filled(axes, sample)
    gives = f"has samples of shape {text(sample)}; the model's output {output.name!r} has"
    if shape is None:
        needed = "classes would be integers" if asked == "auto" else f"{asked} needs the same"
        raise _mismatch(card, f"{gives} {text(axes or ())}, and {needed}")
    if scrambles(sample, shape):
        raise _mismatch(
            card,
            f"{gives} {text(axes or ())}: transpose the array, reshaping would scramble it",
        )
    return shape


def _mismatch(card: ArrayCard, what: str) -> DataMismatch:
    return DataMismatch(f"array {card.name!r} {what}", where=card.name)
