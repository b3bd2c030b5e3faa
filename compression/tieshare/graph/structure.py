"""Which units of one layer are which rows of the next."""

import heapq
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from onnx import ModelProto

from tieshare.graph.follow import Crossing, Owned, Units, passage
from tieshare.graph.layers import Layer, from_rows, layers_of, to_rows
from tieshare.graph.shapes import Shape, shapes_of
from tieshare.graph.view import Node, View, view

__all__ = ["Layer", "Link", "Structure", "from_rows", "structure_of", "to_rows"]

# What may stand between a Shape node and the target of a Reshape.
_SHAPE_GLUE = frozenset(
    {"Add", "Cast", "Concat", "Div", "Gather", "Mul", "Slice", "Squeeze", "Sub", "Unsqueeze"}
)


@dataclass(frozen=True, eq=False)
class Link:
    """All that reads the units of ``producer`` is ``consumer``: a unit whose rows are dead can go.

    ``unit_of_row``  (consumer.rows,) the unit that each row reads; -1 for padding, which stays.
    ``carried``      stored tensors in between with one entry a unit, and the axis of the entries.
    ``reshapes``     indices of Reshape nodes in between with a constant target. Of its entries
                     after the first, exactly one equals consumer.rows: it counts the rows.
    """

    producer: str
    consumer: str
    unit_of_row: Units
    carried: tuple[tuple[str, int], ...]
    reshapes: tuple[int, ...]


@dataclass(frozen=True)
class Structure:
    """The layers in graph order, and the links between them; a layer has at most one each way.

    No link means that something between the layers is not understood: all units stay.
    """

    layers: tuple[Layer, ...]
    links: tuple[Link, ...]


def structure_of(model: ModelProto) -> Structure:
    """Find the layers, and follow the units of each to the layer that reads them."""
    seen = view(model)
    layers = layers_of(seen)
    shapes = shapes_of(model)
    links = [_follow(layer, layers, seen, shapes) for layer in layers]
    return Structure(layers, tuple(link for link in links if link is not None))


def _follow(
    layer: Layer, layers: tuple[Layer, ...], seen: View, shapes: Mapping[str, Shape]
) -> Link | None:
    if not _can_lose_units(layer, seen) or layer.output not in shapes:
        return None
    return _Walk(layer, layers, seen, shapes).link()


def _can_lose_units(layer: Layer, seen: View) -> bool:
    return layer.uses == 1 and (layer.bias is None or len(seen.readers[layer.bias]) == 1)


class _Walk:
    """One layer's units on their way through the graph, node by node in graph order."""

    def __init__(
        self, layer: Layer, layers: tuple[Layer, ...], seen: View, shapes: Mapping[str, Shape]
    ) -> None:
        self.layer, self.seen, self.shapes = layer, seen, shapes
        self.layer_at = {item.node: item for item in layers}
        shape = shapes[layer.output]
        axis = 1 if layer.operator == "Conv" else len(shape) - 1
        self.owned = {layer.output: Owned(shape, axis, np.arange(layer.units))}
        self.glue: set[str] = set()
        self.carried: list[tuple[str, int]] = []
        self.reshapes: dict[int, int] = {}
        self.consumers: list[tuple[Layer, Units]] = []

    def link(self) -> Link | None:
        """None where anything on the way is a barrier."""
        pending = self._readers(self.layer.output)
        done: set[int] = set()
        while pending:
            index = heapq.heappop(pending)
            if index in done:
                continue
            done.add(index)
            made = self._pass(self.seen.nodes[index])
            if made is None:
                return None
            for value in made:
                for reader in self._readers(value):
                    heapq.heappush(pending, reader)
        if len(self.consumers) != 1 or self._leaves_the_graph() or self._shares_carried():
            return None
        consumer, unit_of_row = self.consumers[0]
        if any(length != consumer.rows for length in self.reshapes.values()):
            return None
        return Link(
            producer=self.layer.name,
            consumer=consumer.name,
            unit_of_row=unit_of_row,
            carried=tuple(dict.fromkeys(self.carried)),
            reshapes=tuple(self.reshapes),
        )

    def _readers(self, value: str) -> list[int]:
        return sorted(node.index for node, _ in self.seen.readers.get(value, ()))

    def _pass(self, node: Node) -> tuple[str, ...] | None:
        """The values that the node hands on; None at a barrier."""
        if not self.owned.keys() & set(node.inputs):
            return self._hand_on_shape(node) if node.operator in _SHAPE_GLUE else None
        if node.operator == "Shape":
            return self._hand_on_shape(node)
        if node.index in self.layer_at:
            return () if self._consume(node, self.layer_at[node.index]) else None
        if node.operator != "Reshape" and not self.glue.isdisjoint(node.inputs):
            return None
        return self._hand_on(node)

    def _hand_on_shape(self, node: Node) -> tuple[str, ...]:
        self.glue.update(node.outputs)
        return node.outputs

    def _hand_on(self, node: Node) -> tuple[str, ...] | None:
        if any(value in self.seen.readers for value in node.outputs[1:]):
            return None
        shape = self.shapes.get(next(iter(node.outputs), ""))
        passed = passage(Crossing(node, self.owned, self.seen, shape))
        if passed is None:
            return None
        self.carried.extend(passed.carried)
        if passed.length is not None:
            self.reshapes[node.index] = passed.length
        self.owned[node.outputs[0]] = passed.value
        return node.outputs[:1]

    def _consume(self, node: Node, layer: Layer) -> bool:
        value = self.owned.get(node.inputs[0])
        if value is None or layer.uses != 1 or set(node.inputs[1:]) & self.owned.keys():
            return False
        axis = 1 if layer.operator == "Conv" else len(value.shape) - 1
        if value.axis != axis or len(value.units) != layer.rows:
            return False
        self.consumers.append((layer, value.units))
        return True

    def _leaves_the_graph(self) -> bool:
        return not {*self.owned, *self.glue}.isdisjoint(self.seen.outputs)

    def _shares_carried(self) -> bool:
        """Whether a tensor on the way is read elsewhere too: it can't lose entries there."""
        return any(
            len(self.seen.readers[name]) != sum(name == other for other, _ in self.carried)
            or name in self.seen.outputs
            for name, _ in self.carried
        )
