"""Nodes in order on a list of values: what runs a graph, and the body of a control flow node."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from torch import Tensor, nn

from tieshare.graph.view import Node, View
from tieshare.twin.types import Operation

Values = list[Tensor | None]


@dataclass(frozen=True)
class _Step:
    """Run one node on these slots; then forget the slots that nothing reads any more.

    ``outputs``: which of the results goes to which slot.
    """

    run: Operation
    inputs: tuple[int, ...]
    outputs: tuple[tuple[int, int], ...]
    forget: tuple[int, ...]


class Program(nn.Module):
    """The part of a graph that ``outputs`` depend on.

    ``sources``    names of the values that ``forward`` is given, in order.
    ``operation``  makes what runs a node.
    """

    def __init__(
        self,
        seen: View,
        outputs: Sequence[str],
        sources: Sequence[str],
        operation: Callable[[Node], Operation],
    ) -> None:
        super().__init__()
        nodes = seen.needed(outputs)
        made = [name for node in nodes for name in node.outputs if name]
        values = [*sources, *([] if "" in sources else [""]), *made]
        self.slots = {name: slot for slot, name in enumerate(values)}
        self._blank = [None] * (len(values) - len(sources))
        operations = [operation(node) for node in nodes]
        self._modules_of_nodes = nn.ModuleList(
            run for run in operations if isinstance(run, nn.Module)
        )
        self._results = tuple(self.slots[name] for name in outputs)
        self._steps = tuple(self._plan(nodes, operations))

    def _plan(self, nodes: Sequence[Node], operations: Sequence[Operation]) -> Iterable[_Step]:
        read = [tuple(self.slots[name] for name in node.inputs) for node in nodes]
        made = [
            tuple((place, self.slots[name]) for place, name in enumerate(node.outputs) if name)
            for node in nodes
        ]
        last = {slot: step for step, slots in enumerate(read) for slot in slots}
        inner = {slot for outputs in made for _, slot in outputs}
        for step, run in enumerate(operations):
            forget = {slot for slot in read[step] if slot in inner and last[slot] == step}
            forget |= {slot for _, slot in made[step] if slot not in last}
            yield _Step(run, read[step], made[step], tuple(forget.difference(self._results)))

    def forward(self, *sources: Tensor | None) -> tuple[Tensor, ...]:
        """The outputs in order."""
        env: Values = [*sources, *self._blank]
        for step in self._steps:
            result = step.run(*[env[slot] for slot in step.inputs])
            if isinstance(result, tuple):
                for place, slot in step.outputs:
                    env[slot] = result[place]
            else:
                env[step.outputs[0][1]] = result
            for slot in step.forget:
                env[slot] = None
        return tuple(env[slot] for slot in self._results)  # type: ignore[misc]
