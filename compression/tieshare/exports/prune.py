"""Units that nobody reads leave the graph, and so do the rows that would read them."""

import numpy as np
from onnx import ModelProto, NodeProto, helper

from tieshare.exports.draft import Draft
from tieshare.exports.units import entries_of_units, from_the_end, matrix, read_units
from tieshare.graph.shapes import shapes_of
from tieshare.graph.structure import structure_of
from tieshare.graph.tensors import Array
from tieshare.graph.view import view


def remove_dead_units(model: ModelProto) -> ModelProto:
    """The same function with narrower layers.

    1. A unit of a producer stays if an alive row of its consumer reads it, or if it is the last.
    2. Removed with it: its columns, its bias, its entry of every tensor carried in between, and
       the rows of the consumer that read it.
    3. Shapes written into a Reshape in between follow; one that only flattens becomes a Flatten,
       which states no shape.

    Every tensor is read by one node input, weights of layers apart (see ``Draft.unshare``).
    """
    draft = Draft(model)
    shapes, nodes = shapes_of(model), view(model).nodes
    for link, producer, consumer in from_the_end(structure_of(model)):
        W = matrix(draft.array(consumer.weight), consumer)
        keep = read_units(link, producer.units, W)
        if keep.all():
            continue
        for name, axis in entries_of_units(link, producer):
            draft.put(name, np.compress(keep, draft.array(name), axis=axis))
        kept_rows = keep[link.unit_of_row] | (link.unit_of_row < 0)
        kept = np.compress(kept_rows, draft.array(consumer.weight), axis=consumer.row_axis)
        draft.put(consumer.weight, kept)
        for index in link.reshapes:
            node, target = draft.nodes[index], nodes[index].known[1]
            if target is None:
                continue
            if len(target) == 2 and shapes[node.input[0]][0] == shapes[node.output[0]][0]:
                draft.nodes[index] = _flatten(node)
            else:
                new = np.where(target == consumer.rows, kept_rows.sum(), target)
                new[0] = target[0]
                draft.nodes[index] = _reshape(draft, node, new.astype(np.int64))
    return draft.model()


def _flatten(node: NodeProto) -> NodeProto:
    return helper.make_node("Flatten", [node.input[0]], node.output, name=node.name, axis=1)


def _reshape(draft: Draft, node: NodeProto, target: Array) -> NodeProto:
    changed = NodeProto()
    changed.CopyFrom(node)
    changed.input[1] = draft.add(f"{node.output[0]}.shape", target)
    return changed
