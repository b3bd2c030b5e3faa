"""Shuffled channels (Zhang et al., CVPR 2018) in as little time as they can take, or in none."""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import prod

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto, helper

from tieshare.exports.draft import Draft
from tieshare.graph.shapes import Shape, shapes_of

_CHANNELS = 1  # their axis where a convolution reads them
_LONGEST = 2**24  # values, whose places are followed one by one
# Lengths of free axes: what is exchanged must be so for both.
_LENGTHS = (2, 32), (3, 64)
_EACH_ALONE = {
    *("Relu", "LeakyRelu", "Elu", "Selu", "Celu", "Sigmoid", "HardSigmoid", "HardSwish", "Tanh"),
    *("Gelu", "Mish", "Softplus", "Softsign", "Abs", "Neg", "Exp", "Sqrt", "Identity"),
    *("AveragePool", "GlobalAveragePool", "GlobalMaxPool", "MaxPool"),
}
"""What treats each channel by itself and as any other."""


_Chain = tuple[int, int, int]
"""Indices of nodes."""


@dataclass(frozen=True, eq=False)
class _Shuffle:
    """``output[j] = source[order[j]]`` along the axis."""

    nodes: _Chain
    source: str
    output: str
    axis: int
    order: NDArray[np.int64]


def cheap_shuffles(model: ModelProto) -> ModelProto:
    """The same function with shuffles as orders of weights, or else as a Gather.

    1. Reshape, Transpose and Reshape shuffle where they do nothing but change the order of slices
       along one axis.
    2. A convolution that reads such channels can take its rows in that order, also through what
       treats each channel by itself, depthwise convolutions among it: then nothing is shuffled.
    3. Each piece of a Split is gathered by itself. For all other readers one Gather is made.
    """
    draft = Draft(model)
    reading = _Reading(draft)
    chains = list(_chains(draft, reading))
    if not chains:
        return model
    lengths = [shapes_of(draft.model(), *free) for free in _LENGTHS]
    made: dict[int, list[NodeProto]] = {}
    for chain in chains:
        shuffle = _shuffle(draft, chain, lengths)
        if shuffle is not None:
            made |= _Readers(draft, reading, shuffle, lengths[0]).replaced()
    nodes = list(draft.nodes)
    draft.nodes = [each for i, node in enumerate(nodes) for each in made.get(i, [node])]
    return draft.model()


def _chains(draft: Draft, reading: "_Reading") -> Iterator[_Chain]:
    """Reshape, Transpose and Reshape that read each other, and nobody else does."""
    for index, first in enumerate(draft.nodes):
        second = reading.only(first.output[0])
        third = None if second is None else reading.only(draft.nodes[second].output[0])
        if second is not None and third is not None:
            kinds = [draft.nodes[place].op_type for place in (index, second, third)]
            if kinds == ["Reshape", "Transpose", "Reshape"]:
                yield index, second, third


def _shuffle(
    draft: Draft, chain: _Chain, lengths: Sequence[Mapping[str, Shape]]
) -> _Shuffle | None:
    first, second, third = (draft.nodes[index] for index in chain)
    orders = {_order(first, second, third, shapes) for shapes in lengths}
    found = orders.pop()
    if found is None or orders:
        return None
    axis, order = found
    return _Shuffle(chain, first.input[0], third.output[0], axis, np.array(order))


def _order(
    first: NodeProto, second: NodeProto, third: NodeProto, shapes: Mapping[str, Shape]
) -> tuple[int, tuple[int, ...]] | None:
    """The axis and the order of its slices; None where it is not so simple."""
    before, parted, after = (
        shapes.get(name) for name in (first.input[0], first.output[0], third.output[0])
    )
    if before is None or parted is None or before != after or prod(before) > _LONGEST:
        return None
    turned = next((list(a.ints) for a in second.attribute if a.name == "perm"), None)
    places = np.arange(prod(before)).reshape(before)
    found = places.reshape(parted).transpose(turned).reshape(before)
    for axis, length in enumerate(before):
        step = prod(before[axis + 1 :])
        order = found.ravel()[: length * step : step] // step
        if np.array_equal(places.take(order % length, axis), found):
            return axis, tuple(order.tolist())
    return None


