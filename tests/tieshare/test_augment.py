from collections.abc import Sequence

import pytest
import torch
from torch import Tensor

from tieshare.augment import Moves, moved, ways
from tieshare.recipe import Augment


def images(count: int, channels: int = 2, height: int = 5, width: int = 4) -> Tensor:
    """Every number is another."""
    size = count * channels * height * width
    return torch.arange(size, dtype=torch.float32).reshape(count, channels, height, width)


def changed(inputs: Sequence[Tensor], augment: Augment) -> tuple[Tensor, ...]:
    return moved(inputs, Moves.drawn(len(inputs[0]), augment))


def pixel_by_pixel(image: Tensor, down: int, right: int, flip: bool) -> Tensor:
    """One image (channels, height, width), pixel by pixel."""
    height, width = image.shape[1:]
    made = torch.empty_like(image)
    for row in range(height):
        for column in range(width):
            there = width - 1 - column if flip else column
            from_row = min(max(row + down, 0), height - 1)
            from_column = min(max(there + right, 0), width - 1)
            made[:, row, column] = image[:, from_row, from_column]
    return made


def ways_of(shift: int, flips: Sequence[bool]) -> list[tuple[int, int, bool]]:
    steps = range(-shift, shift + 1)
    return [(down, right, flip) for down in steps for right in steps for flip in flips]


@pytest.mark.parametrize(
    ("augment", "expected"),
    [
        (Augment(shift=1), ways_of(1, [False])),
        (Augment(flip=True), ways_of(0, [False, True])),
        (Augment(shift=2, flip=True), ways_of(2, [False, True])),
    ],
)
def test_every_image_is_moved_in_one_of_the_ways_and_all_ways_occur(
    augment: Augment, expected: list[tuple[int, int, bool]]
) -> None:
    torch.manual_seed(0)
    x = images(600)
    (made,) = changed([x], augment)
    found = []
    for before, after in zip(x, made, strict=True):
        alike = [way for way in expected if torch.equal(pixel_by_pixel(before, *way), after)]
        assert alike
        found.append(alike[0])
    assert set(found) == set(expected)


def test_channels_may_be_last() -> None:
    x = images(3, channels=3, height=9, width=8)
    torch.manual_seed(1)
    (first,) = changed([x], Augment(shift=2, flip=True))
    torch.manual_seed(1)
    (last,) = changed([x.movedim(1, -1)], Augment(shift=2, flip=True))
    assert torch.equal(last.movedim(-1, 1), first)
    assert last.is_contiguous()


def test_images_of_one_sample_move_alike_and_what_is_no_image_stays() -> None:
    x, table = images(50), torch.rand(50, 7)
    torch.manual_seed(2)
    left, right, same = changed([x, 10 * x, table], Augment(shift=1, flip=True))
    assert torch.equal(10 * left, right)
    assert not torch.equal(left, x)
    assert torch.equal(same, table)


def test_the_generator_decides() -> None:
    first, second, other = (
        changed([images(20)], Augment(shift=1))[0] for _ in map(torch.manual_seed, (3, 3, 4))
    )
    assert torch.equal(first, second)
    assert not torch.equal(first, other)


def test_nothing_changes_unless_it_is_asked_for() -> None:
    x = images(2)
    before = torch.get_rng_state()
    assert changed([x], Augment())[0] is x
    assert torch.equal(torch.get_rng_state(), before)


def test_whole_numbers_stay_whole_numbers() -> None:
    (made,) = changed([images(4).to(torch.uint8)], Augment(shift=1))
    assert made.dtype == torch.uint8


@pytest.mark.parametrize("augment", [Augment(shift=1), Augment(flip=True), Augment(2, True)])
def test_what_was_drawn_is_one_of_the_numbered_ways(augment: Augment) -> None:
    x, moves = images(200), Moves.drawn(200, augment)
    (made,) = moved([x], moves)
    assert set(moves.ways.tolist()) <= set(range(ways(augment)))
    for way in range(ways(augment)):
        (all_alike,) = moved([x], Moves.alike(len(x), augment, way))
        chosen = moves.ways == way
        assert torch.equal(all_alike[chosen], made[chosen])
