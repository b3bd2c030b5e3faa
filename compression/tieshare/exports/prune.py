"""Units that nobody reads leave the graph, and so do the rows that would read them."""

import numpy as np
from onnx import AttributeProto, ModelProto, NodeProto, helper

from tieshare.exports.draft import Draft
from tieshare.exports.units import cut
from tieshare.graph.atoms import NOBODY
from tieshare.graph.structure import (
    Counted,
    Numbered,
    Structure,
    Units,
    entry_mask,
    structure_of,
)
from tieshare.graph.tensors import Array
from tieshare.graph.view import view


def remove_dead_units(model: ModelProto, multiple: int = 1) -> ModelProto:
    """The same function with narrower layers.

    A unit stays if a weight that is not zero reads it for a unit that stays, and wherever it is not
    understood who reads it; along every axis of a tensor at least one slice stays. As many dead
    channels stay as make the widths of convolutions a ``multiple``.
    """
    draft = Draft(model)
    plain = draft.model()
    structure = structure_of(plain)
    values = {name: draft.array(name) for name in structure.entries}
    return keep_units(plain, structure, _rounded(structure, structure.alive(values), multiple))


def keep_units(plain: ModelProto, structure: Structure, alive: Units) -> ModelProto:
    """The model with these units and no others; ``plain``, without constant nodes: from a draft.

    1. Every slice of every stored tensor goes that belongs to a unit that does not stay.
    2. Numbers in the graph that count or pick slices follow: target shapes, bounds, sizes of
       pieces, groups, heads, hidden sizes.
    """
    draft = Draft(plain)
    known = {node.index: node.known for node in view(plain).nodes}
    for name, masks in structure.stays(alive).items():
        draft.put(name, cut(draft.array(name), masks))
    for edit in structure.edits:
        node = draft.nodes[edit.node]
        if isinstance(edit, Numbered):
            _renumber(draft, node, edit, known[edit.node][edit.slot], alive)
        else:
            _recount(draft, node, edit, known[edit.node], alive)
    return draft.model()


def _rounded(structure: Structure, alive: Units, multiple: int) -> Units:
    """These units, and of the others the first that the channels of each convolution lack."""
    more = alive.copy()
    for layer in structure.layers:
        for one in structure.entries.get(layer.weight, ()):
            if layer.operator.startswith("Conv") and one.axis == layer.unit_axis:
                stays = entry_mask(one.ids, more)
                while stays.sum() % multiple and not stays.all():
                    lacking = one.ids[np.argmin(stays)]
                    more[lacking[lacking != NOBODY]] = True
                    stays = entry_mask(one.ids, more)
    return more


def _recount(
    draft: Draft, node: NodeProto, edit: Counted, known: tuple[Array | None, ...], alive: Units
) -> None:
    """A number that the graph computes becomes a constant even where all slices stay.

    What it is computed from may be counted anew for others.
    """
    counts = [
        entry if isinstance(entry, int) else int(entry_mask(entry, alive).sum())
        for entry in edit.entries
    ]
    if isinstance(edit.option, str):
        if counts != _written(node, edit.option):
            _set_attribute(node, edit.option, counts)
        return
    given = known[edit.option] if edit.option < len(known) else None
    if given is None:
        unstated = not any(node.input[edit.option : edit.option + 1])
        if unstated and counts == [e if isinstance(e, int) else len(e) for e in edit.entries]:
            return
        _set_input(draft, node, edit.option, np.array(counts, dtype=np.int64))
    elif counts != given.ravel().tolist():
        shaped = np.array(counts, dtype=given.dtype).reshape(given.shape)
        _set_input(draft, node, edit.option, shaped)


def _written(node: NodeProto, name: str) -> list[int]:
    """The numbers of an attribute."""
    values = [helper.get_attribute_value(a) for a in node.attribute if a.name == name]
    return [number for value in values for number in np.ravel(value).tolist()]


def _renumber(
    draft: Draft, node: NodeProto, edit: Numbered, numbers: Array | None, alive: Units
) -> None:
    mask = entry_mask(edit.ids, alive)
    if numbers is not None and not mask.all():
        places = np.cumsum(mask) - 1
        positive = np.where(numbers < 0, numbers + len(mask), numbers)
        _set_input(draft, node, edit.slot, places[positive[mask[positive]]].astype(numbers.dtype))


def _set_input(draft: Draft, node: NodeProto, slot: int, values: Array) -> None:
    """Read these values in place of what the node read, which others may go on reading."""
    node.input.extend([""] * (slot + 1 - len(node.input)))
    node.input[slot] = draft.add(f"{node.output[0]}.{slot}", values)
    for attribute in list(node.attribute):
        if node.op_type == "Split" and attribute.name == "num_outputs":
            node.attribute.remove(attribute)


def _set_attribute(node: NodeProto, name: str, counts: list[int]) -> None:
    for attribute in node.attribute:
        if attribute.name == name:
            single = attribute.type == AttributeProto.INT
            attribute.CopyFrom(helper.make_attribute(name, counts[0] if single else counts))
            return
    node.attribute.append(helper.make_attribute(name, counts))
