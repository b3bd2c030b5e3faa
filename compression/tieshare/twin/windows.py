"""Windows that slide over the spatial axes of (N, C, ...): sizes, steps and padding."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache

from torch import Tensor
from torch.nn import functional as F  # noqa: N812 - torch's own name for it

from tieshare.graph.view import Node

Sizes = tuple[int, ...]


@dataclass(frozen=True)
class Window:
    """One entry a spatial axis in each field; ``before`` and ``after`` are the padding.

    ``auto`` "SAME_UPPER" or "SAME_LOWER": padding depends on the input, so that the output has
    ceil(input / stride) entries; the odd one goes after, or before. "VALID": there is none.
    "NOTSET": the padding is given.
    """

    size: Sizes
    stride: Sizes
    dilation: Sizes
    before: Sizes
    after: Sizes
    auto: str

    @property
    def same(self) -> bool:
        """Whether the padding depends on the input."""
        return self.auto.startswith("SAME")

    @property
    def even(self) -> bool:
        """Whether the padding is known, and alike on both sides."""
        return not self.same and self.before == self.after

    @property
    def dilated(self) -> bool:
        """Whether a window skips entries."""
        return any(d != 1 for d in self.dilation)

    @property
    def skips(self) -> bool:
        """Whether a window is one entry, and there are entries between two windows."""
        return set(self.size) == {1} and set(self.stride) != {1}

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
        return halves(totals, upper=self.auto == "SAME_UPPER")


def windows_of(node: Node) -> Callable[[Sizes], Window]:
    """The window of a convolution or pooling node for kernels of any size."""
    auto = node.setting("auto_pad", default="NOTSET")
    pads = node.setting("pads") if auto == "NOTSET" else None
    strides, dilations = node.setting("strides"), node.setting("dilations")

    @cache
    def of(size: Sizes) -> Window:
        rank = len(size)
        return Window(
            size=tuple(size),
            stride=tuple(strides or [1] * rank),
            dilation=tuple(dilations or [1] * rank),
            before=tuple((pads or [0] * rank)[:rank]),
            after=tuple((pads or [0] * rank)[-rank:]),
            auto=auto,
        )

    return of


def halves(totals: Sequence[int], *, upper: bool) -> tuple[Sizes, Sizes]:
    """Padding split in two; the odd one goes after where ``upper``, before otherwise."""
    small = tuple(total // 2 for total in totals)
    large = tuple(total - total // 2 for total in totals)
    return (small, large) if upper else (large, small)


def pad(x: Tensor, before: Sequence[int], after: Sequence[int], value: float = 0.0) -> Tensor:
    """Add constant entries at both ends of the last axes, or cut entries where negative."""
    if not any(before) and not any(after):
        return x
    ends = [n for pair in zip(reversed(before), reversed(after), strict=True) for n in pair]
    return F.pad(x, ends, value=value)
