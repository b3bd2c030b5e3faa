"""Windows that slide over the spatial axes of (N, C, ...): sizes, steps and padding."""

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor
from torch.nn import functional as F  # noqa: N812 - torch's own name for it

from tieshare.graph.view import Node

Sizes = tuple[int, ...]


@dataclass(frozen=True)
class Window:
    """One entry a spatial axis in each field; ``before`` and ``after`` are the padding.

    ``same`` "SAME_UPPER" or "SAME_LOWER": padding depends on the input, so that the output has
    ceil(input / stride) entries; the odd one goes after, or before. "" otherwise.
    """

    size: Sizes
    stride: Sizes
    dilation: Sizes
    before: Sizes
    after: Sizes
    same: str

    @property
    def even(self) -> bool:
        """Whether the padding is known, and alike on both sides."""
        return not self.same and self.before == self.after

    @property
    def none(self) -> Sizes:
        """No padding at all."""
        return (0,) * len(self.size)

    @property
    def reach(self) -> Sizes:
        """Entries from the first to the last that one window sees."""
        return tuple((n - 1) * d + 1 for n, d in zip(self.size, self.dilation, strict=True))

    def padding(self, spatial: Sequence[int]) -> tuple[Sizes, Sizes]:
        """Before and after, for an input of this spatial shape."""
        if not self.same:
            return self.before, self.after
        totals = [
            max((-(-length // step) - 1) * step + reach - length, 0)
            for length, step, reach in zip(spatial, self.stride, self.reach, strict=True)
        ]
        small = tuple(total // 2 for total in totals)
        large = tuple(total - total // 2 for total in totals)
        return (small, large) if self.same == "SAME_UPPER" else (large, small)

    def padded(self, x: Tensor, value: float = 0.0) -> Tensor:
        """The input with its padding written out."""
        return pad(x, *self.padding(x.shape[2:]), value)


def window(node: Node) -> Window:
    """The window of a Conv or pooling node."""
    size = node.setting("kernel_shape")
    if size is None:
        weight = node.known[1]
        size = () if weight is None else weight.shape[2:]
    ones, zeros = [1] * len(size), [0] * (2 * len(size))
    same = node.setting("auto_pad", default="NOTSET")
    pads = node.setting("pads", default=zeros) if same == "NOTSET" else zeros
    return Window(
        size=tuple(size),
        stride=tuple(node.setting("strides", default=ones)),
        dilation=tuple(node.setting("dilations", default=ones)),
        before=tuple(pads[: len(size)]),
        after=tuple(pads[len(size) :]),
        same=same if same.startswith("SAME") else "",
    )


def pad(x: Tensor, before: Sequence[int], after: Sequence[int], value: float = 0.0) -> Tensor:
    """Add constant entries at both ends of the last axes; as it is where there are none."""
    if not any(before) and not any(after):
        return x
    ends = [n for pair in zip(reversed(before), reversed(after), strict=True) for n in pair]
    return F.pad(x, ends, value=value)
