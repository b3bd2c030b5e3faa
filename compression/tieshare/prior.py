"""A network in which what must stay equal by prior knowledge is equal, and stays so in training.

Tensors that stay equal become one: every node that reads one of them reads the first. So they are
one parameter of the twin, whose gradient is the sum over all uses, they lose the same slices, and
the shared export stores them once. Rows that stay equal begin at their mean, and after each step
of stage 1 are set to it again; `regularised` makes them one group, `ties` leaves them together,
and for stage 2, as for the exports, rows that are equal are one.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain

import numpy as np
import torch
from onnx import GraphProto, ModelProto
from torch import Tensor

from tieshare.errors import RecipeError
from tieshare.graph.head import find_heads
from tieshare.graph.layers import Layer, from_rows, layers_of, to_rows
from tieshare.graph.nested import all_graphs
from tieshare.graph.structure import Structure
from tieshare.graph.tensors import Array, tensors, with_tensors
from tieshare.graph.view import view
from tieshare.graph.weights import weights_of
from tieshare.named import check_named
from tieshare.recipe import Recipe
from tieshare.tie_groups import TiedRows, TiedTensors, TieGroup
from tieshare.twin import Twin


def with_equal(model: ModelProto, recipe: Recipe) -> ModelProto:
    """The model with each group of the recipe at its mean, tensors of a group read as one.

    Nodes, names and shapes are those of ``model``; what nobody reads any more stays stored.
    RecipeError: names the entry of a group that the model does not have, or can't keep equal.
    """
    groups = recipe.tie_groups
    if not groups:
        return model
    check_named({layer.name: layer.rows for layer in layers_of(view(model))}, recipe)
    trained = weights_of(view(model), [head.output for head in find_heads(model)]).trained
    values, new = tensors(model), dict[str, Array]()
    for place, group in enumerate(groups):
        if isinstance(group, TiedTensors):
            _check_tensors(group, values, trained, f"tie_groups.{place}.tensors")
            members = np.stack([values[name] for name in group.tensors])
            new |= dict.fromkeys(group.tensors, members.mean(axis=0, dtype=np.float64))
    made = read_once(with_tensors(model, new), copies_of(model, groups))
    layers = {layer.name: layer for layer in layers_of(view(made))}
    for place, group in enumerate(groups):
        if isinstance(group, TiedRows):
            layer = layers.get(group.layer)
            if layer is None or layer.weight not in trained:
                why = "are those of another layer" if layer is None else "are not trained"
                raise RecipeError(
                    f"the weights of layer {group.layer!r} {why}", where=f"tie_groups.{place}.layer"
                )
            W = to_rows(layer, new.get(layer.weight, values[layer.weight])).copy()
            W[list(group.rows)] = W[list(group.rows)].mean(axis=0, dtype=np.float64)
            new[layer.weight] = from_rows(layer, W)
    return with_tensors(made, new)


def copies_of(model: ModelProto, groups: Iterable[TieGroup]) -> dict[str, str]:
    """From each tensor that another one stands for to that one, the first that the model stores."""
    places = {name: place for place, name in enumerate(tensors(model))}
    tied = [
        sorted(group.tensors, key=lambda name: places.get(name, len(places)))
        for group in groups
        if isinstance(group, TiedTensors)
    ]
    return {copy: first for first, *others in tied for copy in others}


def read_once(model: ModelProto, copies: Mapping[str, str]) -> ModelProto:
    """The model with each of ``copies`` read by the name of what it equals, where it does."""
    values = tensors(model) if copies else {}
    equal = {
        copy: first
        for copy, first in copies.items()
        if values[copy].tobytes() == values[first].tobytes()
    }
    if not equal:
        return model
    made = ModelProto()
    made.CopyFrom(model)
    _read_as(made.graph, equal)
    return made


def with_copies(model: ModelProto, made: ModelProto, copies: Mapping[str, str]) -> ModelProto:
    """``model`` with the values of ``made``, in which nobody reads the ``copies``.

    Where they are read, they are as they should be, and ``made`` is the answer.
    """
    if not copies or _reads(made.graph) & copies.keys():
        return made
    before, now = tensors(model), tensors(made)
    now |= {copy: now[first] for copy, first in copies.items()}
    changed = {n: array for n, array in now.items() if array.tobytes() != before[n].tobytes()}
    return with_tensors(model, changed)


class EqualRows:
    """Keeps the rows of a twin's weights that the recipe ties equal, bit for bit."""

    def __init__(self, twin: Twin, structure: Structure, groups: Sequence[TieGroup]) -> None:
        self._kept = []
        for layer in structure.layers:
            tied = [g.rows for g in groups if isinstance(g, TiedRows) and g.layer == layer.name]
            if tied and layer.weight in twin.names:
                self._kept.append(_Kept.of(twin.parameter(layer.weight), layer, tied))

    @torch.no_grad()
    def restore(self) -> None:
        """Set the rows of each group to their mean.

        After a step of gradient descent with momentum, which is linear in the gradients, that is
        a step along the mean of their gradients.
        """
        for one in self._kept:
            tied = one.W[one.rows]
            sums = torch.zeros_like(tied[: len(one.sizes)]).index_add_(0, one.groups, tied)
            means = sums / one.sizes.reshape(-1, *[1] * (tied.dim() - 1))
            one.W[one.rows] = means[one.groups]


@dataclass(frozen=True, eq=False)
class _Kept:
    """``rows`` (r,) of a weight W (rows, ...), the group of each, and how many each group has."""

    W: Tensor
    rows: Tensor
    groups: Tensor
    sizes: Tensor

    @classmethod
    def of(cls, weight: Tensor, layer: Layer, tied: Sequence[Sequence[int]]) -> "_Kept":
        sizes = torch.tensor([len(rows) for rows in tied], device=weight.device)
        rows = torch.tensor(list(chain.from_iterable(tied)), device=weight.device)
        groups = torch.repeat_interleave(sizes)
        return cls(weight.detach().movedim(layer.row_axis, 0), rows, groups, sizes)


def _read_as(graph: GraphProto, renamed: Mapping[str, str]) -> None:
    for inner in all_graphs(graph):
        for node in inner.node:
            for slot, name in enumerate(node.input):
                node.input[slot] = renamed.get(name, name)


def _reads(graph: GraphProto) -> set[str]:
    return {name for inner in all_graphs(graph) for node in inner.node for name in node.input}


def _check_tensors(
    group: TiedTensors, values: Mapping[str, Array], trained: Sequence[str], where: str
) -> None:
    for name in group.tensors:
        if name not in trained:
            why = "is not trained" if name in values else "is not stored in the model"
            raise RecipeError(
                f"tensor {name!r} {why}; those that are: {', '.join(trained)}", where=where
            )
    first, *others = group.tensors
    for name in others:
        if (values[name].shape, values[name].dtype) != (values[first].shape, values[first].dtype):
            raise RecipeError(
                f"tensors {first!r} {values[first].dtype}{values[first].shape} and {name!r} "
                f"{values[name].dtype}{values[name].shape} can't be equal",
                where=where,
            )
