"""Which form each layer is stored in: those that apply are run side by side, the best is taken."""

from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
import onnxruntime as ort
from onnx import ModelProto, helper, numpy_helper

from tieshare.exports.draft import Draft
from tieshare.exports.forms import FORMS, Formed, TiedLayer, is_plain_product
from tieshare.exports.rows import read_rows
from tieshare.exports.units import matrix
from tieshare.graph.layers import Layer
from tieshare.graph.tensors import Array
from tieshare.measure import interleaved, session

NOISE = 0.05  # two latencies that differ by less, as a fraction, count as equal
SAME_SIZE = 0.01  # and so do two sizes
BUDGET_S = 0.5  # for a layer at one batch size
TENSOR_BYTES = 12  # of a stored tensor, beside its values, its name and its shape

Latency = Mapping[int, float]  # batch size -> microseconds
Shape = tuple[int, ...]

_IN_PLACE = {form.name for form in FORMS if form.in_place}


@dataclass(frozen=True)
class FormChoice:
    """What was chosen for a layer and what it was chosen among.

    ``bytes`` and ``latency_us`` are those of the layer alone, by form; ``latency_us`` is empty
    where there was nothing to measure. ``table`` is the stored tensor with rows of the weight,
    whose ``unit_axis`` counts the layer's outputs.
    """

    layer: str
    form: str
    reason: str
    bytes: Mapping[str, int]
    latency_us: Mapping[str, Latency]
    table: str
    unit_axis: int


def candidates(draft: Draft, layer: Layer, *, in_place: bool) -> dict[str, Formed]:
    """The forms that store the layer in fewer bytes than plain does, and plain.

    Only those that leave a weight of its name ``in_place`` where that is asked for, where the
    node does not read the weight itself, and where other nodes read it too.
    """
    node = draft.nodes[layer.node]
    weight = draft.array(layer.weight)
    rows = read_rows(matrix(weight, layer))
    stem = draft.stem(layer.weight)
    tied = TiedLayer(node, layer.weight, stem, weight, layer.row_axis, rows, draft.opset)
    free = (
        not in_place
        and layer.uses == 1
        and is_plain_product(node)
        and node.input[1] == layer.weight
    )
    built = {form.name: form.build(tied) for form in FORMS if form.in_place or free}
    formed = {name: found for name, found in built.items() if found is not None}
    limit = stored_bytes(formed["plain"])
    return {
        name: found
        for name, found in formed.items()
        if name == "plain" or stored_bytes(found) < limit
    }


def choose(
    draft: Draft, layer: Layer, forms: Mapping[str, Formed], shapes: Mapping[int, Shape]
) -> FormChoice:
    """Measure the ``forms`` of a layer on inputs of ``shapes`` (by batch size), and pick.

    Forms in place become the plain weight when the file is loaded: they are measured as plain.
    """
    sizes = {name: stored_bytes(formed) for name, formed in forms.items()}
    measured: dict[str, Latency] = {}
    if not forms.keys() <= _IN_PLACE:
        different = {n: f for n, f in forms.items() if n == "plain" or n not in _IN_PLACE}
        found = _measure(draft, different, shapes)
        measured = {name: found.get(name, found["plain"]) for name in forms}
    form, reason = pick(sizes, measured)
    return FormChoice(layer.name, form, reason, sizes, measured, forms[form].table, layer.unit_axis)