class _Readers:
    """Of one shuffle, and what becomes of them."""

    def __init__(
        self, draft: Draft, reading: "_Reading", shuffle: _Shuffle, shapes: Mapping[str, Shape]
    ) -> None:
        self.draft, self.reading, self.shuffle, self.shapes = draft, reading, shuffle, shapes

    def replaced(self) -> dict[int, list[NodeProto]]:
        """What comes in place of nodes, by their index."""
        shuffle = self.shuffle
        made: dict[int, list[NodeProto]] = {index: [] for index in shuffle.nodes}
        every = self.reading.every(shuffle.output)
        whole = every is None
        for index in every or ():
            node = self.draft.nodes[index]
            convolutions = self._convolutions(index, shuffle.output)
            if convolutions is not None:
                node.input[0] = shuffle.source
                for conv in convolutions:
                    self._reorder(conv)
            elif self._splits(node):
                made[index] = self._pieces(node)
            else:
                whole = True
        if whole:
            made[shuffle.nodes[-1]] = [self._gather(shuffle.order, shuffle.output)]
        return made

    def _convolutions(self, index: int, value: str) -> list[NodeProto] | None:
        """Those that have to take the order so that nobody else needs it behind this node.

        None where somebody does.
        """
        node = self.draft.nodes[index]
        if not self._takes(node, value):
            return None
        found = [node] if node.op_type == "Conv" else []
        if found and not self._is_depthwise(node):
            return found
        for reader in self.reading.every(node.output[0]) or [index]:  # which does not read itself
            behind = self._convolutions(reader, node.output[0])
            if behind is None:
                return None
            found += behind
        return found

    def _takes(self, node: NodeProto, value: str) -> bool:
        """Whether the node may read channels in another order, and send them on in that one."""
        if self.shuffle.axis != _CHANNELS or node.input[0] != value or value in node.input[1:]:
            return False
        if node.op_type != "Conv":
            return node.op_type in _EACH_ALONE and len(node.input) == len(node.output) == 1
        if not all(map(self.reading.owned, filter(None, node.input[1:]))):
            return False
        units, rows = self.draft.array(node.input[1]).shape[:2]
        channels = len(self.shuffle.order)
        return rows == channels or (units, rows) == (channels, 1)

    def _is_depthwise(self, conv: NodeProto) -> bool:
        return bool(self.draft.array(conv.input[1]).shape[1] != len(self.shuffle.order))

    def _reorder(self, conv: NodeProto) -> None:
        """Its rows; of a depthwise convolution its units, with their biases."""
        places = np.argsort(self.shuffle.order)
        depthwise = self._is_depthwise(conv)
        for name in filter(None, conv.input[1:] if depthwise else conv.input[1:2]):
            array = self.draft.array(name)
            self.draft.put(name, array.take(places, axis=0 if depthwise else 1))

    def _splits(self, node: NodeProto) -> bool:
        axes = [item.i for item in node.attribute if item.name == "axis"] or [0]
        known = all(name in self.shapes for name in node.output)
        axis = axes[0] % len(self.shapes[self.shuffle.output])
        return node.op_type == "Split" and known and axis == self.shuffle.axis

    def _pieces(self, split: NodeProto) -> list[NodeProto]:
        lengths = [self.shapes[name][self.shuffle.axis] for name in split.output]
        orders = np.split(self.shuffle.order, np.cumsum(lengths)[:-1])
        return [self._gather(*each) for each in zip(orders, split.output, strict=True)]

    def _gather(self, order: NDArray[np.int64], output: str) -> NodeProto:
        places = self.draft.add(f"{output}.order", order.astype(np.int32))
        inputs = [self.shuffle.source, places]
        return helper.make_node("Gather", inputs, [output], axis=self.shuffle.axis)


class _Reading:
    """Which nodes read a value."""

    def __init__(self, draft: Draft) -> None:
        self.draft, self.reads = draft, draft.readers()
        self.nodes: dict[str, list[int]] = defaultdict(list)
        for index, node in enumerate(draft.nodes):
            for name in node.input:
                self.nodes[name].append(index)

    def every(self, value: str) -> list[int] | None:
        """Their indices; None where a graph output or an inner graph reads it too."""
        return self.nodes[value] if len(self.nodes[value]) == self.reads[value] else None

    def only(self, value: str) -> int | None:
        """The node that alone reads the value, once."""
        every = self.every(value)
        return every[0] if every is not None and len(every) == 1 else None

    def owned(self, name: str) -> bool:
        """Whether it is a stored tensor that one node reads."""
        return self.draft.stored(name) and self.only(name) is not None
