"""The outputs that training can work on."""

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
    """A graph output that a loss can be put on.

    ``output``      the graph output.
    ``logits``      the value before ``activation``, or the output itself where there is none.
    ``activation``  "sigmoid_pair" is (1 - s, s) with s the sigmoid of one logit, as skl2onnx
                    writes two classes: ``logits`` then has one column and not two.
    ``shape``       of one sample of the output; a name or None for a free axis.
    ``axis``        of the whole output, batch included: along it lie the classes of one label.
                    The softmax tells, or the layer behind the output; None where neither does.
    """

    output: str
    logits: str
    activation: Activation | None
    shape: tuple[int | str | None, ...]
    axis: int | None


def find_heads(model: ModelProto) -> tuple[Head, ...]:
    """The float outputs; outputs of labels beside them are left alone.

    Where there are several, one whose shape is not known is left alone as well.
    UnsupportedModel: no output is a float tensor, or the shape of none is known.
    """
    floats = [item for item in model.graph.output if item.type.tensor_type.elem_type in _FLOATS]
    if not floats:
        found = ", ".join(item.name for item in model.graph.output) or "none"
        raise UnsupportedModel(
            f"no output is a tensor of floats (outputs: {found}); "
            "convert a scikit-learn classifier with zipmap=False"
        )
    seen = view(model)
    shapes = {item.name: _shape(model, item.name) for item in floats}
    heads = tuple(_head(name, shape, seen) for name, shape in shapes.items() if shape is not None)
    if not heads:
        name = floats[0].name
        raise UnsupportedModel(f"the shape of output {name!r} is not known", where=name)
    return heads


def find_head(model: ModelProto) -> Head:
    """The head of a model that has one.

    UnsupportedModel: what ``find_heads`` raises, or there are several.
    """
    heads = find_heads(model)
    if len(heads) > 1:
        names = ", ".join(head.output for head in heads)
        raise UnsupportedModel(f"several outputs are float tensors: {names}", where=heads[1].output)
    return heads[0]


def _head(output: str, shape: tuple[int | str | None, ...], seen: View) -> Head:
    rank, last = 1 + len(shape), _made_by(output, seen)
    if last is not None and last.operator in _SOFTMAX:
        axis = _softmax_axis(last, rank)
        if axis is not None:
            return Head(output, last.inputs[0], _SOFTMAX[last.operator], shape, axis)
    logits, activation = _before_sigmoid(output, last, seen)
    return Head(output, logits, activation, shape, _layer_axis(logits, rank, seen))


def _shape(model: ModelProto, output: str) -> tuple[int | str | None, ...] | None:
    """As it follows from the nodes, with the names that the file declares for free axes."""
    shape = sample_shape(model, output)
    (declared,) = (item.type.tensor_type for item in model.graph.output if item.name == output)
    names = [dim.dim_param or None for dim in declared.shape.dim][1:]
    if shape is None or len(names) != len(shape):
        return shape
    return tuple(name if axis is None else axis for axis, name in zip(shape, names, strict=True))


def _before_sigmoid(output: str, last: Node | None, seen: View) -> tuple[str, Activation | None]:
    if last is not None and last.operator == "Sigmoid":
        return last.inputs[0], "sigmoid"
    if last is not None and last.operator == "Concat" and len(last.inputs) == 2:
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


def _softmax_axis(softmax: Node, rank: int) -> int | None:
    """The one axis that it normalises over, if it is not the batch's.

    Before opset 13 it normalises over all axes from the given one on.
    """
    axis: int = softmax.attributes.get("axis", -1 if softmax.opset >= 13 else 1) % rank
    return axis if axis == rank - 1 or (axis and softmax.opset >= 13) else None


def _layer_axis(logits: str, rank: int, seen: View) -> int | None:
    """The axis of the units of the layer that makes the logits; a bias is looked through."""
    node = _made_by(logits, seen)
    if node is not None and node.operator == "Add":
        computed = [value for value in node.inputs if value not in seen.constants]
        node = _made_by(computed[0], seen) if len(computed) == 1 else None
    if node is None or rank < 2:
        return None
    if node.operator in ("Conv", "ConvTranspose"):
        return 1
    return rank - 1 if node.operator in ("Gemm", "MatMul") else None


def _is_complement(pair: Node, seen: View) -> bool:
    """Whether the first half of the pair is 1 minus the second, side by side along axis 1."""
    first = _made_by(pair.inputs[0], seen)
    if first is None or first.operator != "Sub" or pair.attributes.get("axis") not in (1, -1):
        return False
    one = first.known[0]
    return (
        one is not None and one.size == 1 and one.item() == 1 and first.inputs[1] == pair.inputs[1]
    )
