"""Images shifted and flipped, otherwise each time that they are trained on."""

from collections.abc import Sequence

import torch
from torch import Tensor

from tieshare.data.images import image_axes
from tieshare.recipe import Augment

UNCHANGED = Augment()


def augmented(inputs: Sequence[Tensor], augment: Augment) -> tuple[Tensor, ...]:
    """A batch of samples, one tensor an input; what is no image is left as it is.

    Drawn from torch's generator; all images of one sample are moved alike. What comes in at an
    edge repeats the edge.
    """
    if not augment.any:
        return tuple(inputs)
    count = len(inputs[0])
    down, right = torch.randint(2 * augment.shift + 1, (2, count))
    flip = torch.rand(count) < 0.5 if augment.flip else torch.zeros(count, dtype=torch.bool)
    return tuple(_moved(x, augment.shift, down, right, flip) for x in inputs)


def _moved(x: Tensor, shift: int, down: Tensor, right: Tensor, flip: Tensor) -> Tensor:
    """``down``, ``right``: from 0, all the way up or left, to twice ``shift``."""
    axes = image_axes(tuple(x.shape[1:]))
    if axes is None:
        return x
    height, width = (axis + 1 for axis in axes)
    images = x.movedim((height, width), (-2, -1))  # (samples, channels, height, width)
    h, w = images.shape[-2:]
    rows = _within(h, down - shift)  # (samples, height)
    columns = _within(w, right - shift)  # (samples, width)
    columns = torch.where(flip[:, None], columns.flip(1), columns)
    places = (w * rows[:, :, None] + columns[:, None, :]).reshape(len(x), 1, h * w)
    flat = images.reshape(len(x), -1, h * w)
    found = flat.gather(2, places.expand_as(flat)).reshape(images.shape)
    return found.movedim((-2, -1), (height, width)).contiguous()


def _within(length: int, moved: Tensor) -> Tensor:
    """(samples, length) where each place of the moved image comes from."""
    return (torch.arange(length) + moved[:, None]).clamp(0, length - 1)