def pick(sizes: Mapping[str, int], latency: Mapping[str, Latency]) -> tuple[str, str]:
    """The form and the reason.

    1. ``sizes`` holds plain and forms that are smaller; one of these is taken if rule 2 leaves any.
    2. What is slower than plain at any batch size, beyond noise, is not taken.
    3. The lowest geometric mean over the batch sizes wins; among those within noise of it the
       smallest; among those as small the first.
    """
    smaller = [form for form in sizes if form != "plain"]
    if not smaller:
        return "plain", "no form is smaller"
    if not latency:
        form = min(smaller, key=sizes.__getitem__)
        return form, _as_plain(sizes, form)
    allowed = [form for form in smaller if _keeps_up(form, latency)]
    if not allowed:
        return "plain", "the smaller forms are slower"
    mean = {form: prod(latency[form].values()) ** (1 / len(latency[form])) for form in allowed}
    fastest = min(mean.values())
    quick = [form for form in allowed if mean[form] <= fastest * (1 + NOISE)]
    smallest = min(sizes[form] for form in quick)
    form = next(form for form in quick if sizes[form] <= smallest * (1 + SAME_SIZE))
    if form in _IN_PLACE:
        return form, f"{_as_plain(sizes, form)}; none is faster"
    why = "fastest" if mean[form] == fastest else "as fast as any, and smaller or simpler"
    return form, f"{why}: {_microseconds(latency[form])}; plain {_microseconds(latency['plain'])}"


def stored_bytes(formed: Formed) -> int:
    """What the form adds to the file."""
    tensors = formed.tensors.items()
    stored = sum(
        array.nbytes + len(name) + 2 * array.ndim + TENSOR_BYTES for name, array in tensors
    )
    return stored + sum(node.ByteSize() for node in (*formed.before, *formed.nodes))


def _measure(
    draft: Draft, forms: Mapping[str, Formed], shapes: Mapping[int, Shape]
) -> dict[str, dict[int, float]]:
    measured: dict[str, dict[int, float]] = {name: {} for name in forms}
    dtype = draft.array(next(iter(forms["plain"].tensors))).dtype
    running = {name: session(_alone(draft, formed, dtype)) for name, formed in forms.items()}
    for batch, shape in shapes.items():
        x = np.random.default_rng(0).normal(size=shape).astype(dtype)
        calls = {name: _call(ready, x) for name, ready in running.items()}
        for name, microseconds in interleaved(calls, BUDGET_S).items():
            measured[name][batch] = microseconds
    return measured


def _alone(draft: Draft, formed: Formed, dtype: np.dtype[Any]) -> ModelProto:
    """A model of the layer and nothing else."""
    tensors: dict[str, Array] = dict(formed.tensors)
    last = formed.nodes[-1]
    for name in last.input[2:]:
        tensors[name] = draft.array(name)
    kind = helper.np_dtype_to_tensor_dtype(dtype)
    graph = helper.make_graph(
        [*formed.before, *formed.nodes],
        "layer",
        [helper.make_tensor_value_info(formed.nodes[0].input[0], kind, None)],
        [helper.make_tensor_value_info(last.output[0], kind, None)],
        [numpy_helper.from_array(array, name) for name, array in tensors.items()],
    )
    opsets = [helper.make_opsetid("", draft.opset)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=max(4, draft.ir_version))


def _call(running: Any, x: Array) -> Any:
    """Through bound buffers, so that Python's share of a call is small."""
    (source,), (target,) = running.get_inputs(), running.get_outputs()
    binding = running.io_binding()
    y = running.run(None, {source.name: x})[0]
    binding.bind_ortvalue_input(source.name, ort.OrtValue.ortvalue_from_numpy(x))
    binding.bind_ortvalue_output(target.name, ort.OrtValue.ortvalue_from_numpy(y))
    return lambda: running.run_with_iobinding(binding)


def _keeps_up(form: str, latency: Mapping[str, Latency]) -> bool:
    plain = latency["plain"]
    return all(us <= plain[batch] * (1 + NOISE) for batch, us in latency[form].items())


def _as_plain(sizes: Mapping[str, int], form: str) -> str:
    return f"{sizes[form]:,} bytes instead of {sizes['plain']:,}, the plain weight once loaded"


def _microseconds(latency: Latency) -> str:
    return ", ".join(f"{us:.1f} us at batch {batch}" for batch, us in latency.items())
