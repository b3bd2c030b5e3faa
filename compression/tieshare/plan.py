"""How long to train, from how much data there is."""

from dataclasses import dataclass

from tieshare.recipe import Recipe

_PATH_STEPS = 40_000
_FEWEST_EPOCHS, _MOST_EPOCHS = 60, 150


@dataclass(frozen=True)
class Plan:
    """Epochs of stage 1, epochs of stage 2 for each point, and samples of a batch."""

    path_epochs: int
    retrain_epochs: int
    batch: int


def plan(recipe: Recipe, samples: int) -> Plan:
    """What the recipe says; the rest so that a path takes about 40,000 steps.

    A path needs time to fall slowly, however large the data, and few data get small batches.
    """
    batch = recipe.batch_size or (128 if samples >= 12_800 else 64 if samples >= 3_200 else 32)
    steps = max(samples // batch, 1)
    epochs = min(max(_PATH_STEPS // steps, _FEWEST_EPOCHS), _MOST_EPOCHS)
    path_epochs = recipe.path_epochs or epochs
    return Plan(path_epochs, recipe.retrain_epochs or max(path_epochs // 2, 1), batch)
