"""The operators that can be trained, and the one check that refuses all others before any work."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from onnx import ModelProto, defs

from tieshare.errors import UnsupportedOperator
from tieshare.graph.view import Node, view

OLDEST_OPSET = 7
_NEWEST = defs.onnx_opset_version()


@dataclass(frozen=True)
class Operator:
    """What the twin asks of a node.

    ``since``     the first opset that is understood.
    ``settings``  inputs that are options rather than data: their values must be known.
    """

    since: int = OLDEST_OPSET
    settings: tuple[int, ...] = ()


OPERATORS: Mapping[str, Operator] = {
    # layers
    "Conv": Operator(),
    "Gemm": Operator(),
    "MatMul": Operator(),
    # activations
    "Celu": Operator(since=12),
    "Clip": Operator(settings=(1, 2)),
    "Elu": Operator(),
    "Erf": Operator(since=9),
    "Gelu": Operator(since=20),
    "HardSigmoid": Operator(),
    "HardSwish": Operator(since=14),
    "LeakyRelu": Operator(),
    "LogSoftmax": Operator(),
    "Mish": Operator(since=18),
    "PRelu": Operator(),
    "Relu": Operator(),
    "Selu": Operator(),
    "Sigmoid": Operator(),
    "Softmax": Operator(),
    "Softplus": Operator(),
    "Softsign": Operator(),
    "Swish": Operator(since=24),
    "Tanh": Operator(),
    "ThresholdedRelu": Operator(since=10),
    # normalisation
    "BatchNormalization": Operator(),
    "Dropout": Operator(settings=(1, 2)),
    # pooling
    "AveragePool": Operator(),
    "GlobalAveragePool": Operator(),
    "GlobalMaxPool": Operator(),
    "MaxPool": Operator(),
    "ReduceMean": Operator(settings=(1,)),
    # arithmetic
    "Abs": Operator(),
    "Add": Operator(),
    "Div": Operator(),
    "Exp": Operator(),
    "Mul": Operator(),
    "Neg": Operator(),
    "Pow": Operator(),
    "Sqrt": Operator(),
    "Sub": Operator(),
    "ai.onnx.ml.Scaler": Operator(since=1),
    # shapes
    "Cast": Operator(),
    "CastLike": Operator(since=15),
    "Concat": Operator(),
    "ConstantOfShape": Operator(since=9),
    "Expand": Operator(since=8),
    "Flatten": Operator(),
    "Gather": Operator(),
    "Identity": Operator(),
    "Pad": Operator(settings=(1, 2, 3)),
    "Reshape": Operator(),
    "Shape": Operator(),
    "Slice": Operator(settings=(1, 2, 3, 4)),
    "Squeeze": Operator(settings=(1,)),
    "Transpose": Operator(),
    "Unsqueeze": Operator(settings=(1,)),
}


def check_operators(model: ModelProto, outputs: Iterable[str] | None = None) -> None:
    """Raise UnsupportedOperator for the first node that stands in the way of these outputs.

    ``outputs`` None: all of the graph's. Nodes that only serve other outputs are left alone.
    """
    seen = view(model)
    wanted = tuple(seen.outputs if outputs is None else outputs)
    nodes = seen.needed(wanted)
    read = {value for node in nodes for value in node.inputs}.union(wanted)
    for node in nodes:
        reason = _objection(node, read)
        if reason:
            raise UnsupportedOperator(
                node=node.name, operator=node.operator, opset=node.opset, reason=reason
            )


def _objection(node: Node, read: set[str]) -> str | None:
    rule = OPERATORS.get(node.operator)
    if rule is None:
        return "the operator is not known"
    if not rule.since <= node.opset <= _NEWEST:
        return f"it is understood from opset {rule.since} to {_NEWEST}"
    for slot in rule.settings:
        if node.has(slot) and node.known[slot] is None:
            return f"its input {node.inputs[slot]!r} is not a constant"
    for name, value in zip(node.inputs, node.known, strict=True):
        if value is not None and value.dtype.kind not in "biuf":
            return f"its input {name!r} holds {value.dtype}"
    for extra in node.outputs[1:]:
        if extra in read:
            return f"its output {extra!r} is used"
    return _of_its_own(node)


def _of_its_own(node: Node) -> str | None:
    """Conditions of single operators that the table can't say."""
    if node.operator == "Conv" and "kernel_shape" not in node.attributes and node.known[1] is None:
        return "its kernel_shape is left out and its weight is computed"
    if node.operator == "BatchNormalization" and node.setting("spatial", default=1) != 1:
        return "it has statistics for every position (spatial = 0)"
    flag = {"BatchNormalization": None, "Dropout": 2}
    if node.operator in flag and node.setting("training_mode", flag[node.operator]):
        return "it was exported in training mode; export the model in evaluation mode"
    mode = node.setting("mode", default="constant")
    if node.operator == "Pad" and mode not in ("constant", "edge", "reflect"):
        return f"its mode is {mode!r}"
    return None
