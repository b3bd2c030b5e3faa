"""The ways to store a layer so that ONNX Runtime runs it: one small function each.

    plain  the weight as it is
    table  each row once; the weight is gathered from them when the file is loaded
    alive  the inputs of alive rows are gathered, then the product is smaller
    sums   the inputs of each cluster are summed (a product with a 0/1 matrix made when the file
           is loaded), then the product is with the rows themselves

A form takes a ``TiedLayer`` and gives a ``Formed``, or None where it does not apply. A new one is
a function and an entry in ``FORMS``. ONNX Runtime folds what depends on stored tensors alone.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from onnx import NodeProto, TensorProto, helper

from tieshare.exports.rows import Ints, Rows
from tieshare.graph.tensors import Array


@dataclass(frozen=True)
class TiedLayer:
    """A layer's node and its weight, which the node reads as its second input.

    ``name``      of the weight; ``row_axis`` of it goes over the inputs.
    ``stem``      no value of the graph is called ``stem.something``: new ones may be.
    ``opset``     of the model that the nodes are written for.
    """

    node: NodeProto
    name: str
    stem: str
    weight: Array
    row_axis: int
    rows: Rows
    opset: int

    @property
    def input_axis(self) -> int:
        """The axis of the activation that goes over the inputs."""
        return 1 if self.node.op_type == "Conv" else -1

    def table(self) -> Array:
        """The weight with one row a cluster."""
        return np.take(self.weight, self.rows.first, axis=self.row_axis)


@dataclass(frozen=True)
class Formed:
    """What takes the node's place.

    ``table`` is the tensor that holds rows of the weight, its axes those of the weight. ``before``
    make values from stored tensors alone; ``nodes`` run at each call, the layer's own
    the last of them.
    """

    table: str
    tensors: Mapping[str, Array]
    nodes: tuple[NodeProto, ...]
    before: tuple[NodeProto, ...] = ()


def is_plain_product(node: NodeProto) -> bool:
    """Whether the node is input times weight along one axis, plus bias, and nothing else."""
    plain = {"group": 1, "transA": 0, "alpha": 1.0, "beta": 1.0}
    return node.op_type in ("Conv", "Gemm", "MatMul") and all(
        helper.get_attribute_value(item) == plain.get(item.name, helper.get_attribute_value(item))
        for item in node.attribute
    )


def plain(layer: TiedLayer) -> Formed | None:
    """The weight as it is."""
    return Formed(layer.name, {layer.name: layer.weight}, (layer.node,))


def table(layer: TiedLayer) -> Formed | None:
    """weight = table[numbers], with a zero row put behind the table where rows are dead."""
    if layer.rows.distinct or not layer.rows.clusters:
        return None
    source = f"{layer.stem}.rows"
    tensors = {source: layer.table()}
    before: list[NodeProto] = []
    if (layer.rows.numbers < 0).any():
        behind = np.zeros(2 * layer.weight.ndim, dtype=np.int64)
        behind[layer.weight.ndim + layer.row_axis] = 1
        padded = f"{source}.padded"
        if layer.opset < 11:
            before.append(helper.make_node("Pad", [source], [padded], pads=behind))
        else:
            tensors[f"{source}.pads"] = behind
            before.append(helper.make_node("Pad", [source, f"{source}.pads"], [padded]))
        source = padded
    numbers = np.where(layer.rows.numbers < 0, layer.rows.clusters, layer.rows.numbers)
    before += _gather(source, layer.name, layer.row_axis, _indices(tensors, layer.stem, numbers))
    return Formed(f"{layer.stem}.rows", tensors, (layer.node,), tuple(before))


def alive(layer: TiedLayer) -> Formed | None:
    """x[alive] @ weight[alive], the alive rows from a table where some are tied."""
    rows = layer.rows
    if len(rows.alive) in (0, len(rows.numbers)):
        return None
    tensors: dict[str, Array] = {}
    picked, weight = f"{layer.stem}.inputs", f"{layer.stem}.alive"
    before = _indices(tensors, picked, rows.alive)
    gather = helper.make_node(
        "Gather", [layer.node.input[0], before[-1].output[0]], [picked], axis=layer.input_axis
    )
    stored = weight if rows.clusters == len(rows.alive) else f"{layer.stem}.rows"
    tensors[stored] = layer.table()
    if stored != weight:
        numbers = _indices(tensors, weight, rows.numbers[rows.alive])
        before += _gather(stored, weight, layer.row_axis, numbers)
    return Formed(stored, tensors, (gather, _reading(layer.node, picked, weight)), tuple(before))


def sums(layer: TiedLayer) -> Formed | None:
    """(x @ M) @ table, M (n, clusters) with a 1 where row i is of cluster j.

    For Conv both products are convolutions, the first with a kernel of size 1.
    """
    rows = layer.rows
    if layer.opset < 9 or layer.weight.dtype != np.float32 or rows.distinct or not rows.clusters:
        return None
    stem, conv = layer.stem, layer.node.op_type == "Conv"
    # A number that is no cluster gives zeros: a dead row is in no sum.
    numbers = np.where(rows.numbers < 0, rows.clusters, rows.numbers)
    kernel = (-1, *[1] * (layer.weight.ndim - 2)) if conv else (-1,)
    tensors = {
        f"{stem}.rows": layer.table(),
        f"{stem}.clusters": np.array(rows.clusters),
        f"{stem}.off_on": np.array([0, 1], dtype=np.float32),
    }
    before = _indices(tensors, stem, numbers.reshape(kernel))
    matrix = f"{stem}.one_hot"
    one_hot = [before[-1].output[0], f"{stem}.clusters", f"{stem}.off_on"]
    before.append(helper.make_node("OneHot", one_hot, [matrix], axis=0 if conv else -1))
    summed = f"{stem}.sums"
    operator = "Conv" if conv else "MatMul"
    product = helper.make_node(operator, [layer.node.input[0], matrix], [summed])
    nodes = product, _reading(layer.node, summed, f"{stem}.rows")
    return Formed(f"{stem}.rows", tensors, nodes, tuple(before))


@dataclass(frozen=True)
class Form:
    """``in_place``: the node reads the weight under its old name, so others may read it too."""

    name: str
    build: Callable[[TiedLayer], Formed | None]
    in_place: bool


FORMS = (  # the simplest first: where two do equally well, the earlier one is taken
    Form("plain", plain, in_place=True),
    Form("table", table, in_place=True),
    Form("alive", alive, in_place=False),
    Form("sums", sums, in_place=False),
)


def _indices(tensors: dict[str, Array], stem: str, numbers: Ints) -> list[NodeProto]:
    """Store whole numbers from 0 in as few bytes as hold them; the node that widens them."""
    dtype = np.min_scalar_type(int(numbers.max()))
    narrow, wide = f"{stem}.numbers", f"{stem}.wide"
    tensors[narrow] = numbers.astype(dtype if dtype.itemsize < 4 else np.int32)
    return [helper.make_node("Cast", [narrow], [wide], to=TensorProto.INT64)]


def _gather(source: str, target: str, axis: int, numbers: list[NodeProto]) -> list[NodeProto]:
    """target = source[numbers] along ``axis``."""
    inputs = [source, numbers[-1].output[0]]
    return [*numbers, helper.make_node("Gather", inputs, [target], axis=axis)]


def _reading(node: NodeProto, activation: str, weight: str) -> NodeProto:
    """``node`` with other first two inputs."""
    changed = NodeProto()
    changed.CopyFrom(node)
    changed.input[0], changed.input[1] = activation, weight
    return changed
