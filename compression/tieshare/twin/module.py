"""The twin: an ONNX graph that torch runs and trains, its tensors under their ONNX names."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from onnx import ModelProto
from torch import Tensor, nn

from tieshare.errors import UnsupportedModel
from tieshare.graph.batch import with_free_batch
from tieshare.graph.operators import OPERATORS, check_operators
from tieshare.graph.tensors import Array
from tieshare.graph.view import Node, View, view
from tieshare.graph.weights import weights_of
from tieshare.twin.table import TABLE
from tieshare.twin.types import Operation


def from_onnx(model: ModelProto, outputs: Sequence[str] | None = None) -> "Twin":
    """Build the part of the graph that these values depend on, in evaluation mode.

    ``outputs`` are value names, graph outputs by default. UnsupportedOperator: a node of that
    part can't be trained. UnsupportedModel: there is no such value.
    """
    seen = view(with_free_batch(model))
    wanted = tuple(seen.outputs if outputs is None else outputs)
    for name in wanted:
        if name not in seen.producers and name not in seen.inputs and name not in seen.tensors:
            raise UnsupportedModel(f"the graph has no value {name!r}", where=name)
    check_operators(model, wanted)
    return Twin(seen, wanted).eval()


@dataclass(frozen=True)
class _Step:
    """Run one node on these slots; then forget the slots that nothing reads any more."""

    run: Operation
    inputs: tuple[int, ...]
    output: int
    forget: tuple[int, ...]


class Twin(nn.Module):
    """Call it with the graph's inputs in order; it returns the asked values in order.

    Each stored float tensor that a gradient reaches is one parameter, however many nodes use
    it; running statistics and constants are buffers. ``names`` lists the parameters and
    ``statistics`` the running statistics by their ONNX names.
    """

    def __init__(self, seen: View, outputs: tuple[str, ...]) -> None:
        super().__init__()
        nodes = seen.needed(outputs)
        weights = weights_of(seen, outputs)
        self.names, self.statistics = weights.trained, weights.statistics
        constants = _constants(nodes, outputs, seen, {*self.names, *self.statistics})
        self.inputs, self.outputs = seen.inputs, outputs
        values = [*self.names, *self.statistics, *constants, "", *self.inputs]
        values += [node.outputs[0] for node in nodes]
        self._slots = {name: slot for slot, name in enumerate(values)}
        for name in self.names:
            parameter = nn.Parameter(_tensor(seen.tensors[name]))
            self.register_parameter(f"weight_{self._slots[name]}", parameter)
        for name in (*self.statistics, *constants):
            array = seen.tensors[name]
            self.register_buffer(f"constant_{self._slots[name]}", _tensor(array))
        operations = [TABLE[node.operator](node) for node in nodes]
        self._modules_of_nodes = nn.ModuleList(
            operation for operation in operations if isinstance(operation, nn.Module)
        )
        self._steps = tuple(self._plan(nodes, operations))
        self._results = tuple(self._slots[name] for name in outputs)
        self._blank = [None] * (len(values) - self._slots[""] - 1 - len(self.inputs))

    def _plan(self, nodes: Sequence[Node], operations: Sequence[Operation]) -> Iterable[_Step]:
        made = {self._slots[node.outputs[0]] for node in nodes}
        read = [tuple(self._slots[name] for name in _data(node)) for node in nodes]
        last = {slot: step for step, slots in enumerate(read) for slot in slots}
        kept = {self._slots[name] for name in self.outputs}
        for step, (node, run) in enumerate(zip(nodes, operations, strict=True)):
            forget = {slot for slot in read[step] if slot in made and last[slot] == step} - kept
            yield _Step(run, read[step], self._slots[node.outputs[0]], tuple(forget))

    def forward(
        self, *inputs: Tensor, weights: Mapping[str, Tensor] | None = None
    ) -> Tensor | tuple[Tensor, ...]:
        """Run the graph; ``weights`` take the place of stored tensors, by value name."""
        if len(inputs) != len(self.inputs):
            raise TypeError(f"the graph has {len(self.inputs)} inputs, {len(inputs)} were given")
        env: list[Tensor | None] = [
            *self._parameters.values(),
            *self._buffers.values(),
            None,
            *inputs,
            *self._blank,
        ]
        for name, value in (weights or {}).items():
            env[self._slots[name]] = value
        for step in self._steps:
            env[step.output] = step.run(*[env[slot] for slot in step.inputs])
            for slot in step.forget:
                env[slot] = None
        results = tuple(env[slot] for slot in self._results)
        return results[0] if len(results) == 1 else results  # type: ignore[return-value]

    def parameter(self, name: str) -> nn.Parameter:
        """The parameter of a stored tensor; KeyError where it is not trained."""
        if name not in self.names:
            raise KeyError(name)
        return self.get_parameter(f"weight_{self._slots[name]}")

    def tensors(self) -> dict[str, Array]:
        """Copies of all that training has changed, running statistics included."""
        changed: dict[str, Array] = {}
        for name in self.names:
            changed[name] = self.parameter(name).detach().cpu().numpy().copy()
        for name in self.statistics:
            buffer = self.get_buffer(f"constant_{self._slots[name]}")
            changed[name] = buffer.cpu().numpy().copy()
        return changed


def _data(node: Node) -> tuple[str, ...]:
    """The inputs that are not options; a missing one is the empty name."""
    settings = OPERATORS[node.operator].settings
    return tuple(name for slot, name in enumerate(node.inputs) if slot not in settings)


def _constants(
    nodes: Iterable[Node], outputs: Iterable[str], seen: View, trained: set[str]
) -> tuple[str, ...]:
    """Stored tensors that nodes read as data and that training leaves alone."""
    read = [name for node in nodes for name in _data(node)]
    stored = (name for name in (*read, *outputs) if name in seen.tensors and name not in trained)
    return tuple(dict.fromkeys(stored))


def _tensor(array: Array) -> Tensor:
    return torch.from_numpy(np.array(array, order="C"))
