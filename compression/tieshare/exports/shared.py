"""The shared export: what is dead is gone, what is tied is stored once."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import prod

from onnx import ModelProto, NodeProto

from tieshare.errors import ExportMismatch
from tieshare.exports.choose import NOISE, FormChoice, Shape, candidates, choose
from tieshare.exports.constants import fold_constant_units
from tieshare.exports.draft import Draft
from tieshare.exports.fold import fold_batch_norms
from tieshare.exports.probe import inner_values
from tieshare.exports.prune import remove_dead_units
from tieshare.exports.shuffles import cheap_shuffles
from tieshare.exports.stored import store_constants
from tieshare.exports.verify import check_equal
from tieshare.graph.layers import layers_of
from tieshare.graph.tensors import Array
from tieshare.graph.view import view
from tieshare.measure import batches_of, feed, latencies

BATCHES = (1, 32)
# ONNX Runtime lays out in blocks what convolutions of such widths compute, and others slower: how
# long a block is depends on the processor.
BLOCKS = (4, 8, 16)


@dataclass(frozen=True)
class Shared:
    """The model, and the form of each layer in graph order.

    ``multiple``: what the widths of convolutions were rounded up to.
    """

    model: ModelProto
    choices: tuple[FormChoice, ...]
    multiple: int = 1


def shared(model: ModelProto, samples: Sequence[Array] | None = None) -> Shared:
    """Smaller and not slower than the tied ``model``, and equal to it.

    Dead rows (all zero) and tied rows (bitwise equal) are read off the model itself. ``samples``,
    one array an input, are what it is measured and checked on; random inputs without them.

    1. Constants that units without weights send on go into the next bias, and units that nobody
       reads are removed.
    2. Batch normalisation behind a layer is folded into it.
    3. Shuffled channels are orders of weights, or gathered.
    4. Dead channels stay where convolutions are measured to gain more time from widths that are a
       multiple of 4, 8 or 16 than these cost in bytes.
    5. Each layer gets the form that was measured to be best; where the whole file is slower with
       these than with forms that become the plain weight at load, the latter are taken.
    6. What does not compute what ``model`` computes is not handed out: a simpler file takes its
       place, the reasons say so, and ExportMismatch is raised where that is no better.
    """
    names = [layer.name for layer in layers_of(view(model))]
    whole = _own_tensors(store_constants(model))
    folded = fold_constant_units(whole)
    slim = _slim(folded)
    wrong = _mismatch(model, slim, samples)
    source, multiple = (whole, 1) if wrong else _rounded(model, folded, slim, samples)
    made = _best(source, samples)
    mismatch = _mismatch(model, made.model, samples)
    if mismatch:
        made = _formed(source)
        check_equal(model, made.model, samples)
    note = "".join(f"; refused a smaller or faster file: {why}" for why in (wrong, mismatch) if why)
    choices = [
        replace(choice, layer=name, reason=choice.reason + note)
        for name, choice in zip(names, made.choices, strict=True)
    ]
    return Shared(made.model, tuple(choices), multiple)


def simple(model: ModelProto) -> Shared:
    """What `shared` begins with: nothing is measured, each layer keeps its place."""
    whole = _own_tensors(store_constants(model))
    return _formed(_slim(fold_constant_units(whole)))


def _slim(model: ModelProto, multiple: int = 1) -> ModelProto:
    return cheap_shuffles(fold_batch_norms(remove_dead_units(model, multiple)))


def _mismatch(model: ModelProto, other: ModelProto, samples: Sequence[Array] | None) -> str | None:
    try:
        check_equal(model, other, samples)
    except ExportMismatch as error:
        return error.message
    return None


def _best(model: ModelProto, samples: Sequence[Array] | None) -> Shared:
    """With the forms that were measured to be best, if the whole file is not slower with them."""
    best, simple = _formed(model, _input_shapes(model, samples)), _formed(model)
    forms = [[choice.form for choice in made.choices] for made in (best, simple)]
    same = forms[0] == forms[1]
    return best if same or _as_fast(best.model, simple.model, samples) else simple


def _own_tensors(model: ModelProto) -> ModelProto:
    """Every node input with a tensor of its own, weights of layers apart: each can be cut alone."""
    draft = Draft(model)
    draft.unshare({layer.weight for layer in layers_of(view(model))})
    return draft.model()


def _formed(model: ModelProto, shapes: Sequence[Mapping[int, Shape]] | None = None) -> Shared:
    """Each layer in its best form for inputs of ``shapes``; without these, in place."""
    draft = Draft(model)
    choices: list[FormChoice] = []
    ahead: list[NodeProto] = []  # they need stored tensors alone, so they may come first
    instead: dict[int, tuple[NodeProto, ...]] = {}
    for index, layer in enumerate(layers_of(view(model))):
        forms = candidates(draft, layer, in_place=shapes is None)
        choice = choose(draft, layer, forms, {} if shapes is None else shapes[index])
        formed = forms[choice.form]
        draft.drop(layer.weight)
        for name, array in formed.tensors.items():
            draft.put(name, array)
        choices.append(choice)
        ahead += formed.before
        instead[layer.node] = formed.nodes
    for index, node in enumerate(draft.nodes):
        ahead += instead.get(index, (node,))
    draft.nodes = ahead
    merged = draft.merge()
    choices = [replace(c, table=merged.get(c.table, c.table)) for c in choices]
    return Shared(draft.model(), tuple(choices))


def _input_shapes(model: ModelProto, samples: Sequence[Array] | None) -> list[dict[int, Shape]]:
    """For each layer the shape of its input, by batch size, as ONNX Runtime finds it."""
    batch, *_ = batches = batches_of(model, BATCHES)
    inputs = [layer.input for layer in layers_of(view(model))]
    found = inner_values(model, feed(model, batch, samples), inputs)
    return [
        {size: _of_batch(found[name].shape, batch, size) for size in batches} for name in inputs
    ]


def _of_batch(shape: Shape, batch: int, size: int) -> Shape:
    """The shape at another batch size; a number has none."""
    return tuple(
        size * length // batch if axis == 0 else length for axis, length in enumerate(shape)
    )


def _rounded(
    model: ModelProto, whole: ModelProto, slim: ModelProto, samples: Sequence[Array] | None
) -> tuple[ModelProto, int]:
    """The best of ``slim`` and of what is not as slim, and what its widths are multiples of.

    What is right, nowhere slower than ``slim``, and gains more time than it costs bytes, both as
    ratios, and beyond noise.
    """
    files = {1: slim}
    for multiple in BLOCKS:
        wider = _slim(whole, multiple)
        new = all(wider.ByteSize() != known.ByteSize() for known in files.values())
        if new and not _mismatch(model, wider, samples):
            files[multiple] = wider
    if len(files) == 1:
        return slim, 1
    measured = latencies({str(m): file for m, file in files.items()}, samples, BATCHES)
    costs = {1: 1 / (1 + NOISE)}
    for multiple, file in files.items():
        ratios = [us / measured["1"][batch] for batch, us in measured[str(multiple)].items()]
        if multiple > 1 and max(ratios) <= 1 + NOISE:
            time = prod(ratios) ** (1 / len(ratios))
            costs[multiple] = time * file.ByteSize() / slim.ByteSize()
    best = min(costs, key=lambda multiple: costs[multiple])
    return files[best], best


def _as_fast(model: ModelProto, other: ModelProto, samples: Sequence[Array] | None) -> bool:
    """Whether ``model`` is nowhere slower than ``other``, beyond noise."""
    measured = latencies({"model": model, "other": other}, samples, BATCHES)
    return all(
        us <= (1 + NOISE) * measured["other"][batch] for batch, us in measured["model"].items()
    )
