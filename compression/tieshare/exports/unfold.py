"""Batch normalisation that an exporter folded into a layer is put behind it again."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from math import prod

import numpy as np
from onnx import ModelProto, NodeProto, ValueInfoProto, helper, numpy_helper

from tieshare.exports.draft import Draft
from tieshare.exports.fold import into_layer
from tieshare.exports.forms import is_plain_product
from tieshare.graph.layers import Layer, layers_of
from tieshare.graph.shapes import Shape, shapes_of
from tieshare.graph.tensors import Array, tensors
from tieshare.graph.view import View, view
from tieshare.measure import predictions

_EPSILON = 1e-5
_PARTS = ("scale", "shift", "mean", "variance")  # in the order of the node's inputs
_SAMPLES = 2048
_AT_ONCE = 1 << 25  # numbers that layers put out, 128 MiB of float32
_MOST_SAMPLES = 256
_NORMALISE = frozenset(
    {
        "BatchNormalization",
        "GroupNormalization",
        "InstanceNormalization",
        "LRN",
        "LayerNormalization",
        "LpNormalization",
        "MeanVarianceNormalization",
        "RMSNormalization",
        "Sqrt",  # of a norm that is written out
    }
)


@dataclass(frozen=True, eq=False)
class _Moments:
    """Mean and variance (units,) of so many ``numbers`` a unit."""

    numbers: int
    mean: Array
    variance: Array

    @classmethod
    def of(cls, output: Array) -> "_Moments":
        """Of (n, units, ...)."""
        axes = (0, *range(2, output.ndim))
        mean = np.asarray(output.mean(axes, dtype=np.float64))
        variance = np.asarray(output.var(axes, dtype=np.float64))
        return cls(output.size // output.shape[1], mean, variance)

    def join(self, other: "_Moments") -> "_Moments":
        """Of both together: the mean variance plus the variance of the means."""
        numbers = self.numbers + other.numbers
        w, apart = other.numbers / numbers, other.mean - self.mean
        mean = self.mean + w * apart
        variance = (1 - w) * self.variance + w * other.variance + w * (1 - w) * apart**2
        return _Moments(numbers, mean, variance)


@dataclass(frozen=True)
class Norm:
    """A BatchNormalization behind ``layer``, which has a ``bias`` that can take it in again.

    ``tensors``: value names of its scale, shift, mean and variance, each (units,).
    """

    layer: Layer
    bias: str
    tensors: tuple[str, ...]


def norms_for(model: ModelProto, ends: Collection[str]) -> tuple[Norm, ...]:
    """One for each layer that batch normalisation may have been folded into, in graph order.

    1. Layers are convolutions, those upwards without groups, and products with two axes.
    2. Weight and bias are stored, and read by the layer alone.
    3. Other layers come between it and the values ``ends``: what is asked of the network is not
       normalised.
    4. Nothing normalises on the way there.
    5. A convolution of 1 x 1 on a single place, as in squeeze-and-excite, gets none: the spread
       of what it puts out would be that of the few samples of a batch.
    """
    seen, shapes, names = view(model), shapes_of(model), Draft(model)
    layers = layers_of(seen)
    inner = {layer.node for layer in layers}
    found = []
    for layer in layers:
        if layer.bias is None or not _is_alone(layer, layer.bias, seen):
            continue
        fits = _fits(layer, model.graph.node[layer.node], shapes)
        if fits and _goes_on(layer.output, {*ends, *seen.outputs}, inner, seen):
            made = (names.fresh(f"{layer.output}.{part}") for part in _PARTS)
            found.append(Norm(layer, layer.bias, tuple(made)))
    return tuple(found)


def identity(model: ModelProto, norms: Sequence[Norm], inputs: Sequence[Array]) -> dict[str, Array]:
    """Tensors with which the norms change nothing in evaluation, by value name.

    Mean and variance are those of each layer's units over samples that are spread evenly over
    ``inputs`` (samples first); the scale is sqrt(variance + epsilon), the shift the mean.
    """
    samples = len(inputs[0])
    places = np.linspace(0, samples - 1, min(samples, _SAMPLES)).astype(np.int64)
    picked = [array[places] for array in inputs]
    values = [norm.layer.output for norm in norms]
    shapes = shapes_of(model)
    numbers = sum(prod(shapes[name][1:]) for name in values)
    size = max(1, min(_MOST_SAMPLES, _AT_ONCE // max(numbers, 1)))
    seen = predictions(_ending_at(model, values), values, picked, size)
    moments = reduce(_joined, ([_Moments.of(output) for output in outputs] for outputs in seen))
    found: dict[str, Array] = {}
    for norm, one in zip(norms, moments, strict=True):
        arrays = np.sqrt(one.variance + _EPSILON), one.mean, one.mean, one.variance
        found |= dict(zip(norm.tensors, arrays, strict=True))
    return found


def with_norms(model: ModelProto, norms: Iterable[Norm], values: Mapping[str, Array]) -> ModelProto:
    """The model with the norms in it, their tensors among ``values``.

    Its nodes keep their names, or have those that ``view`` makes up for them.
    """
    seen, names = view(model), Draft(model)
    behind = {norm.layer.output: norm for norm in norms}
    made = ModelProto()
    made.CopyFrom(model)
    del made.graph.node[:]
    for proto, node in zip(model.graph.node, seen.nodes, strict=True):
        copy = made.graph.node.add()
        copy.CopyFrom(proto)
        copy.name = node.name
        norm = behind.get(node.outputs[0])
        if norm is not None:
            copy.output[0] = names.fresh(f"{node.outputs[0]}.plain")
            made.graph.node.append(_node(norm, copy.output[0]))
            dtype = seen.tensors[norm.layer.weight].dtype
            made.graph.initializer.extend(
                numpy_helper.from_array(values[name].astype(dtype), name) for name in norm.tensors
            )
    return made


def folded_back(made: ModelProto, norms: Iterable[Norm]) -> dict[str, Array]:
    """The stored tensors of the model without norms that computes what ``made`` does.

    A unit is scaled by one number: rows that are bitwise equal stay so, and zeros stay zero.
    """
    values = tensors(made)
    for norm in norms:
        arrays = [values.pop(name) for name in norm.tensors]
        weight, bias = norm.layer.weight, norm.bias
        values[weight], values[bias] = into_layer(
            norm.layer, values[weight], values[bias], arrays, _EPSILON
        )
    return values


def _is_alone(layer: Layer, bias: str, seen: View) -> bool:
    node = seen.nodes[layer.node]
    own = layer.uses == 1 and node.inputs[layer.slot] == layer.weight
    return own and len(seen.readers[bias]) == 1 and bias not in seen.outputs


def _fits(layer: Layer, node: NodeProto, shapes: Mapping[str, Shape]) -> bool:
    """Whether axis 1 of what it puts out has one entry a unit, each on many places or samples."""
    before, behind = shapes.get(layer.input, ()), shapes.get(layer.output, ())
    if layer.operator in ("Conv", "ConvTranspose"):
        single = {*layer.kernel, *before[2:]} == {1}
        return len(behind) > 2 and behind[1] == layer.units and not single
    return is_plain_product(node) and len(behind) == 2


def _goes_on(value: str, ends: Collection[str], layers: Collection[int], seen: View) -> bool:
    """Whether every way leads from the value to another layer before it ends or is normalised."""
    pending, checked = [value], {value}
    for name in pending:
        readers = seen.readers.get(name, ())
        if name in ends or not readers:
            return False
        for node, _ in readers:
            if node.index in layers:
                continue
            if node.operator in _NORMALISE or node.graphs:
                return False
            pending += [made for made in node.outputs if made and made not in checked]
            checked.update(node.outputs)
    return True


def _ending_at(model: ModelProto, values: Iterable[str]) -> ModelProto:
    probe = ModelProto()
    probe.CopyFrom(model)
    del probe.graph.output[:]
    probe.graph.output.extend(ValueInfoProto(name=name) for name in values)
    return probe


def _joined(some: Sequence[_Moments], more: Sequence[_Moments]) -> list[_Moments]:
    """Of what both have seen, by value."""
    return [one.join(other) for one, other in zip(some, more, strict=True)]


def _node(norm: Norm, value: str) -> NodeProto:
    return helper.make_node(
        "BatchNormalization",
        [value, *norm.tensors],
        [norm.layer.output],
        name=f"{norm.layer.name}.norm",
        epsilon=_EPSILON,
    )
