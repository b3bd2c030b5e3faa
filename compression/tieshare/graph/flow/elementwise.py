"""Operators that treat all elements alike, and those that combine values element by element."""

from collections.abc import Sequence

from tieshare.graph.flow.values import Axis, Value
from tieshare.graph.flow.walk import Crossing
from tieshare.graph.shapes import Shape

# A slice of zeros stays one, and nothing is moved: a weight behind these is the same weight.
KEEPS_ZERO = frozenset({"Cast", "CastLike", "Identity", "Neg"})

UNARY = frozenset(
    {
        *KEEPS_ZERO,
        *("Abs", "Acos", "Acosh", "Asin", "Asinh", "Atan", "Atanh", "Ceil", "Celu", "Clip"),
        *("Cos", "Cosh", "Dropout", "Elu", "Erf", "Exp", "Floor", "Gelu", "HardSigmoid"),
        *("HardSwish", "IsInf", "IsNaN", "LeakyRelu", "Log", "Mish", "Not", "Reciprocal", "Relu"),
        *("Round", "Selu", "Shrink", "Sigmoid", "Sign", "Sin", "Sinh", "Softplus", "Softsign"),
        *("Sqrt", "Swish", "Tan", "Tanh", "ThresholdedRelu"),
    }
)

BROADCAST = frozenset(
    {
        *("Add", "And", "Div", "Equal", "Greater", "GreaterOrEqual", "Less", "LessOrEqual"),
        *("Max", "Mean", "Min", "Mod", "Mul", "Or", "PRelu", "Pow", "Sub", "Sum"),
        *("SwiGLU", "Where", "Xor"),
    }
)


def unary(here: Crossing) -> Sequence[Value]:
    """The units of the first input; of a Dropout, in its mask too. Other inputs are numbers."""
    value, *options = here.inputs
    if here.node.operator != "CastLike":
        here.walk.hold(*options)
    keeps = here.node.operator in KEEPS_ZERO
    axes = {place: axis if keeps else Axis(axis.ids) for place, axis in value.axes.items()}
    return [Value(value.shape, axes)] * len(here.node.outputs)


def broadcast(here: Crossing) -> Sequence[Value]:
    """Values beside each other have the same units; one of length 1 is the same for all."""
    values = [value for slot, value in enumerate(here.inputs) if here.node.has(slot)]
    shape = _joint([value.shape for value in values])
    if shape is None:
        return here.hold()
    axes = {}
    for place, length in enumerate(shape):
        beside = []
        for value in values:
            own = place - (len(shape) - len(value.shape))
            if own >= 0 and value.shape[own] == length:
                beside.append(value.axes.get(own))
        axis = here.walk.meet(beside)
        if axis is not None:
            axes[place] = axis
    return [Value(shape, axes)]


def _joint(shapes: Sequence[Shape]) -> Shape | None:
    """The shape that these broadcast to; None where they don't."""
    rank = max(map(len, shapes))
    padded = [(1,) * (rank - len(shape)) + shape for shape in shapes]
    lengths = [set(column) - {1} for column in zip(*padded, strict=True)]
    if any(len(found) > 1 for found in lengths):
        return None
    return tuple(found.pop() if found else 1 for found in lengths)
