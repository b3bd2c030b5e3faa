"""The exemplar of each row, component by component."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from tieshare.cluster.gains import Gains, Labels, Mask, best_of, total
from tieshare.cluster.improve import Answer, follow, improve, needless
from tieshare.cluster.messages import Schedule, pass_messages

_SCHEDULES = (Schedule(0.7, 1e-6, 200), Schedule(0.9, 1e-4, 250))
_BATCH = 1 << 20  # pairs whose messages fit the processor's cache
_STEPS = 8  # of improvement, each about as long as three rounds of messages
_LAST_STEPS = 100  # where nothing settled
_CERTAIN = 0.999  # of the bound: what remains is not worth messages


def exemplars(gains: Gains, rng: np.random.Generator) -> tuple[Answer, bool]:
    """The exemplar of each of n rows, and whether every component has settled."""
    component = gains.components()
    exemplar, worth = np.arange(gains.n), np.zeros(gains.n, dtype=np.float32)
    converged = True
    for batch in _batches(gains, component):
        numbers = np.flatnonzero(batch)
        answer, settled = _solve(gains.only(batch), component[batch], rng)
        exemplar[numbers] = numbers[answer.exemplar]
        worth[numbers] = answer.worth
        converged &= settled
    return Answer(exemplar, worth), converged


def _batches(gains: Gains, component: Labels) -> Iterator[Mask]:
    """The rows (n,) of whole components of two rows or more, about `_BATCH` pairs at a time."""
    pairs = np.bincount(component[gains.rows])
    pairs[np.bincount(component) == 1] = 0
    batch = (np.cumsum(pairs) - pairs) // _BATCH
    batch[pairs == 0] = -1
    for number in np.unique(batch[pairs > 0]):
        yield (batch == number)[component]


def _solve(gains: Gains, component: Labels, rng: np.random.Generator) -> tuple[Answer, bool]:
    """The best answer found for a batch of components, and whether every one has settled.

    A component is left at the greedy answer where that all but reaches what no answer can exceed:
    every row but one follows the row that it gains most by. Rows that are all but equal are of
    this kind, and messages among those circle.
    """
    none = np.zeros(gains.n, dtype=bool)
    best = improve(gains, component, none, _STEPS)
    left = total(component, best.worth) < _CERTAIN * _bound(gains, component)
    for schedule in _SCHEDULES:
        if not left.any():
            break
        part, parts = gains.only(left), component[left]
        chosen, settled = pass_messages(part, parts, schedule, rng)
        settled &= total(parts, needless(part, follow(part, chosen), chosen)) == 0
        best = _better(best, left, parts, improve(part, parts, chosen, _STEPS))
        left = left.copy()
        left[left] = ~settled
    if left.any():
        part, parts = gains.only(left), component[left]
        chosen = none.copy()
        chosen[best.exemplar] = True
        best = _better(best, left, parts, improve(part, parts, chosen[left], _LAST_STEPS))
    return best, not left.any()


def _bound(gains: Gains, component: Labels) -> NDArray[np.float64]:
    """What no answer gains more than in a row's component (n,)."""
    most = np.maximum.reduceat(gains.values, gains.starts)
    lowest = best_of(component, -most)
    at_lowest = np.zeros(gains.n)
    at_lowest[lowest] = most[lowest]
    return total(component, most - at_lowest)


def _better(best: Answer, rows: Mask, component: Labels, found: Answer) -> Answer:
    """`best`, with what was found for some components, `rows` (n,), where that is worth more."""
    better = total(component, found.worth) > total(component, best.worth[rows])
    numbers = np.flatnonzero(rows)
    exemplar, worth = best.exemplar.copy(), best.worth.copy()
    exemplar[numbers[better]] = numbers[found.exemplar[better]]
    worth[numbers[better]] = found.worth[better]
    return Answer(exemplar, worth)
