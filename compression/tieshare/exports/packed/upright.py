"""Weights that Gemm turns are stored turned, so that nothing has to say so."""

from collections.abc import Mapping

import numpy as np
from onnx import NodeProto

from tieshare.exports.draft import Draft
from tieshare.exports.packed.grids import Grid


def upright(draft: Draft, grids: Mapping[str, Grid]) -> dict[str, Grid]:
    """Change each Gemm whose weight has a grid and is (units, rows) to read (rows, units).

    The way from the stored table to the Gemm may lead through the Pad that puts a zero row behind
    it and the Gather that spreads its rows; where anything else reads it, it stays. Returns the
    grids of all tables as they are then.
    """
    changed = dict(grids)
    producers = {node.output[0]: node for node in draft.nodes}
    for node in draft.nodes:
        if node.op_type != "Gemm" or not _option(node, "transB"):
            continue
        name, way = node.input[1], []
        while name in producers and producers[name].op_type in ("Gather", "Pad"):
            way.append(producers[name])
            name = way[-1].input[0]
        if name in grids and _turnable(draft, name, way):
            _turn(draft, name, way)
            _drop_option(node, "transB")
            changed[name] = Grid(grids[name].bits, 1 - grids[name].unit_axis)
    return changed


def _turnable(draft: Draft, name: str, way: list[NodeProto]) -> bool:
    readers = draft.readers()
    known = all(
        _option(node, "axis") == 1
        if node.op_type == "Gather"
        else len(node.input) == 2 and draft.stored(node.input[1]) and readers[node.input[1]] == 1
        for node in way
    )
    return known and all(readers[value] == 1 for value in (name, *(n.output[0] for n in way)))


def _turn(draft: Draft, name: str, way: list[NodeProto]) -> None:
    draft.put(name, draft.array(name).T)
    for node in way:
        if node.op_type == "Gather":
            _drop_option(node, "axis")
        else:
            before, behind = np.split(draft.array(node.input[1]), 2)
            draft.put(node.input[1], np.concatenate([before[::-1], behind[::-1]]))


def _option(node: NodeProto, name: str) -> int:
    return next((item.i for item in node.attribute if item.name == name), 0)


def _drop_option(node: NodeProto, name: str) -> None:
    kept = [item for item in node.attribute if item.name != name]
    del node.attribute[:]
    node.attribute.extend(kept)
