"""The layers of a network, and their weights as matrices of rows."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from tieshare.graph.tensors import Array
from tieshare.graph.view import Node, View

_WEIGHT_SLOT, _BIAS_SLOT, _RECURRENT_SLOT = 1, 2, 2
_RECURRENT = ("GRU", "LSTM", "RNN")

# Operator -> the inputs that may be weights, each with the axes of its rows and of its units.
# A product's weight stands on either side. The rows of a grouped convolution are the places in a
# group, those of a table its entries, those of a recurrent cell its inputs or its hidden units.
_SLOTS: Mapping[str, tuple[tuple[int, int, int], ...]] = {
    "Conv": ((1, 1, 0),),
    "ConvTranspose": ((1, 0, 1),),
    "Gather": ((0, 0, 1),),
    "MatMul": ((1, -2, -1), (0, -1, -2)),
    **dict.fromkeys(_RECURRENT, ((1, 2, 1), (2, 2, 1))),
}
_OTHER = {(operator, 0): 1 for operator in ("Einsum", "Gather", "Gemm", "MatMul")}


@dataclass(frozen=True)
class Layer:
    """One weight with an input side.

    ``operator``   of the node, which reads the weight by its input ``slot``.
    ``weight``     the stored tensor; ``row_axis`` of it counts inputs, ``unit_axis`` outputs.
    ``bias``       the stored tensor with one entry a unit, or None.
    ``rows``       inputs; ``units`` outputs; ``columns`` weights in one row: units * kernel.
    ``kernel``     lengths of the other axes: of a kernel, or the directions of an LSTM.
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
    slot: int
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
        for slot, row_axis, unit_axis in _slots(node):
            layer = _layer(node, slot, row_axis, unit_axis, seen)
            if layer is not None:
                found.setdefault(layer.weight, layer)
    return tuple(found.values())


def _slots(node: Node) -> tuple[tuple[int, int, int], ...]:
    """The inputs of the node that may be weights, with the axes of their rows and their units."""
    if node.operator == "Gemm":
        turned_a, turned_b = (node.attributes.get(f"trans{side}", 0) for side in "AB")
        return ((1, turned_b, 1 - turned_b), (0, 1 - turned_a, turned_a))
    if node.operator == "Einsum":
        return _einsum_slots(node.attributes["equation"].replace(" ", ""))
    return _SLOTS.get(node.operator, ())


def _einsum_slots(equation: str) -> tuple[tuple[int, int, int], ...]:
    """Rows lie along the first axis that is summed over, units along the last that is not."""
    terms, _, result = equation.partition("->")
    names = terms.split(",")
    if len(names) != 2 or not all(name.isalpha() for name in names):
        return ()
    slots = []
    for slot, (weight, other) in enumerate(zip(names, names[::-1], strict=True)):
        rows = [letter for letter in weight if letter in other and letter not in result]
        units = [letter for letter in weight if letter in result and letter not in other]
        if rows and units:
            slots.append((slot, weight.index(rows[0]), weight.index(units[-1])))
    return tuple(slots)


def _layer(node: Node, slot: int, row_axis: int, unit_axis: int, seen: View) -> Layer | None:
    source = _trace(node.inputs[slot], seen)
    if source is None or all(value in seen.constants for value in node.inputs[: node.explicit]):
        return None
    weight, axes = source
    array = seen.tensors[weight]
    if array.ndim < 2 or len(axes) != array.ndim or 0 in array.shape:
        return None
    row_axis, unit_axis = axes[row_axis], axes[unit_axis]
    units = array.shape[unit_axis]
    bias, adding = _bias(node, slot, units, seen)
    kernel = tuple(n for axis, n in enumerate(array.shape) if axis not in (row_axis, unit_axis))
    return Layer(
        name=node.name
        if slot == 1 or node.operator not in _RECURRENT
        else f"{node.name}.recurrent",
        operator=node.operator,
        weight=weight,
        bias=bias,
        row_axis=row_axis,
        unit_axis=unit_axis,
        rows=array.shape[row_axis],
        units=units,
        columns=array.size // array.shape[row_axis],
        kernel=kernel,
        input=node.inputs[_OTHER.get((node.operator, slot), 0)],
        output=(adding or node).outputs[0],
        node=node.index,
        slot=slot,
        bias_node=None if adding is None else adding.index,
        uses=len(seen.readers[weight]) + (weight in seen.outputs),
    )


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


def _bias(node: Node, slot: int, units: int, seen: View) -> tuple[str | None, Node | None]:
    """The tensor with one entry a unit, and the Add that adds it where the node does not."""
    if node.operator not in ("Conv", "ConvTranspose", "Gemm", "MatMul") or slot != _WEIGHT_SLOT:
        return (None, None)
    if node.has(_BIAS_SLOT):
        return (_one_entry_a_unit(node.inputs[_BIAS_SLOT], units, seen), None)
    readers = seen.readers.get(node.outputs[0], ())
    if node.operator.startswith("Conv") or len(readers) != 1 or node.outputs[0] in seen.outputs:
        return (None, None)
    adding, place = readers[0]
    if adding.operator != "Add":
        return (None, None)
    bias = _one_entry_a_unit(adding.inputs[1 - place], units, seen)
    return (bias, None if bias is None else adding)


def _one_entry_a_unit(value: str, units: int, seen: View) -> str | None:
    source = _trace(value, seen)
    if source is None or source[0] != value:
        return None
    shape = seen.tensors[value].shape
    return value if shape in ((units,), (1, units)) else None
