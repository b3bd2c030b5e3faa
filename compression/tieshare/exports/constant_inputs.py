"""Which channels that layers read carry one number, whatever goes into the network."""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from onnx import ModelProto, TypeProto, helper

from tieshare.exports.draft import Draft
from tieshare.exports.probe import inner_values
from tieshare.graph.layers import Layer, layers_of, to_rows
from tieshare.graph.tensors import Array
from tieshare.graph.view import Node, View, view
from tieshare.measure import feed, fixed_batch, inputs_of

_WEIGHTED = frozenset(
    {"Conv", "ConvTranspose", "Einsum", "GRU", "Gather", "Gemm", "LSTM", "MatMul", "RNN"}
)
_UNIT_AXES = {
    ("Conv", 1): 1,
    ("ConvTranspose", 1): 1,
    ("Gather", 0): -1,
    ("Gemm", 1): 1,
    ("MatMul", 1): -1,
}
_PLAIN = {"ConvTranspose": ("group", 1), "Gather": ("axis", 0)}
_SAME_NUMBERS = frozenset({"Cast", "Identity", "Reshape", "Squeeze", "Unsqueeze"})
_BATCH = 2
_LARGE = 1e6  # drowns every bias; beside it small noise keeps a saturated function moving
_ROUNDING = 1e-6


def constant_inputs(model: ModelProto) -> dict[str, Array]:
    """By layer, the number that each channel of its input carries, NaN where it carries several.

    1. A unit is silent if all weights that make it are zero; it sends its bias.
    2. The graph is cut behind every node that multiplies by weights or picks from a table. What
       such a node puts out is replaced by noise, large and small and of both signs, its silent
       units apart; so is what goes into the network.
    3. A channel that has the same value, to rounding, at all positions of all samples, with every
       noise and with none, depends on nothing but silent units and what is stored.

    Nothing is found where the graph can't be run in parts, or reads whole numbers as more than
    places in tables. Constant nodes are expected to be initializers.
    """
    seen = view(model)
    layers = layers_of(seen)
    cuts = [node for node in seen.nodes if _is_cut(node, seen)]
    silent = _silent(layers, seen)
    if not any(mask.any() for _, mask in silent.values()) or not _picks_only(model, seen, cuts):
        return {}
    readers = [layer for layer in layers if layer.slot == 1 and not _is_turned(layer, seen)]
    names = dict.fromkeys(layer.input for layer in readers)
    try:
        found = list(_values(model, cuts, silent, tuple(names)))
    except Exception:  # ONNX Runtime's have no base of their own
        return {}
    return {
        layer.name: _constants([values[layer.input] for values in found], _channels(layer))
        for layer in readers
    }


def _is_turned(layer: Layer, seen: View) -> bool:
    return bool(seen.nodes[layer.node].attributes.get("transA", 0))


def _channels(layer: Layer) -> int:
    """The axis of a layer's input that its rows read."""
    return 1 if layer.operator.startswith("Conv") else -1


def _is_cut(node: Node, seen: View) -> bool:
    """Whether it multiplies something by what is stored, or picks from a stored table."""
    constant = [name in seen.constants for name in node.inputs if name]
    if node.operator == "Gather":
        table = seen.tensors.get(node.inputs[0])
        return table is not None and table.dtype.kind == "f" and not all(constant)
    return node.operator in _WEIGHTED and any(constant) and not all(constant)


def _silent(layers: Sequence[Layer], seen: View) -> dict[str, tuple[int, Array]]:
    """By the first output of a layer's node: the axis of its units, and which are silent."""
    found = {}
    for layer in layers:
        node = seen.nodes[layer.node]
        axis = _UNIT_AXES.get((layer.operator, layer.slot))
        option, value = _PLAIN.get(layer.operator, ("", None))
        plain = node.attributes.get(option, value) == value
        plain = plain and not (layer.operator == "Gather" and layer.kernel)
        if axis is not None and plain and seen.constants.issuperset(node.inputs[2:]):
            W = to_rows(layer, seen.tensors[layer.weight]).reshape(layer.rows, layer.units, -1)
            found[node.outputs[0]] = (axis, np.asarray(~W.any(axis=(0, 2))))
    return found


def _picks_only(model: ModelProto, seen: View, cuts: Sequence[Node]) -> bool:
    """Whether inputs of whole numbers serve to pick from tables, so that none needs to be tried."""
    places = {(node.index, 1) for node in cuts if node.operator == "Gather"}
    pending = [item.name for item in inputs_of(model) if not _is_float(item.type.tensor_type)]
    for name in pending:
        if name in seen.outputs:
            return False
        for node, slot in seen.readers.get(name, ()):
            if node.operator in _SAME_NUMBERS and slot == 0:
                pending.append(node.outputs[0])
            elif node.operator != "Shape" and (node.index, slot) not in places:
                return False
    return True


def _is_float(kind: TypeProto.Tensor) -> bool:
    return helper.tensor_dtype_to_np_dtype(kind.elem_type).kind == "f"


def _values(
    model: ModelProto,
    cuts: Sequence[Node],
    silent: Mapping[str, tuple[int, Array]],
    names: Sequence[str],
) -> Iterator[dict[str, Array]]:
    """The values of these names as they are, then for each noise."""
    fed = feed(model, fixed_batch(model) or _BATCH)
    behind = [name for node in cuts for name in node.outputs if name]
    real = inner_values(model, fed, (*names, *behind))
    yield real
    noisy = {name: array for name, array in fed.items() if array.dtype.kind == "f"}
    noisy |= {name: real[name] for name in behind}
    part = _without(model, cuts, {name: real[name] for name in behind})
    rng = np.random.default_rng(0)
    for size in (_LARGE, 1.0):
        noise = {name: size * rng.normal(size=array.shape) for name, array in noisy.items()}
        for sign in (1, -1):
            sent = {
                name: _with_silent(real.get(name), sign * noise[name], silent.get(name))
                for name in noisy
            }
            typed = {name: array.astype(noisy[name].dtype) for name, array in sent.items()}
            yield inner_values(part, fed | typed, names)


def _with_silent(real: Array | None, noise: Array, silent: tuple[int, Array] | None) -> Array:
    """The noise, the units that are silent as they really are."""
    if real is None or silent is None:
        return noise
    axis, mask = silent
    along = [1] * noise.ndim
    along[axis] = -1
    return np.where(mask.reshape(along), real, noise)


def _without(model: ModelProto, cuts: Sequence[Node], behind: Mapping[str, Array]) -> ModelProto:
    """The graph without these nodes; what they put out goes into it instead."""
    draft = Draft(model)
    gone = {node.index for node in cuts}
    draft.nodes = [node for index, node in enumerate(draft.nodes) if index not in gone]
    part = draft.model()
    part.graph.input.extend(
        helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(array.dtype), None)
        for name, array in behind.items()
    )
    return part


def _constants(values: Sequence[Array], axis: int) -> Array:
    """(channels,) the number that all of these hold at each place of the axis; NaN for several."""
    columns = [np.moveaxis(array, axis, 0).astype(float) for array in values]
    flat = np.concatenate([column.reshape(len(column), -1) for column in columns], axis=1)
    number = flat[:, 0]
    with np.errstate(invalid="ignore"):
        same = np.abs(flat - number[:, None]) <= _ROUNDING * np.abs(number)[:, None]
    return np.where(same.all(axis=1), number, np.nan)
