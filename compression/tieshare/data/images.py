"""Which inputs are images, and along which axes they lie."""

from collections.abc import Mapping

from tieshare.data.shapes import Shape
from tieshare.errors import RecipeError
from tieshare.recipe import Augment

_MOST_CHANNELS = 4


def image_axes(sample: Shape) -> tuple[int, int] | None:
    """The axes of height and width in one sample; None where it is no image.

    Images have three axes: channels first, or last where only the last is short enough for it.
    """
    if len(sample) != 3:
        return None
    channels_last = sample[2] <= _MOST_CHANNELS < sample[0]
    return (0, 1) if channels_last else (1, 2)


def check_images(
    augment: Augment, inputs: Mapping[str, Shape], targets: Mapping[str, Shape]
) -> None:
    """RecipeError where these samples can't be moved so, or their targets would have to follow.

    Shapes are of one sample, by array name.
    """
    if not augment.any:
        return
    images = {name: (shape, axes) for name, shape in inputs.items() if (axes := image_axes(shape))}
    if not images:
        raise RecipeError(
            "no input is an image: (channels, height, width) or (height, width, channels)",
            where="augment",
        )
    for name, (shape, axes) in images.items():
        smallest = min(shape[axis] for axis in axes)
        if augment.shift >= smallest:
            raise RecipeError(
                f"must be less than {smallest}, the smaller side of {name!r}", where="augment.shift"
            )
    for name, shape in targets.items():
        if len(shape) > 1:
            raise RecipeError(
                f"array {name!r} has targets by place, which would have to move with the images",
                where="augment",
            )
