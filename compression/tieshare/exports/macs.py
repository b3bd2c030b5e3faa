"""How many multiplications a file takes for one sample."""

import string
from collections.abc import Callable, Mapping, Sequence
from math import prod

from onnx import ModelProto

from tieshare.exports.probe import inner_values
from tieshare.graph.tensors import Array
from tieshare.graph.view import Node, view
from tieshare.measure import batches_of, feed

Shape = tuple[int, ...]
Shapes = Mapping[str, Shape]
Count = Callable[[Node, Shapes], int]


def macs(model: ModelProto, samples: Sequence[Array] | None = None) -> int:
    """Multiplications in convolutions, products, recurrent cells and attention, for one sample.

    Shapes are those that ONNX Runtime finds for one of ``samples`` (one array an input), or for a
    made one. What is constant is computed when the file is loaded, and not counted. Nor are the
    bodies of loops.
    """
    seen = view(model)
    counted = [
        node
        for node in seen.nodes
        if node.operator in COUNTS and not set(node.outputs) & seen.constants
    ]
    names = {name for node in counted for name in (*node.inputs, *node.outputs)}
    batch, *_ = batches_of(model, (1,))
    made = inner_values(model, feed(model, batch, samples), names - {"", *seen.tensors})
    shapes = {name: array.shape for name, array in {**seen.tensors, **made}.items()}
    return sum(COUNTS[node.operator](node, shapes) for node in counted) // batch


def _convolution(node: Node, shapes: Shapes) -> int:
    """Each output is the sum over a kernel (units, channels, ...)."""
    return prod(shapes[node.outputs[0]]) * prod(shapes[node.inputs[1]][1:])


def _transposed(node: Node, shapes: Shapes) -> int:
    """Each input is spread by a kernel (channels, units, ...)."""
    return prod(shapes[node.inputs[0]]) * prod(shapes[node.inputs[1]][1:])


def _matmul(node: Node, shapes: Shapes) -> int:
    return prod(shapes[node.outputs[0]]) * shapes[node.inputs[0]][-1]


def _gemm(node: Node, shapes: Shapes) -> int:
    summed = 0 if node.setting("transA", default=0) else 1
    return prod(shapes[node.outputs[0]]) * shapes[node.inputs[0]][summed]


def _einsum(node: Node, shapes: Shapes) -> int:
    """One for each value of all letters together; an ellipsis stands for further ones."""
    terms = str(node.setting("equation")).replace(" ", "").split("->")[0].split(",")
    lengths: dict[str, int] = {}
    for term, name in zip(terms, node.inputs, strict=True):
        hidden = len(shapes[name]) - len(term.replace("...", ""))
        letters = term.replace("...", string.digits[10 - hidden :])
        for letter, length in zip(letters, shapes[name], strict=True):
            lengths[letter] = max(length, lengths.get(letter, 1))
    return prod(lengths.values()) * (len(terms) - 1)


def _recurrent(node: Node, shapes: Shapes) -> int:
    """W and R are multiplied at every step of every sample."""
    x, w, r = (shapes[name] for name in node.inputs[:3])
    return prod(x[:2]) * (prod(w) + prod(r))


def _attention(node: Node, shapes: Shapes) -> int:
    """Queries by keys, and what they weigh by values: (N, heads, T, size) or (N, T, all sizes)."""
    query, key, value = (shapes[name] for name in node.inputs[:3])
    size = query[-1]  # of all heads together where there is no axis of heads
    return prod(query[:-1]) * key[-2] * (size + value[-1] * size // key[-1])


COUNTS: Mapping[str, Count] = {
    "Attention": _attention,
    "Conv": _convolution,
    "ConvTranspose": _transposed,
    "Einsum": _einsum,
    "GRU": _recurrent,
    "Gemm": _gemm,
    "LSTM": _recurrent,
    "MatMul": _matmul,
    "RNN": _recurrent,
}
