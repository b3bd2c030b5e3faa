import pytest

from tieshare.plan import Plan, plan
from tieshare.recipe import Recipe

SMALL = 235_200  # multiplications of 784-300


@pytest.mark.parametrize(
    ("samples", "batch"), [(20, 32), (3_199, 32), (3_200, 64), (12_799, 64), (12_800, 128)]
)
def test_few_data_get_small_batches(samples: int, batch: int) -> None:
    assert plan(Recipe(), samples, SMALL, SMALL).batch == batch


@pytest.mark.parametrize(
    ("samples", "epochs"),
    [
        (20, 150),  # less than a batch: no more than the most
        (4_800, 150),  # 75 steps, 267 epochs would be needed
        (51_200, 50),  # 400 steps
        (256_000, 20),  # 2,000 steps
        (10_000_000, 20),
    ],
)
def test_a_path_takes_20_000_steps_within_its_limits(samples: int, epochs: int) -> None:
    assert plan(Recipe(), samples, SMALL, SMALL).path_epochs == epochs


@pytest.mark.parametrize(
    ("macs", "epochs"),
    [(0, 50), (2_000_000, 50), (3_125_000, 40), (5_555_555, 30), (41_000_000, 30)],
)
def test_a_larger_network_gets_fewer_steps_but_no_fewer_than_12_000(macs: int, epochs: int) -> None:
    assert plan(Recipe(), 51_200, macs, SMALL).path_epochs == epochs


def test_a_point_is_retrained_for_four_tenths_of_the_path() -> None:
    assert plan(Recipe(), 51_200, SMALL, SMALL).retrain_epochs == 12
    assert plan(Recipe(path_epochs=9), 51_200, SMALL, SMALL).retrain_epochs == 2
    assert plan(Recipe(path_epochs=1), 51_200, SMALL, SMALL).retrain_epochs == 1


@pytest.mark.parametrize(("retrain", "rounded"), [(1, 1), (7, 1), (8, 2), (50, 12)])
def test_values_are_rounded_for_a_quarter_as_long_and_at_least_an_epoch(
    retrain: int, rounded: int
) -> None:
    planned = plan(Recipe(retrain_epochs=retrain), 1_000, SMALL, SMALL)
    assert (planned.round_epochs, planned.stage2_epochs) == (rounded, retrain + rounded)


def test_what_the_recipe_says_comes_first() -> None:
    recipe = Recipe(path_epochs=7, retrain_epochs=11, batch_size=5)
    assert plan(recipe, 5_000, SMALL, SMALL) == Plan(
        path_epochs=7, retrain_epochs=11, batch=5, shrink_every=20
    )


def test_the_length_follows_from_the_batch_that_the_recipe_says() -> None:
    expected = Plan(path_epochs=50, retrain_epochs=12, batch=64, shrink_every=20)
    assert plan(Recipe(batch_size=64), 25_600, SMALL, SMALL) == expected


@pytest.mark.parametrize(
    ("macs", "parameters", "batch", "every"),
    [
        (235_200, 238_510, 128, 20),
        (235_200, 238_510, 1024, 4),
        (2_293_000, 431_080, 128, 5),  # LeNet-5
        (41_000_000, 272_474, 128, 1),  # ResNet-20
        (0, 10, 32, 20),
    ],
)
def test_weights_that_are_multiplied_often_are_shrunk_often(
    macs: int, parameters: int, batch: int, every: int
) -> None:
    planned = plan(Recipe(batch_size=batch), 51_200, macs, parameters)
    assert planned.shrink_every == every


@pytest.mark.parametrize(("samples", "epochs", "every"), [(1_280, 20, 3), (640, 20, 1), (20, 1, 1)])
def test_a_short_path_has_enough_shrinkings_to_go_evenly(
    samples: int, epochs: int, every: int
) -> None:
    """20 epochs of 40 steps are 800: every third makes 240 and more."""
    planned = plan(Recipe(path_epochs=epochs), samples, SMALL, SMALL)
    assert planned.shrink_every == every


def test_a_gpu_is_seldom_made_to_wait_for_that() -> None:
    planned = plan(Recipe(), 51_200, 41_000_000, 272_474, on_gpu=True)
    assert planned.shrink_every == 20
