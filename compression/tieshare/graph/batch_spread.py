"""Where the samples of a batch lie among the elements of the values of a graph."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from tieshare.graph.view import Node

# Stands in for the batch size. It is prime, and no layer is as large: a length is a multiple of it
# only where an axis holds the samples.
BATCH = 1_000_003

Shape = tuple[int, ...]


class MixedSamples(Exception):
    """A node would make one sample depend on another: the batch can't lie where it was assumed."""


@dataclass(frozen=True)
class Spread:
    """The samples of a value.

    ``shape``  for a batch of BATCH samples.
    ``axis``   the one that holds the samples, perhaps joined with others of the exported graph.
    ``inner``  the entries of that axis from one sample to the next.
    """

    shape: Shape
    axis: int
    inner: int

    @property
    def step(self) -> int:
        """Elements from one sample to the next."""
        return self.inner * math.prod(self.shape[self.axis + 1 :])

    def exported(self, batch: int) -> Shape:
        """The shape for the batch size of the exported graph."""
        return tuple(with_batch(length, batch) for length in self.shape)


def with_batch(length: int, batch: int) -> int:
    """A length that follows the batch, for this batch size; any other as it is."""
    return length // BATCH * batch if length % BATCH == 0 else length


def spread_of(shape: Shape, like: Spread | None = None, *, reshaped: bool = False) -> Spread | None:
    """The samples of a value of this shape, made from ``like``: all of its elements in their order
    if it is only ``reshaped``, or else with the batch joined to other axes in the same way.

    None: it holds none. MixedSamples: it would hold every sample more than once.
    """
    axes = [axis for axis, length in enumerate(shape) if length and length % BATCH == 0]
    if not axes:
        return None
    joined = shape[axes[0]] // BATCH
    if len(axes) > 1 or joined % BATCH == 0:
        raise MixedSamples
    if like is not None and reshaped:
        return Spread(shape, axes[0], like.step // math.prod(shape[axes[0] + 1 :]))
    if like is not None and joined == like.shape[like.axis] // BATCH:
        return Spread(shape, axes[0], like.inner)
    return Spread(shape, axes[0], joined)


def places(target: Sequence[int], spread: Spread, batch: int) -> list[int]:
    """Axes of a reshaped value that can hold the samples, the likeliest first.

    An axis covers elements from one stride to the next; the samples' must lie in between. Above
    a batch of one there is a single such axis.
    """
    found = []
    for axis, length in enumerate(target):
        stride = math.prod(target[axis + 1 :])
        if stride and spread.step % stride == 0 and stride * length % (spread.step * batch) == 0:
            alone = length == batch and spread.step == stride
            outermost = stride * length == spread.step * batch
            found.append((not alone, not outermost, abs(axis - spread.axis), axis))
    return [axis for *_, axis in sorted(found)]


def mixes(node: Node, spreads: Sequence[Spread | None]) -> bool:
    """Whether an output of the node for one sample would depend on another sample."""
    first = spreads[0] if spreads else None
    if node.operator in ("Gemm", "MatMul"):
        return _product_mixes(node, spreads)
    along = _MIXED.get(node.operator)
    if along is None or first is None:
        return False
    return first.axis in {axis % len(first.shape) for axis in along(node, len(first.shape))}


def _product_mixes(node: Node, spreads: Sequence[Spread | None]) -> bool:
    """The rows of the first factor may be samples, or what a batched product goes over."""
    left, right = spreads[:2]
    summed = -2 if node.attributes.get("transA") else -1
    if left is not None and left.axis - len(left.shape) == summed:
        return True
    if right is None:
        return False
    summed = -1 if node.attributes.get("transB") or len(right.shape) == 1 else -2
    from_last = right.axis - len(right.shape)
    if left is None:
        return from_last == summed
    return from_last > -3 or from_last != left.axis - len(left.shape)


_Axes = Callable[[Node, int], Sequence[int]]


def _given(default: int) -> _Axes:
    return lambda node, _: (node.attributes.get("axis", default),)


def _softmax(node: Node, rank: int) -> Sequence[int]:
    axis = node.attributes.get("axis", -1 if node.opset >= 13 else 1) % rank
    return (axis,) if node.opset >= 13 else range(axis, rank)


def _from_axis(node: Node, rank: int) -> Sequence[int]:
    return range(node.attributes.get("axis", -1) % rank, rank)


def _reduced(node: Node, rank: int) -> Sequence[int]:
    axes = node.setting("axes", 1)
    if axes is None:
        return () if node.has(1) or node.attributes.get("noop_with_empty_axes") else range(rank)
    return axes if isinstance(axes, list | tuple) else [axes]


def _but_first(_: Node, rank: int) -> Sequence[int]:
    return range(1, rank)


def _recurrent(node: Node, _: int) -> Sequence[int]:
    return (1, 2) if node.attributes.get("layout") else (0, 2)


# Axes of the first input along which elements of the output depend on each other.
_MIXED: Mapping[str, _Axes] = {
    **dict.fromkeys(("Softmax", "LogSoftmax", "Hardmax"), _softmax),
    **dict.fromkeys(("LayerNormalization", "RMSNormalization"), _from_axis),
    **dict.fromkeys(("ArgMax", "ArgMin"), _given(0)),
    **dict.fromkeys(("TopK", "LpNormalization"), _given(-1)),
    **dict.fromkeys(("GRU", "LSTM", "RNN"), _recurrent),
    **dict.fromkeys(("Attention", "Conv", "ConvTranspose", "DeformConv", "GridSample"), _but_first),
    **dict.fromkeys(("GroupNormalization", "InstanceNormalization", "LRN"), _but_first),
    **dict.fromkeys(("AveragePool", "MaxPool", "LpPool"), _but_first),
    **dict.fromkeys(("GlobalAveragePool", "GlobalMaxPool", "GlobalLpPool"), _but_first),
    **dict.fromkeys(("ReduceMax", "ReduceMean", "ReduceMin", "ReduceProd"), _reduced),
    **dict.fromkeys(("ReduceL1", "ReduceL2", "ReduceSum", "ReduceSumSquare"), _reduced),
    **dict.fromkeys(("ReduceLogSum", "ReduceLogSumExp"), _reduced),
}
