"""Arithmetic of shapes inside a graph: numbers, and the lengths that they were made from."""

from collections.abc import Callable, Container, Iterable

from onnx import TensorProto

from tieshare.graph.flow.arithmetic import RULES, Length, Size
from tieshare.graph.shapes import Shape
from tieshare.graph.view import Node

__all__ = ["Length", "Size", "Sizes"]

_SAME = frozenset({"Cast", "Ceil", "Floor", "Identity", "Reshape", "Squeeze", "Unsqueeze"})


class Sizes:
    """The whole numbers that nodes compute from shapes, by value name.

    ``shape_of``  gives the shape of a value, None where it is not known.
    ``free``      the lengths that differ from one input of the network to another.
    """

    def __init__(
        self, shape_of: Callable[[str], Shape | None], free: Container[Length] = ()
    ) -> None:
        self._shape_of = shape_of
        self._free = free
        self._known: dict[str, tuple[Size, ...]] = {}
        self._other_dtypes: set[str] = set()
        self._lists: dict[tuple[int, int], tuple[int, ...]] = {}

    def read(self, node: Node, slot: int) -> tuple[Size, ...] | None:
        """The entries of an input that says how long axes are; None where it is not understood.

        One whose numbers are the same for every input of the network is as good as written down.
        """
        found = self._operand(node, slot)
        name = node.inputs[slot] if found is not None else ""
        if found is None or name not in self._known or node.known[slot] is not None:
            return found
        if any(size.free for size in found) or name in self._other_dtypes:
            return found
        self._lists[node.index, slot] = tuple(size.number for size in found)
        return tuple(
            Size(size.number, size.of, stated=(node.index, slot, place))
            for place, size in enumerate(found)
        )

    def written(self, node: int, slot: int) -> tuple[int, ...]:
        """The list that was read from an input, which is or could be written down."""
        return self._lists[node, slot]

    def lengths(self, names: Iterable[str]) -> frozenset[Length]:
        """All lengths that these values were made from."""
        known = (self._known.get(name, ()) for name in names)
        return frozenset(length for sizes in known for size in sizes for length in size.of)

    def follow(self, node: Node) -> bool:
        """Whether the node computes with sizes and nothing else; its output is known then."""
        made = self._made(node)
        shape = self._shape_of(node.outputs[0])
        if made is None or shape is None or len(shape) > 1:
            return False
        self._known[node.outputs[0]] = made
        cast = node.attributes["to"] if node.operator == "Cast" else TensorProto.INT64
        same = node.operator == "Cast" or self._other_dtypes.isdisjoint(node.inputs)
        if cast != TensorProto.INT64 or not same:
            self._other_dtypes.add(node.outputs[0])
        return True

    def _made(self, node: Node) -> tuple[Size, ...] | None:
        if node.operator == "Shape":
            return self._shape(node)
        if not any(name in self._known for name in node.inputs):
            return None
        if node.operator in _SAME:
            return self._known.get(node.inputs[0])
        rule = RULES.get(node.operator)
        asked = self.read if node.operator == "Concat" else self._operand
        read = [asked(node, slot) for slot in range(node.explicit)]
        if rule is None or any(sizes is None for sizes in read):
            return None
        made = rule(node, [sizes for sizes in read if sizes is not None])
        floats = not self._other_dtypes.isdisjoint(node.inputs)
        return None if made is None or (floats and any(size.rounded for size in made)) else made

    def _shape(self, node: Node) -> tuple[Size, ...] | None:
        value = node.inputs[0]
        shape = self._shape_of(value)
        if shape is None:
            return None
        whole = tuple(
            Size(length, ((value, axis),), free=(value, axis) in self._free)
            for axis, length in enumerate(shape)
        )
        return whole[slice(node.setting("start", default=0), node.setting("end"))]

    def _operand(self, node: Node, slot: int) -> tuple[Size, ...] | None:
        """What follows from shapes, and constants with the places where they are written down."""
        if not node.has(slot):
            return None
        if node.inputs[slot] in self._known:
            return self._known[node.inputs[slot]]
        constant = node.known[slot]
        if (
            constant is None
            or constant.dtype.kind not in "iubf"
            or constant.ndim > 1
            or (constant % 1).any()
        ):
            return None
        numbers = tuple(map(int, constant.ravel()))
        self._lists[node.index, slot] = numbers
        return tuple(Size(n, stated=(node.index, slot, i)) for i, n in enumerate(numbers))
