"""Images shifted and flipped, otherwise each time that they are trained on."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from tieshare.data.images import image_axes
from tieshare.recipe import Augment

UNCHANGED = Augment()


@dataclass(frozen=True)
class Moves:
    """How each sample of a batch is changed: (samples,) each.

    ``down``, ``right``: from 0, all the way up or left, to twice the largest shift.
    """

    augment: Augment
    down: Tensor
    right: Tensor
    flip: Tensor

    @classmethod
    def drawn(cls, count: int, augment: Augment) -> "Moves":
        """So many, from torch's generator, which is left alone where nothing changes."""
        down, right, flip = torch.zeros(3, count, dtype=torch.int64)
        if augment.shift:
            down, right = torch.randint(2 * augment.shift + 1, (2, count))
        if augment.flip:
            flip = torch.randint(2, (count,))
        return cls(augment, down, right, flip.bool())

    @classmethod
    def alike(cls, count: int, augment: Augment, way: int) -> "Moves":
        """The same one of all ``ways`` for so many samples."""
        rest, flip = divmod(way, 1 + augment.flip)
        down, right = divmod(rest, 2 * augment.shift + 1)
        downs, rights, flips = (torch.full((count,), number) for number in (down, right, flip))
        return cls(augment, downs, rights, flips.bool())

    @property
    def ways(self) -> Tensor:
        """(samples,) which of all ``ways`` each is."""
        place = (2 * self.augment.shift + 1) * self.down + self.right
        return (1 + self.augment.flip) * place + self.flip


def ways(augment: Augment) -> int:
    """In how many ways a sample is changed."""
    return (2 * augment.shift + 1) ** 2 * (1 + augment.flip)


def moved(inputs: Sequence[Tensor], moves: Moves) -> tuple[Tensor, ...]:
    """A batch of samples, one tensor an input; what is no image is left as it is.

    All images of one sample are moved alike. What comes in at an edge repeats the edge.
    """
    if not moves.augment.any:
        return tuple(inputs)
    return tuple(_moved(x, moves) for x in inputs)


def _moved(x: Tensor, moves: Moves) -> Tensor:
    axes = image_axes(tuple(x.shape[1:]))
    if axes is None:
        return x
    height, width = (axis + 1 for axis in axes)
    images = x.movedim((height, width), (-2, -1))  # (samples, channels, height, width)
    h, w = images.shape[-2:]
    rows = _within(h, moves.down - moves.augment.shift)  # (samples, height)
    columns = _within(w, moves.right - moves.augment.shift)  # (samples, width)
    columns = torch.where(moves.flip.unsqueeze(1), columns.flip(1), columns)
    places = (w * rows.unsqueeze(2) + columns.unsqueeze(1)).reshape(len(x), 1, h * w)
    flat = images.reshape(len(x), -1, h * w)
    found = flat.gather(2, places.expand_as(flat)).reshape(images.shape)
    return found.movedim((-2, -1), (height, width)).contiguous()


def _within(length: int, moved: Tensor) -> Tensor:
    """(samples, length) where each place of the moved image comes from."""
    return (torch.arange(length) + moved.unsqueeze(1)).clamp(0, length - 1)
