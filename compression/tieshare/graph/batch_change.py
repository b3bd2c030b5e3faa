"""A node that reads other shapes and constants, so that it takes batches of any size."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from onnx import NodeProto, TensorProto, helper, numpy_helper

from tieshare.graph.batch_spread import BATCH, Spread
from tieshare.graph.batch_values import BatchValues
from tieshare.graph.tensors import Array
from tieshare.graph.view import Node

# The value that holds the batch size, as a list of one.
LENGTH = "free_batch.length"


class Change:
    """A copy of a node of the file, and the nodes and constants that are put in front of it.

    ``alternatives``  how many axes of its output may hold the batch.
    """

    def __init__(self, node: Node, proto: NodeProto, values: BatchValues) -> None:
        self.node, self.values = node, values
        self.proto = NodeProto()
        self.proto.CopyFrom(proto)
        self.nodes: list[NodeProto] = []
        self.initializers: list[TensorProto] = []
        self.alternatives = 1

    @property
    def batch(self) -> int:
        """The batch size of the exported graph."""
        return self.values.batch or 0

    @property
    def differs(self) -> bool:
        """Whether anything is to be changed."""
        return bool(self.nodes or self.initializers)

    def spread(self, slot: int) -> Spread | None:
        """The samples of an input."""
        return self.values.spreads.get(self.node.inputs[slot]) if self.node.has(slot) else None

    def data(self, slot: int) -> list[int] | None:
        """The contents of an input, if they are known."""
        known = self.values.data.get(self.node.inputs[slot]) if self.node.has(slot) else None
        return None if known is None else known.tolist()

    def reads(self, slot: int, name: str | None) -> None:
        """Another value for the input; None leaves it as it is."""
        if name is not None:
            self.proto.input[slot] = name

    def stored(self, entries: Sequence[int]) -> str:
        """A new constant, a list of whole numbers."""
        name, array = self._name(), np.array(entries, dtype=np.int64)
        self.initializers.append(numpy_helper.from_array(array, name))
        self._learn(name, TensorProto.INT64, array.shape)
        self.values.data[name] = array
        return name

    def lengths(self, entries: Sequence[int]) -> str:
        """A list of lengths; multiples of BATCH are multiples of the batch that is fed."""
        if not any(_follows(entry) for entry in entries):
            return self.stored(entries)
        parts = [self._length(entry) for entry in entries]
        name = self._made("Concat", parts, TensorProto.INT64, (len(entries),), axis=0)
        self.values.data[name] = np.array(entries, dtype=np.int64)
        return name

    def _length(self, entry: int) -> str:
        if not _follows(entry):
            return self.stored([entry])
        if entry == BATCH:
            return LENGTH
        inputs = [LENGTH, self.stored([entry // BATCH])]
        return self._made("Mul", inputs, TensorProto.INT64, (1,))

    def one_row(self, name: str, axis: int) -> str | None:
        """A constant with a single entry on this axis; None where its entries differ.

        It is their mean, so that training moves all of them alike.
        """
        array = self._repeated(name, axis)
        if array is None:
            return None
        element, shape = _element(array), list(array.shape)
        shape[axis] = 1
        if _is_uniform(array):
            return self._filled(array, shape)
        if array.shape[axis] == 1:
            return name
        if array.dtype.kind != "f":
            return self._first(name, axis, element, shape)
        if self.node.opset < 18:
            return self._made("ReduceMean", [name], element, shape, axes=[axis])
        return self._made("ReduceMean", [name, self.stored([axis])], element, shape)

    def all_rows(self, name: str, axis: int) -> str | None:
        """A constant with an entry for every sample on this axis; None where its entries differ."""
        array = self._repeated(name, axis)
        if array is None:
            return None
        shape, target = list(array.shape), [1] * array.ndim
        shape[axis] = target[axis] = BATCH
        if _is_uniform(array):
            return self._filled(array, shape)
        row = self.one_row(name, axis) or name
        return self._made("Expand", [row, self.lengths(target)], _element(array), shape)

    def _repeated(self, name: str, axis: int) -> Array | None:
        array = self.values.constant(name)
        if array is None or not (array == array.take([0], axis)).all():
            return None
        return array

    def _filled(self, array: Array, shape: Sequence[int]) -> str:
        value = numpy_helper.from_array(array.reshape(-1)[:1])
        inputs = [self.lengths(shape)]
        return self._made("ConstantOfShape", inputs, _element(array), shape, value=value)

    def _first(self, name: str, axis: int, element: int, shape: Sequence[int]) -> str:
        if self.node.opset < 10:
            bounds = {"starts": [0], "ends": [1], "axes": [axis]}
            return self._made("Slice", [name], element, shape, **bounds)
        inputs = [name, *(self.stored([bound]) for bound in (0, 1, axis))]
        return self._made("Slice", inputs, element, shape)

    def _made(
        self,
        operator: str,
        inputs: Sequence[str],
        element: int,
        shape: Sequence[int],
        **options: Any,
    ) -> str:
        name = self._name()
        self.nodes.append(helper.make_node(operator, inputs, [name], **options))
        self._learn(name, element, shape)
        return name

    def _learn(self, name: str, element: int, shape: Sequence[int]) -> None:
        self.values.forget([name])
        self.values.put(name, element, tuple(shape))

    def _name(self) -> str:
        return f"{self.node.outputs[0]}.free_batch.{len(self.nodes) + len(self.initializers)}"


def _follows(entry: int) -> bool:
    return entry != 0 and entry % BATCH == 0


def _is_uniform(array: Array) -> bool:
    """What is the same all over, as the initial state of a recurrent cell, is no trained weight."""
    return array.size > 1 and bool((array == array.flat[0]).all())


def _element(array: Array) -> int:
    return helper.np_dtype_to_tensor_dtype(array.dtype)
