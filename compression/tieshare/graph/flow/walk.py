"""The state of a walk through a graph, in which the rules record what they find."""

from collections.abc import Collection, Container, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from tieshare.graph.atoms import Atoms, Ids
from tieshare.graph.flow.counting import Counting
from tieshare.graph.flow.sizes import Length, Sizes
from tieshare.graph.flow.values import Axis, Counted, Numbered, Value
from tieshare.graph.shapes import Shape
from tieshare.graph.view import Node, View


class Walk:
    """One walk.

    ``tensors``   the axes of every stored float tensor that was read.
    ``reads``     by tensor, axes along which its slices multiply units: a number that is not zero
                  reads the units of its slices along all axes of one set.
    ``occupied``  axes of which at least one slice has to stay.
    """

    def __init__(
        self, seen: View, shapes: Mapping[str, Shape], free: Container[Length] = ()
    ) -> None:
        self.seen, self.shapes = seen, shapes
        self.atoms = Atoms()
        self.sizes = Sizes(self.shape, free)
        self.counting = Counting(self.atoms, self.sizes, self.value)
        self.values: dict[str, Value] = {}
        self.tensors: dict[str, Value] = {}
        self.reads: dict[str, set[frozenset[int]]] = {}
        self.occupied: list[Ids] = []
        self.edits: list[Counted | Numbered] = []

    def shape(self, name: str) -> Shape | None:
        """None where it is not known."""
        known = self.values.get(name, self.seen.tensors.get(name))
        return self.shapes.get(name) if known is None else known.shape

    def value(self, name: str) -> Value:
        """What is known of a value; nobody owns an axis of one that no rule has made."""
        if name in self.values:
            return self.values[name]
        array = self.seen.tensors.get(name)
        if array is None or not np.issubdtype(array.dtype, np.floating):
            return Value(self.shape(name) or ())
        long = [axis for axis, length in enumerate(array.shape) if length > 1]
        axes = {
            axis: Axis(self.atoms.fresh(array.shape[axis]), frozenset({(name, axis)}))
            for axis in long
        }
        self.values[name] = self.tensors[name] = Value(array.shape, axes)
        return self.values[name]

    def pin(self, *axes: Axis | None) -> None:
        """These axes keep their length."""
        for axis in axes:
            if axis is not None:
                self.atoms.pin(axis.ids)

    def hold(self, *values: Value, free: Collection[int] = ()) -> None:
        """Nothing goes of the values, along other axes than the free ones."""
        for value in values:
            self.pin(*(axis for place, axis in value.axes.items() if place not in free))

    def hold_lengths(self, names: Iterable[str]) -> None:
        """Nothing goes of the axes whose lengths these values were made from."""
        for name, place in self.sizes.lengths(names):
            self.pin(self.value(name).axes.get(place))

    def meet(self, axes: Sequence[Axis | None]) -> Axis | None:
        """The one axis that all of these are; if one of them is nobody's, all stay."""
        owned = [axis for axis in axes if axis is not None]
        if len(owned) < len(axes):
            self.pin(*owned)
        for other in owned[1:]:
            self.atoms.meet(owned[0].ids, other.ids)
        return Axis(owned[0].ids) if owned else None

    def contract(self, pairs: Sequence[tuple[Axis | None, Axis | None]]) -> None:
        """A sum of products over some axes of two values at once.

        Where one of them is a weight, its zeros read nothing, and the slices of the other may go
        with them. A product of two activations reads all of both.
        """
        for pair in pairs:
            self.meet(pair)
        weights = [read for side in zip(*pairs, strict=True) if (read := _origins(side))]
        if len(weights) == 1 and all(len(axes) == len(pairs) for axes in weights[0].values()):
            for tensor, axes in weights[0].items():
                self.reads.setdefault(tensor, set()).add(frozenset(axes))
        else:
            self.pin(*(axis for pair in pairs for axis in pair))


def _origins(side: Iterable[Axis | None]) -> dict[str, set[int]]:
    """The stored tensors that one side of a product is made of, and the axes summed over."""
    found: dict[str, set[int]] = {}
    for axis in side:
        for tensor, place in axis.origins if axis is not None else ():
            found.setdefault(tensor, set()).add(place)
    return found


@dataclass(frozen=True, eq=False)
class Crossing:
    """A node that owned values have reached.

    ``inputs``  one for each input, without axes where nobody owns any or the input is left out.
    ``shapes``  of the outputs; None where it is not known.
    """

    node: Node
    inputs: tuple[Value, ...]
    shapes: tuple[Shape | None, ...]
    walk: Walk

    @property
    def shape(self) -> Shape | None:
        """Of the first output."""
        return self.shapes[0]

    def input(self, slot: int) -> Value | None:
        """None for an input that is left out."""
        return self.inputs[slot] if self.node.has(slot) else None

    def hold(self) -> list[Value]:
        """Nothing is understood: all that the node reads stays, and nobody owns its outputs."""
        self.walk.hold(*self.inputs)
        self.walk.hold_lengths(self.node.inputs)
        return []
