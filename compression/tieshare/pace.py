"""How fast the network shrinks along the path: evenly, from its full size to a last ratio.

Under a rising penalty alone nothing goes for a long time, and then most within an epoch: rows that
are alike shrink alike, and once some are gone, what they fed is needed no more. Training can't
follow. So the strength is steered by what has gone, and each shrinking lets only so much go.
"""

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tieshare.penalties import OrderedRows

_STEADY = 0.05  # growth of log strength in a turn, while the network shrinks as it should
_GAIN = 4.0
_EASED = 0.2  # so much less where it has lost all that it may
_RISE, _FALL = 0.2, 0.4  # and never more than this
_AT_FIRST = 0.5  # of what may be lost by the end of the path
_BACK = 0.5  # of the strength, and of its fastest rise, after a step back
_RECOVERED = 1.15  # times as fast after each turn
_AT_MOST = 1.5  # times an even pace
_HALVINGS = 10  # while a strength is looked for


@dataclass(eq=False)
class Pace:
    """The strength of the penalty, and how much may go at the next shrinking.

    ``last``        the ratio that the network is to have at the end of the path.
    ``left``        turns, in which the strength changes, to the end.
    ``shrinkings``  in a turn, on average.
    ``ratio``       of all parameters to those that are alive now.
    ``strain``      what is lost of the score / what may be by now: the more, the slower it goes.
    ``rise``        of log strength in a turn, at most.
    """

    strength: float
    last: float
    left: int
    shrinkings: float
    ratio: float = 1.0
    strain: float = 0.0
    rise: float = _RISE
    _used: list[float] = field(default_factory=list, init=False)  # strengths in this turn
    _room: float = field(default=0.0, init=False)  # log of the factor to shrink by; below 0: a debt
    _before: float = field(default=1.0, init=False)  # the ratio when the turn began
    _all: int = field(init=False)  # turns

    def __post_init__(self) -> None:
        self._all = max(self.left, 1)

    def share(self) -> float:
        """Of what is alive, so much may go now; what was not used is kept for a turn."""
        turn = _AT_MOST * self._aim()
        self._room = min(self._room + turn / self.shrinkings, turn)
        return -math.expm1(-max(self._room, 0.0))

    def shrunk(self, ratio: float, strength: float) -> None:
        """By a penalty of so much of the strength as might be; the ratio is this now."""
        self._used.append(strength)
        self._room -= math.log(ratio / self.ratio)
        self.ratio = ratio

    def turn(self) -> None:
        """A stronger penalty where the network shrinks too slowly, a weaker one if too fast.

        Weaker, too, if not all of it might be used: rows that are held back at next to nothing are
        dead weight, and under so much of a penalty the others suffer.
        """
        gap = self._aim() - math.log(self.ratio / self._before)
        used = statistics.fmean(self._used) / self.strength if self._used and self.strength else 1.0
        growth = _STEADY + _GAIN * gap - _EASED * self.strain + math.log(max(used, 1e-3))
        self.strength *= math.exp(min(max(growth, -_FALL), self.rise))
        self.rise = min(self.rise * _RECOVERED, _RISE)
        self.left, self._before, self._used = self.left - 1, self.ratio, []

    def lost(self, share: float) -> None:
        """Of the score that may be lost by the end of the path, this share is.

        Heeded at once, and forgotten slowly: one measurement is noisy.
        """
        progress = 1 - max(self.left, 0) / self._all
        strain = max(share, 0.0) / (_AT_FIRST + (1 - _AT_FIRST) * progress)
        self.strain = max(strain, (self.strain + strain) / 2)

    def back(self) -> None:
        """It was too much: go on from here with less, and slower."""
        self.strength *= _BACK
        self.rise *= _BACK

    def absolve(self) -> None:
        """It was not too much, after all."""
        self.rise = _RISE

    def state(self) -> dict[str, float]:
        """At the end of a turn."""
        return {
            "strength": self.strength,
            "left": self.left,
            "ratio": self.ratio,
            "strain": self.strain,
            "rise": self.rise,
            "room": self._room,
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from there."""
        self.strength, self.rise = state["strength"], state["rise"]
        self.left, self.strain = state["left"], state["strain"]
        self.ratio = self._before = state["ratio"]
        self._room = state["room"]

    def _aim(self) -> float:
        """Growth of the log ratio in this turn that leads evenly to the last ratio."""
        even = max(math.log(self.last / self._before), 0.0) / max(self.left, 1)
        return even * max(1 - self.strain, 0.0)


@dataclass(frozen=True, eq=False)
class Living:
    """Groups of rows that a penalty may let die: (groups,) norms, 0 of dead ones, and sizes.

    ``penalty``: of strength 1. ``sizes``: weights that die with a group.
    """

    penalty: OrderedRows
    norms: NDArray[np.floating[Any]]
    sizes: NDArray[np.floating[Any]]

    def dying(self, strength: float, step: float) -> float:
        """Weights that go by the prox of such a step."""
        penalty = self.penalty.at(self.penalty.strength * strength)
        gone = (penalty.row_scales(self.norms, step) <= 0) & (self.norms > 0)
        return float(self.sizes[gone].sum())


def strongest(layers: Sequence[Living], strength: float, step: float, most: float) -> float:
    """The strength, lowered where more weights than ``most`` would go at one step.

    Above 0 one group may die that is more than that.
    """

    def dying(tried: float) -> float:
        return sum(layer.dying(tried, step) for layer in layers)

    if dying(strength) <= most:
        return strength
    low, high = 0.0, strength
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        if dying(middle) <= most:
            low = middle
        else:
            high = middle
    return high if most > 0 and dying(low) == 0 else low
