"""A graph that was exported for one batch size, made to take any."""

import numpy as np
from onnx import ModelProto, numpy_helper

from tieshare.graph.shapes import shapes_of
from tieshare.graph.view import view


def with_free_batch(model: ModelProto) -> ModelProto:
    """The same function where a Reshape copies the batch size rather than stating it.

    A target [7, ...] behind a value whose first axis is the fixed batch 7 becomes [0, ...]: ONNX
    has the 0 stand for the length of the input's axis. Only the graph's nodes change; its inputs
    and outputs go on saying 7.
    """
    seen, shapes = view(model), shapes_of(model)
    batches = {shapes[name][0] for name in seen.inputs if shapes.get(name)}
    targets = {}
    for node in seen.nodes:
        if node.operator != "Reshape" or node.attributes.get("allowzero", 0):
            continue
        target, axes = node.known[1], shapes.get(node.inputs[0])
        if target is None or not target.size or not axes or axes[0] not in batches:
            continue
        if target[0] == axes[0]:
            targets[node.index] = np.array([0, *target[1:]], dtype=np.int64)
    if not targets:
        return model
    free = ModelProto()
    free.CopyFrom(model)
    for index, target in targets.items():
        reshape = free.graph.node[index]
        name = f"{reshape.output[0]}.free_batch"
        free.graph.initializer.append(numpy_helper.from_array(target, name))
        reshape.input[1] = name
    return free
