"""How long to train, from how much data there is."""

from dataclasses import dataclass

from tieshare.recipe import Recipe

_PATH_STEPS = 40_000
_ROUNDED = 4  # one epoch with rounded values for so many without
_FEWEST_EPOCHS, _MOST_EPOCHS = 60, 150


@dataclass(frozen=True)
class Plan:
    """Epochs of stage 1, epochs of stage 2 for each point, and samples of a batch.

    ``round_epochs``: those of stage 2, after the ``retrain_epochs``, in which values are rounded.
    """

    path_epochs: int
    retrain_epochs: int
    batch: int

    @property
    def round_epochs(self) -> int:
        """Enough to find a place on the grid near the one that was found without it."""
        return max(self.retrain_epochs // _ROUNDED, 1)

    @property
    def stage2_epochs(self) -> int:
        """All of a point's."""
        return self.retrain_epochs + self.round_epochs


def plan(recipe: Recipe, samples: int) -> Plan:
    """What the recipe says; the rest so that a path takes about 40,000 steps.

    A path needs time to fall slowly, however large the data, and few data get small batches.
    """
    batch = recipe.batch_size or (128 if samples >= 12_800 else 64 if samples >= 3_200 else 32)
    steps = max(samples // batch, 1)
    epochs = min(max(_PATH_STEPS // steps, _FEWEST_EPOCHS), _MOST_EPOCHS)
    path_epochs = recipe.path_epochs or epochs
    return Plan(path_epochs, recipe.retrain_epochs or max(path_epochs // 2, 1), batch)
