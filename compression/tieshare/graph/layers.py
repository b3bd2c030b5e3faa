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
_MOVES = ("Concat", "Identity", "Slice", "Transpose", "Unsqueeze")
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
            if all(value in seen.constants for value in node.inputs[: node.explicit]):
                continue
            for source in _sources(node.inputs[slot], seen):
                layer = _layer(node, slot, source, row_axis, unit_axis, seen)
                if layer is not None:
                    found.setdefault(layer.weight, layer)
    return tuple(found.values())


@dataclass(frozen=True)
class _Source:
    """A stored tensor behind a value: which of its axes each axis of the value is, if any.

    ``part``  its number among all that the value is made of.
    """

    tensor: str
    axes: tuple[int | None, ...]
    part: int = 0


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


def _layer(
    node: Node, slot: int, source: _Source, row_axis: int, unit_axis: int, seen: View
) -> Layer | None:
    array = seen.tensors[source.tensor]
    if len(source.axes) <= max(row_axis, unit_axis, 1):
        return None
    rows, units = source.axes[row_axis], source.axes[unit_axis]
    if rows is None or units is None or 0 in array.shape:
        return None
    bias, adding = _bias(node, slot, array.shape[units], seen)
    kernel = tuple(n for axis, n in enumerate(array.shape) if axis not in (rows, units))
    return Layer(
        name=_name(node, slot, source.part),
        operator=node.operator,
        weight=source.tensor,
        bias=bias,
        row_axis=rows,
        unit_axis=units,
        rows=array.shape[rows],
        units=array.shape[units],
        columns=array.size // array.shape[rows],
        kernel=kernel,
        input=node.inputs[_OTHER.get((node.operator, slot), 0)],
        output=(adding or node).outputs[0],
        node=node.index,
        slot=slot,
        bias_node=None if adding is None else adding.index,
        uses=len(seen.readers[source.tensor]) + (source.tensor in seen.outputs),
    )


def _name(node: Node, slot: int, part: int) -> str:
    recurrent = node.operator in _RECURRENT and slot == _RECURRENT_SLOT
    stem = f"{node.name}.recurrent" if recurrent else node.name
    return f"{stem}.{part + 1}" if part else stem


def _sources(value: str, seen: View) -> list[_Source]:
    """The float tensors that a value is made of by moving, cutting and joining alone."""
    if value in seen.tensors:
        array = seen.tensors[value]
        floats = np.issubdtype(array.dtype, np.floating)
        return [_Source(value, tuple(range(array.ndim)))] if floats else []
    node = seen.producers.get(value)
    if node is None or node.operator not in _MOVES:
        return []
    parts = node.inputs if node.operator == "Concat" else node.inputs[:1]
    made = [_sources(part, seen) for part in parts]
    if not all(made):
        return []
    moved = (_moved(source, node) for found in made for source in found)
    unique = dict.fromkeys((source.tensor, source.axes) for source in moved)
    return [_Source(tensor, axes, part) for part, (tensor, axes) in enumerate(unique)]


def _moved(source: _Source, node: Node) -> _Source:
    axes = list(source.axes)
    if node.operator == "Transpose":
        axes = [axes[axis] for axis in node.attributes.get("perm", range(len(axes))[::-1])]
    elif node.operator == "Unsqueeze":
        added = node.setting("axes", 1) or []
        rank = len(axes) + len(added)
        for place in sorted(axis % rank for axis in added):
            axes.insert(place, None)
    return _Source(source.tensor, tuple(axes))


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
    array = seen.tensors.get(value)
    if array is None or not np.issubdtype(array.dtype, np.floating):
        return None
    shape = array.shape
    return value if shape in ((units,), (1, units)) else None
