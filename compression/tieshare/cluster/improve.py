"""A choice of exemplars, made better step by step."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tieshare.cluster.gains import Gains, Labels, Mask, Values, best_of

_SLIGHT = 1e-6


@dataclass(frozen=True, eq=False)
class Answer:
    """``exemplar`` (n,): the row that each row follows, itself where it stands alone.

    ``worth`` (n,): what the net similarity gains by that.
    """

    exemplar: Labels
    worth: Values


def follow(gains: Gains, chosen: Mask) -> Answer:
    """Each row follows the exemplar that it gains most by; ``chosen`` (n,): the exemplars."""
    values = np.where(chosen[gains.columns], gains.values, np.float32(-1))
    values[gains.own] = np.where(chosen, np.float32(np.inf), np.float32(0))
    best = gains.highest(values)
    return Answer(gains.columns[best].astype(np.int64), gains.values[best])


def improve(gains: Gains, component: Labels, chosen: Mask, steps: int) -> Answer:
    """The answer of exemplars at least as good as ``chosen`` (n,), after `steps` steps at most.

    In a step each cluster's exemplar becomes the member by which the others gain most, exemplars
    that nobody follows give way, and in each component the row by which the net similarity grows
    most becomes an exemplar too.
    """
    for _ in range(steps):
        central = _central(gains, follow(gains, chosen), chosen)
        answer = follow(gains, central)
        better = central & ~needless(gains, answer, central)
        better |= _worth_choosing(gains, component, answer, central)
        if np.array_equal(better, chosen):
            break
        chosen = better
    return follow(gains, chosen)


def needless(gains: Gains, answer: Answer, chosen: Mask) -> Mask:
    """Exemplars that nobody follows, and that would gain by following another (n,)."""
    alone = chosen & (np.bincount(answer.exemplar, minlength=gains.n) == 1)
    pairs = alone[gains.rows] & chosen[gains.columns] & (gains.rows != gains.columns)
    return np.bincount(gains.rows[pairs], minlength=gains.n) > 0


def _central(gains: Gains, answer: Answer, chosen: Mask) -> Mask:
    together = answer.exemplar[gains.rows] == answer.exemplar[gains.columns]
    given = np.bincount(gains.columns[together], gains.values[together], gains.n)
    central = np.zeros(gains.n, dtype=bool)
    central[best_of(answer.exemplar, given)] = True
    return central & chosen[answer.exemplar]


def _worth_choosing(gains: Gains, component: Labels, answer: Answer, chosen: Mask) -> Mask:
    """In each component the row that would add most as an exemplar, if it adds anything (n,)."""
    better = np.maximum(gains.values - gains.spread(answer.worth), 0)
    better[chosen[gains.rows]] = 0
    added: NDArray[np.float64] = gains.received(better) - answer.worth
    added[chosen] = -np.inf
    best = best_of(component, added)
    found = np.zeros(gains.n, dtype=bool)
    found[best[added[best] > _SLIGHT]] = True
    return found
