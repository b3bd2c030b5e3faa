"""What an operator is to the twin."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from tieshare.graph.view import Node

# Called with all of the node's inputs in order, None for one left out. It returns a tuple where
# the operator has several outputs, as many at least as the node names.
Operation = Callable[..., Tensor | tuple[Tensor, ...]]

# Reads a node's options once. An Operation that is a torch module becomes part of the twin.
Builder = Callable[[Node], Operation]


@dataclass(frozen=True)
class Option:
    """An option that opsets keep as an attribute or as an input, which may be computed.

    ``fixed``  whether ``value`` is known before the graph runs.
    """

    slot: int
    fixed: bool
    value: Any

    def of(self, inputs: Sequence[Tensor | None]) -> Any:
        """Plain Python; ``inputs`` are those of the node, in order."""
        if self.fixed:
            return self.value
        given = inputs[self.slot]
        return self.value if given is None else given.tolist()


def option(node: Node, name: str, slot: int, default: Any = None) -> Option:
    """The option ``name``, which the inputs hold in ``slot`` where it is no attribute."""
    if name in node.attributes:
        return Option(slot, fixed=True, value=node.attributes[name])
    if not node.has(slot):
        return Option(slot, fixed=True, value=default)
    known = node.known[slot]
    if known is None:
        return Option(slot, fixed=False, value=default)
    return Option(slot, fixed=True, value=known.tolist())
