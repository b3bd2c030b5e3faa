"""Affinity propagation on the pairs that matter."""

from dataclasses import dataclass

import numpy as np

from tieshare.cluster.gains import Gains, Labels, Mask, total

_STABLE = 15


@dataclass(frozen=True)
class Schedule:
    """``damping``: the part of an old message that is kept, from 0.5 to below 1.

    ``noise``: standard deviation of what is added to the gains, as a part of the highest: without
    it, rows in symmetric places choose each other in turn for ever.
    """

    damping: float
    noise: float
    iterations: int


def pass_messages(
    gains: Gains, component: Labels, schedule: Schedule, rng: np.random.Generator
) -> tuple[Mask, Mask]:
    """Which of n rows are exemplars (n,), and which are in a component that has settled (n,).

    Responsibility r(i, k) = s(i, k) - max_{k' != k} [a(i, k') + s(i, k')]; availability
    a(i, k) = min(0, r(k, k) + sum_{i' not in {i, k}} max(0, r(i', k))), and
    a(k, k) = sum_{i' != k} max(0, r(i', k)); the new ones are mixed in by 1 - damping. Gains do
    for similarities, since a constant added to a row of s cancels.
    A component settles when its exemplars, at least one, have stayed the same for 15 rounds.
    """
    own, damping = gains.own, schedule.damping
    S = gains.values + np.float32(schedule.noise * gains.values.max()) * rng.standard_normal(
        len(gains.values), dtype=np.float32
    )
    S[own] = 0
    R, A = np.zeros_like(S), np.zeros_like(S)
    chosen, settled = np.zeros(gains.n, dtype=bool), np.zeros(gains.n, dtype=bool)
    before = chosen.copy()
    stable = np.zeros(gains.n, dtype=np.int64)
    for _ in range(schedule.iterations):
        new = A + S
        first = gains.highest(new)
        highest = new[first]
        new[first] = -np.inf
        second = np.maximum.reduceat(new, gains.starts)  # -inf where a row has no other pair
        np.subtract(S, gains.spread(highest), out=new)
        new[first] = S[first] - second
        new *= 1 - damping
        R *= damping
        R += new

        np.maximum(R, 0, out=new)
        new[own] = 0
        received = gains.received(new)
        np.subtract((received + R[own]).astype(np.float32)[gains.columns], new, out=new)
        np.minimum(new, 0, out=new)
        new[own] = received
        new *= 1 - damping
        A *= damping
        A += new

        now = A[own] + R[own] > 0
        stable = np.where(now == before, stable + 1, 0)
        before = now
        fresh = ~settled & (total(component, now) > 0) & (total(component, stable < _STABLE) == 0)
        chosen[fresh] = now[fresh]
        settled |= fresh
        if settled.all():
            break
    return np.where(settled, chosen, before), settled
