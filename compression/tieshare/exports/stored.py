"""Constants that a graph computes are stored, where that takes no more room."""

from collections.abc import Iterable

from onnx import ModelProto, NodeProto, ValueInfoProto, helper, shape_inference

from tieshare.exports.draft import Draft
from tieshare.graph.layers import layers_of
from tieshare.graph.tensors import Array, tensors
from tieshare.graph.view import view
from tieshare.measure import session

_SMALL = 4096  # bytes; a bias of zeros that is spread from one number is no more than that
_CHANCE = ("Bernoulli", "Multinomial", "Random")


def store_constants(model: ModelProto) -> ModelProto:
    """The same function, its computed biases, shapes and scales among the stored tensors.

    1. What is made from the values of a layer's weight stays computed: the weight keeps its name.
    2. What takes more room than what it is made from, and is not small, stays computed.
    """
    draft = Draft(model)
    _name_dtypes(draft, model)
    stored = tensors(model)
    weights = {layer.weight for layer in layers_of(view(model))}
    room = {name: array.nbytes for name, array in stored.items() if name not in weights}
    computed: list[NodeProto] = []
    for node in draft.nodes:
        if _follows(node, room) or (node.op_type == "Shape" and node.input[0] in stored):
            computed.append(node)
            room |= dict.fromkeys(node.output, sum(room.get(name, 0) for name in node.input))
    others = [node for node in draft.nodes if node not in computed]
    read = {name for node in others for name in node.input} | draft.outputs()
    made = {name for node in computed for name in node.output if name}
    for name, value in _run(draft, model, computed, sorted(made & read)).items():
        if value.nbytes <= max(_SMALL, room[name]) and name not in draft.outputs():
            draft.put(name, value)
    needed = view(draft.model()).needed(draft.outputs())
    draft.nodes = [draft.nodes[node.index] for node in needed]
    return draft.model()


def _follows(node: NodeProto, known: Iterable[str]) -> bool:
    """Whether the node computes the same at every call."""
    inner = any(attribute.HasField("g") for attribute in node.attribute)
    chance = node.op_type.startswith(_CHANCE)
    return bool(node.input) and not inner and not chance and {*node.input, ""} <= {*known, ""}


def _name_dtypes(draft: Draft, model: ModelProto) -> None:
    """A CastLike reads an activation for its dtype alone: a Cast states it."""
    inferred = shape_inference.infer_shapes(model).graph
    dtypes = {item.name: item.type.tensor_type.elem_type for item in inferred.value_info}
    for place, node in enumerate(draft.nodes):
        dtype = dtypes.get(node.output[0], 0) if node.op_type == "CastLike" else 0
        if dtype:
            draft.nodes[place] = helper.make_node(
                "Cast", node.input[:1], node.output, name=node.name, to=dtype
            )


def _run(
    draft: Draft, model: ModelProto, nodes: list[NodeProto], names: list[str]
) -> dict[str, Array]:
    """The values ``names`` that these nodes compute from stored tensors alone."""
    if not names:
        return {}
    read = {name for node in nodes for name in node.input}
    part = ModelProto(ir_version=max(model.ir_version, 4), opset_import=model.opset_import)
    part.graph.name = "constants"
    part.graph.node.extend(nodes)
    part.graph.output.extend(ValueInfoProto(name=name) for name in names)
    part.graph.initializer.extend(draft.tensor(name) for name in sorted(read) if draft.stored(name))
    return dict(zip(names, session(part).run(names, {}), strict=True))
