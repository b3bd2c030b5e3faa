"""A graph that was exported for one batch size, made to take any."""

import numpy as np
from onnx import ModelProto, helper, numpy_helper

from tieshare.graph.batch_change import LENGTH, Change
from tieshare.graph.batch_rules import BROADCAST, change_of
from tieshare.graph.batch_spread import BATCH, MixedSamples, Spread, mixes
from tieshare.graph.batch_values import BatchValues
from tieshare.graph.view import Node, View, view

# How often other places of the batch are tried for the sake of one node.
_TRIALS = 64


def with_free_batch(model: ModelProto) -> ModelProto:
    """The same function of each sample, for any number of samples.

    Constant shapes that state the exported batch, alone or joined with other axes, follow that of
    the first input; so do constants that hold the same for every sample. Only the graph's nodes
    change, and constants are added; its inputs and outputs go on stating the exported batch. The
    bodies of control flow stay as they are. A graph that needs no change is handed back itself.
    """
    seen = view(model)
    values = BatchValues(model, seen)
    if values.batch is None:
        return model
    changes = _Search(model, seen, values).changes()
    if not changes:
        return model
    free = ModelProto()
    free.CopyFrom(model)
    del free.graph.node[:]
    shape, first = f"{LENGTH}.shape", f"{LENGTH}.first"
    free.graph.initializer.append(numpy_helper.from_array(np.zeros(1, dtype=np.int64), first))
    free.graph.node.append(helper.make_node("Shape", [values.source], [shape]))
    free.graph.node.append(helper.make_node("Gather", [shape, first], [LENGTH], axis=0))
    for index, node in enumerate(model.graph.node):
        if index in changes:
            free.graph.node.extend((*changes[index].nodes, changes[index].proto))
            free.graph.initializer.extend(changes[index].initializers)
        else:
            free.graph.node.append(node)
    return free


class _Search:
    """Node by node; where the batch may lie in several places, the likeliest comes first.

    A node that would mix samples proves a place wrong: the last place that could be another one
    is changed, and the search goes on from there.
    """

    def __init__(self, model: ModelProto, seen: View, values: BatchValues) -> None:
        self._model, self._seen, self._values = model, seen, values
        self._choices: dict[int, int] = {}
        self._changes: dict[int, Change] = {}
        self._trials: dict[int, int] = {}
        self._before: dict[int, dict[int, int]] = {}

    def changes(self) -> dict[int, Change]:
        """By index of the node, those that differ from the node in the file."""
        place = 0
        while place < len(self._seen.nodes):
            try:
                self._follow(self._seen.nodes[place])
                place += 1
            except MixedSamples:
                place = self._retry(self._seen.nodes[place])
        return {index: change for index, change in self._changes.items() if change.differs}

    def _follow(self, node: Node) -> None:
        values = self._values
        if not self._seen.tensors.keys().isdisjoint(node.outputs):
            return
        values.forget(node.outputs)
        self._changes.pop(node.index, None)
        proto = self._model.graph.node[node.index]
        change = change_of(node, proto, values, self._choices.get(node.index, 0))
        spreads = [values.spreads.get(name) for name in change.proto.input]
        if self._trials.get(node.index) == _TRIALS:
            return
        self._changes[node.index] = change
        if mixes(node, spreads) or (node.operator in BROADCAST and not _match(spreads)):
            raise MixedSamples
        like = next((spread for spread in spreads if spread is not None), None)
        values.run(node, change.proto, like)

    def _retry(self, node: Node) -> int:
        """Change an earlier choice and say which; the node itself where all has been tried."""
        index = node.index
        self._before.setdefault(index, dict(self._choices))
        self._trials[index] = self._trials.get(index, 0) + 1
        for earlier in sorted(self._above(node), reverse=True):
            choice = self._choices.get(earlier, 0) + 1
            if choice < self._changes[earlier].alternatives and self._trials[index] < _TRIALS:
                kept = {place: made for place, made in self._choices.items() if place < earlier}
                self._choices = {**kept, earlier: choice}
                return earlier
        self._trials[index] = _TRIALS
        tried, self._choices = self._choices, self._before[index]
        undone = [p for p in {**tried, **self._choices} if tried.get(p) != self._choices.get(p)]
        return min([*undone, index])

    def _above(self, node: Node) -> set[int]:
        """Nodes that the node depends on and that had a choice."""
        found: set[int] = set()
        pending = [node]
        while pending:
            for name in pending.pop().inputs:
                maker = self._seen.producers.get(name)
                if maker is not None and maker.index not in found:
                    found.add(maker.index)
                    pending.append(maker)
        return {index for index in found if index in self._changes}


def _match(spreads: list[Spread | None]) -> bool:
    """Whether values that are combined element by element hold the samples in the same places."""
    held = {(s.shape[s.axis] // BATCH, s.axis - len(s.shape), s.inner) for s in spreads if s}
    return len(held) < 2
