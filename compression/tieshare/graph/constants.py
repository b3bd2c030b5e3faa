"""Small constants that a graph computes instead of storing: axes, pads and shapes."""

import math
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from onnx import NodeProto, OperatorSetIdProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from tieshare.graph.tensors import Array

# Longer arrays are weights, which training changes, or not worth the memory.
LONGEST = 64

_GLUE = frozenset(
    {
        *("Add", "Cast", "Ceil", "Concat", "ConstantOfShape", "Div", "Equal", "Floor", "Gather"),
        *("Identity", "Max", "Min", "Mod", "Mul", "Neg", "ReduceProd", "Reshape", "Shape"),
        *("Slice", "Squeeze", "Sub", "Transpose", "Unsqueeze", "Where"),
    }
)


def fold(
    nodes: Iterable[NodeProto], opsets: Sequence[OperatorSetIdProto], stored: Mapping[str, Array]
) -> dict[str, Array]:
    """Values that nodes compute from stored arrays alone, as far as these are short."""
    known = {name: array for name, array in stored.items() if array.size <= LONGEST}
    folded: dict[str, Array] = {}
    for node in nodes:
        if node.op_type in _GLUE and node.domain in ("", "ai.onnx"):
            value = _value(node, known, opsets)
            if value is not None and value.size <= LONGEST:
                folded[node.output[0]] = known[node.output[0]] = value
    return folded


def _value(
    node: NodeProto, known: Mapping[str, Array], opsets: Sequence[OperatorSetIdProto]
) -> Array | None:
    inputs = {name: known[name] for name in node.input if name in known}
    if not inputs or len(inputs) != len(set(node.input)):
        return None
    if node.op_type == "ConstantOfShape" and math.prod(inputs[node.input[0]].tolist()) > LONGEST:
        return None
    graph = helper.make_graph(
        [node],
        "constant",
        [],
        [helper.make_empty_tensor_value_info(node.output[0])],
        [numpy_helper.from_array(array, name) for name, array in inputs.items()],
    )
    try:
        part = helper.make_model(graph, opset_imports=list(opsets))
        (value,) = ReferenceEvaluator(part).run(None, {})
        return np.asarray(value)
    # The evaluator raises whatever numpy does; an unknown constant is a sound answer.
    except Exception:
        return None
