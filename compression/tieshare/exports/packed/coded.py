"""A value written as stored tensors and the nodes that make it of them."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from onnx import NodeProto, TensorProto, helper

from tieshare.exports.packed.tensors import four_bit, stored
from tieshare.graph.tensors import Array


@dataclass(frozen=True, eq=False)
class Coded:
    """``nodes`` in order; what the last of them makes, or the only tensor, is the value."""

    tensors: tuple[TensorProto, ...]
    nodes: tuple[NodeProto, ...] = ()

    def bytes(self) -> int:
        """What it adds to the file, with names of one letter."""
        return sum(map(_entry, self.tensors)) + sum(map(_entry, self.nodes))


class Writer:
    """Writes the value ``name``; its parts are called ``stem.0``, ``stem.1`` and so on."""

    def __init__(self, name: str, stem: str) -> None:
        self._name, self._stem = name, stem
        self._tensors: list[TensorProto] = []
        self._nodes: list[NodeProto] = []

    def store(self, array: Array, *, four: bool = False) -> str:
        """The name of a stored tensor, with four bits an entry if ``four``."""
        name = self._next()
        self._tensors.append(four_bit(array, name) if four else stored(array, name))
        return name

    def node(self, operator: str, *inputs: str, **attributes: Any) -> str:
        """The name of what a node makes."""
        name = self._next()
        self._nodes.append(helper.make_node(operator, inputs, [name], **attributes))
        return name

    def coded(self) -> Coded:
        """What was written, the last part being the value."""
        if self._nodes:
            self._nodes[-1].output[0] = self._name
        else:
            self._tensors[-1].name = self._name
        return Coded(tuple(self._tensors), tuple(self._nodes))

    def _next(self) -> str:
        return f"{self._stem}.{len(self._tensors) + len(self._nodes)}"


def shortest(ways: Iterable[Coded | None]) -> Coded:
    """Of the ways that apply the one of fewest bytes, the first of equals."""
    return min((way for way in ways if way is not None), key=Coded.bytes)


def _entry(item: TensorProto | NodeProto) -> int:
    """The item with its tag and its length, and one byte for each name."""
    names = [item.name] if isinstance(item, TensorProto) else [*item.input, *item.output]
    size = item.ByteSize() - sum(len(name.encode()) - 1 for name in names if name)
    return size + 1 + (size.bit_length() + 6) // 7
