"""The output that training works on."""

from dataclasses import dataclass
from typing import Literal

from onnx import ModelProto, TensorProto

from tieshare.errors import UnsupportedModel
from tieshare.graph.shapes import sample_shape
from tieshare.graph.view import Node, View, view

Activation = Literal["softmax", "log_softmax", "sigmoid", "sigmoid_pair"]

_FLOATS = (TensorProto.FLOAT, TensorProto.DOUBLE, TensorProto.FLOAT16)
_SOFTMAX: dict[str, Activation] = {"Softmax": "softmax", "LogSoftmax": "log_softmax"}


@dataclass(frozen=True)
class Head:
    """The graph output a loss is put on.

    ``output``      the graph output.
    ``logits``      the value before ``activation``, or the output itself where there is none.
    ``activation``  "sigmoid_pair" is (1 - s, s) with s the sigmoid of one logit, as skl2onnx
                    writes two classes: ``logits`` then has one column and not two.
    ``shape``       of one sample of the output; None for a free axis.
    """

    output: str
    logits: str
    activation: Activation | None
    shape: tuple[int | None, ...]


def find_head(model: ModelProto) -> Head:
    """The one float output; outputs of labels beside it are left alone.

    UnsupportedModel: no output is a float tensor, or several are.
    """
    floats = [item for item in model.graph.output if item.type.tensor_type.elem_type in _FLOATS]
    if not floats:
        found = ", ".join(item.name for item in model.graph.output) or "none"
        raise UnsupportedModel(
            f"no output is a tensor of floats (outputs: {found}); "
            "convert a scikit-learn classifier with zipmap=False"
        )
    if len(floats) > 1:
        names = ", ".join(item.name for item in floats)
        raise UnsupportedModel(f"several outputs are float tensors: {names}", where=floats[1].name)
    output = floats[0].name
    shape = sample_shape(model, output)
    if shape is None:
        raise UnsupportedModel(f"the shape of output {output!r} is not known", where=output)
    logits, activation = _before_activation(output, 1 + len(shape), view(model))
    return Head(output, logits, activation, shape)


def _before_activation(output: str, rank: int, seen: View) -> tuple[str, Activation | None]:
    last = _made_by(output, seen)
    if last is None:
        return output, None
    if last.operator in _SOFTMAX and _spans_classes(last, rank):
        return last.inputs[0], _SOFTMAX[last.operator]
    if last.operator == "Sigmoid":
        return last.inputs[0], "sigmoid"
    if last.operator == "Concat" and len(last.inputs) == 2:
        sigmoid = _made_by(last.inputs[1], seen)
        if sigmoid is not None and sigmoid.operator == "Sigmoid" and _is_complement(last, seen):
            return sigmoid.inputs[0], "sigmoid_pair"
    return output, None


def _made_by(value: str, seen: View) -> Node | None:
    """The node behind a value, Identity nodes looked through."""
    node = seen.producers.get(value)
    while node is not None and node.operator == "Identity":
        node = seen.producers.get(node.inputs[0])
    return node


def _spans_classes(softmax: Node, rank: int) -> bool:
    """Whether it normalises over axis 1 or the last axis alone; before opset 13 over all behind."""
    axis = softmax.attributes.get("axis", -1 if softmax.opset >= 13 else 1) % rank
    return axis == rank - 1 or (axis == 1 and softmax.opset >= 13)


def _is_complement(pair: Node, seen: View) -> bool:
    """Whether the first half of the pair is 1 minus the second, side by side along axis 1."""
    first = _made_by(pair.inputs[0], seen)
    if first is None or first.operator != "Sub" or pair.attributes.get("axis") not in (1, -1):
        return False
    one = first.known[0]
    return (
        one is not None and one.size == 1 and one.item() == 1 and first.inputs[1] == pair.inputs[1]
    )
