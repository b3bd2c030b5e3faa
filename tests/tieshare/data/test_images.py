import pytest

from tieshare.data.images import check_images, image_axes
from tieshare.errors import RecipeError
from tieshare.recipe import Augment


@pytest.mark.parametrize(
    ("sample", "axes"),
    [
        ((3, 32, 32), (1, 2)),
        ((1, 28, 28), (1, 2)),
        ((64, 8, 8), (1, 2)),
        ((32, 32, 3), (0, 1)),
        ((28, 28, 1), (0, 1)),
        ((3, 4, 4), (1, 2)),
        ((784,), None),
        ((28, 28), None),
        ((3, 8, 8, 8), None),
        ((), None),
    ],
)
def test_images_have_three_axes_and_channels_first_unless_only_the_last_is_short(
    sample: tuple[int, ...], axes: tuple[int, int] | None
) -> None:
    assert image_axes(sample) == axes


@pytest.mark.parametrize("shift", [0, 27])
def test_an_image_may_move_by_less_than_its_smaller_side(shift: int) -> None:
    check_images(Augment(shift, flip=True), {"x": (1, 30, 28), "t": (5,)}, {"y": ()})
    check_images(Augment(shift), {"x": (30, 28, 1)}, {"y": (10,)})


def test_nothing_is_checked_where_nothing_moves() -> None:
    check_images(Augment(), {"x": (784,)}, {"y": (28, 28)})


@pytest.mark.parametrize(
    ("augment", "inputs", "targets", "where", "words"),
    [
        (Augment(1), {"x": (784,)}, {"y": ()}, "augment", "no input is an image"),
        (Augment(28), {"x": (1, 30, 28)}, {"y": ()}, "augment.shift", "less than 28, .* 'x'"),
        (Augment(flip=True), {"x": (3, 8, 8)}, {"y_m": (8, 8)}, "augment", "'y_m'"),
    ],
)
def test_what_can_not_be_moved_is_named(
    augment: Augment,
    inputs: dict[str, tuple[int, ...]],
    targets: dict[str, tuple[int, ...]],
    where: str,
    words: str,
) -> None:
    with pytest.raises(RecipeError, match=words) as caught:
        check_images(augment, inputs, targets)
    assert caught.value.where == where
