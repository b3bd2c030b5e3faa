"""The layers of a network, and their weights as matrices of rows."""

from dataclasses import dataclass

import numpy as np

from tieshare.graph.tensors import Array
from tieshare.graph.view import Node, View

_BIAS_SLOT = 2


@dataclass(frozen=True)
class Layer:
    """One weight with an input side.

    ``operator``   "Gemm", "MatMul" or "Conv".
    ``weight``     the stored tensor; ``row_axis`` of it counts inputs, ``unit_axis`` outputs.
    ``bias``       the stored tensor with one entry a unit, or None.
    ``rows``       inputs; ``units`` outputs; ``columns`` weights in one row: units * kernel.
    ``kernel``     spatial shape of a Conv weight, () for the others.
    ``input``, ``output``  values before the layer and after its bias.
    ``node``       index of the node in the graph; ``bias_node`` of the Add after it, or None.
    ``uses``       node inputs of the whole graph that read the weight.
    """

    name: str
    operator: str
    weight: str
    bias: str | None
    row_axis: int
    unit_axis: int
    rows: int
    units: int
    columns: int
    kernel: tuple[int, ...]
    input: str
    output: str
    node: int
    bias_node: int | None
    uses: int


def to_rows(layer: Layer, weight: Array) -> Array:
    """The weight as (rows, columns): a row for each input, its units one after the other.

    A Conv weight (out, in, kh, kw) becomes (in, out*kh*kw); the columns of unit u are
    ``W.reshape(rows, units, -1)[:, u]``.
    """
    moved = np.moveaxis(weight, (layer.row_axis, layer.unit_axis), (0, 1))
    return moved.reshape(layer.rows, layer.columns)


def from_rows(layer: Layer, W: Array) -> Array:
    """The way back from ``to_rows``; also for fewer rows or units, if ``layer`` says so."""
    moved = W.reshape(layer.rows, layer.units, *layer.kernel)
    return np.moveaxis(moved, (0, 1), (layer.row_axis, layer.unit_axis))


def layers_of(seen: View) -> tuple[Layer, ...]:
    """In graph order; a weight that several nodes use makes one layer, of the first of them."""
    found: dict[str, Layer] = {}
    for node in seen.nodes:
        layer = _layer(node, seen)
        if layer is not None:
            found.setdefault(layer.weight, layer)
    return tuple(found.values())


def _layer(node: Node, seen: View) -> Layer | None:
    found = _weight(node, seen)
    if found is None:
        return None
    weight, row_axis, unit_axis = found
    shape = seen.tensors[weight].shape
    bias, adding = _bias(node, shape[unit_axis], seen)
    if node.has(_BIAS_SLOT) and bias is None:
        return None
    kernel = tuple(n for axis, n in enumerate(shape) if axis not in (row_axis, unit_axis))
    return Layer(
        name=node.name,
        operator=node.operator,
        weight=weight,
        bias=bias,
        row_axis=row_axis,
        unit_axis=unit_axis,
        rows=shape[row_axis],
        units=shape[unit_axis],
        columns=seen.tensors[weight].size // shape[row_axis],
        kernel=kernel,
        input=node.inputs[0],
        output=(adding or node).outputs[0],
        node=node.index,
        bias_node=None if adding is None else adding.index,
        uses=len(seen.readers[weight]) + (weight in seen.outputs),
    )


def _weight(node: Node, seen: View) -> tuple[str, int, int] | None:
    """The stored weight of a plain product with an activation, its row axis and unit axis."""
    if node.operator not in ("Conv", "Gemm", "MatMul") or not _is_plain_product(node):
        return None
    source = _trace(node.inputs[1], seen)
    if source is None or node.inputs[0] in seen.constants:
        return None
    weight, axes = source
    shape = seen.tensors[weight].shape
    expected = len(axes) > 2 if node.operator == "Conv" else len(axes) == 2
    if not expected or 0 in shape:
        return None
    units_first = node.operator == "Conv" or node.attributes.get("transB", 0) == 1
    unit_axis, row_axis = axes[:2] if units_first else axes[1::-1]
    return weight, row_axis, unit_axis


def _is_plain_product(node: Node) -> bool:
    """Whether the node is input times weight, plus bias, and nothing else."""
    plain = {"group": 1, "transA": 0, "alpha": 1.0, "beta": 1.0}
    return all(node.attributes.get(name, value) == value for name, value in plain.items())


def _trace(value: str, seen: View) -> tuple[str, tuple[int, ...]] | None:
    """The float tensor behind a value, and which of its axes each axis of the value is."""
    turns: list[tuple[int, ...]] = []
    while value not in seen.tensors:
        node = seen.producers.get(value)
        if node is None or node.operator not in ("Identity", "Transpose"):
            return None
        if node.operator == "Transpose":
            turns.append(tuple(node.attributes.get("perm", (1, 0))))
        value = node.inputs[0]
    array = seen.tensors[value]
    if not np.issubdtype(array.dtype, np.floating):
        return None
    axes = tuple(range(array.ndim))
    for turn in reversed(turns):
        if sorted(turn) != sorted(axes):
            return None
        axes = tuple(axes[axis] for axis in turn)
    return value, axes


def _bias(node: Node, units: int, seen: View) -> tuple[str | None, Node | None]:
    """The tensor with one entry a unit, and the Add that adds it where the node does not."""
    if node.has(_BIAS_SLOT):
        return (_one_entry_a_unit(node.inputs[_BIAS_SLOT], units, seen), None)
    readers = seen.readers.get(node.outputs[0], ())
    if node.operator == "Conv" or len(readers) != 1 or node.outputs[0] in seen.outputs:
        return (None, None)
    adding, slot = readers[0]
    if adding.operator != "Add":
        return (None, None)
    bias = _one_entry_a_unit(adding.inputs[1 - slot], units, seen)
    return (bias, None if bias is None else adding)


def _one_entry_a_unit(value: str, units: int, seen: View) -> str | None:
    source = _trace(value, seen)
    if source is None or source[0] != value:
        return None
    shape = seen.tensors[value].shape
    return value if shape in ((units,), (1, units)) else None
