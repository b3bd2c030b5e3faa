"""How long to train, from how much data there is and how large the network is."""

import math
from dataclasses import dataclass

from tieshare.recipe import Recipe

_MOST_STEPS, _FEWEST_STEPS = 20_000, 12_000
_CHEAP = 2_000_000  # multiplications for a sample: up to here the most steps are taken
_RETRAINED = 0.25  # as long as the path
# Multiplications of a step of stage 1 beside which it costs nothing to shrink one weight, and any.
_SHRINKING, _SHRINKING_ANY = 2560, 400_000_000
_MOST_SELDOM = 20  # steps
_FEWEST_SHRINKINGS = 240  # of a path
_ROUNDED = 4  # one epoch with rounded values for so many without
_FEWEST_EPOCHS, _MOST_EPOCHS = 20, 150


@dataclass(frozen=True)
class Plan:
    """Epochs of stage 1, epochs of stage 2 for each point, and samples of a batch.

    ``round_epochs``  those of stage 2, after the ``retrain_epochs``, in which values are rounded.
    ``shrink_every``  steps of stage 1 from one proximal step to the next.
    """

    path_epochs: int
    retrain_epochs: int
    batch: int
    shrink_every: int

    @property
    def round_epochs(self) -> int:
        """Enough to find a place on the grid near the one that was found without it."""
        return max(self.retrain_epochs // _ROUNDED, 1)

    @property
    def stage2_epochs(self) -> int:
        """All of a point's."""
        return self.retrain_epochs + self.round_epochs


def plan(recipe: Recipe, samples: int, macs: int, parameters: int, *, on_gpu: bool = False) -> Plan:
    """What the recipe says; the rest so that a path takes 12,000 to 20,000 steps.

    A path needs time to fall slowly, however large the data, and few data get small batches; on
    MNIST 20,000 steps gave what 40,000 did, in half the time. Of a network with more
    multiplications for a sample it has fewer: four times as many make a job twice as long, until
    the fewest steps that will do are reached. Weights are shrunk as often as costs next to nothing
    beside the steps: where a weight is multiplied often, after each step; on a GPU, whose steps are
    short and which has to wait for it, as seldom as anywhere. A short path has as many shrinkings
    as let it go evenly.
    """
    batch = recipe.batch_size or (128 if samples >= 12_800 else 64 if samples >= 3_200 else 32)
    wanted = _MOST_STEPS * min(math.sqrt(_CHEAP / max(macs, 1)), 1)
    epochs = round(max(wanted, _FEWEST_STEPS) / max(samples // batch, 1))
    path_epochs = recipe.path_epochs or min(max(epochs, _FEWEST_EPOCHS), _MOST_EPOCHS)
    retrain_epochs = recipe.retrain_epochs or max(round(_RETRAINED * path_epochs), 1)
    cheap = round((_SHRINKING * parameters + _SHRINKING_ANY) / max(macs * batch, 1))
    every = _MOST_SELDOM if on_gpu else min(cheap, _MOST_SELDOM)
    every = max(min(every, path_epochs * max(samples // batch, 1) // _FEWEST_SHRINKINGS), 1)
    return Plan(path_epochs, retrain_epochs, batch, every)
