"""Finds the pairs of rows that are more alike than the preference."""

import numpy as np
from numpy.typing import NDArray

from tieshare.cluster.gains import Gains, Labels, Mask, Values
from tieshare.cluster.rows import Rows

_TILE = 1 << 24  # products that are held at once
_SLACK = 0.1  # of the columns, beyond those that tell random rows apart
_MOST = 0.8  # of the columns: a bound from more of them saves too little
_FEW = 0.7  # of the pairs: to pick out more of them takes longer than to finish all
_ROUNDING = 1e-4


def worthwhile_pairs(
    rows: Rows, candidates: Labels, preference: float, most: int, rng: np.random.Generator
) -> tuple[Gains, bool]:
    """What each of n rows gains by following a candidate, wherever that is above 0.

    ``candidates`` (k,): places of rows, ascending. ``most``: a row is paired with so many of them
    at most, see `_thin`; the second answer says whether any row had more.
    """
    n, m = rows.directions.shape
    others = rows.only(candidates)
    rest = _lengths(others.directions[:, _split(m, preference) :])
    order = rng.permutation(len(candidates))
    thinned = False
    found: list[tuple[NDArray[np.int32], NDArray[np.int32], Values]] = []
    step = max(1, _TILE // len(candidates))
    for start in range(0, n, step):
        tile = slice(start, min(n, start + step))
        columns, gains = _tile_gains(rows, tile, others, rest, preference)
        numbers = np.arange(tile.start, tile.stop)
        chosen: Mask = (gains > 0) & (candidates[columns] != numbers[:, None])
        for row in np.flatnonzero(np.count_nonzero(chosen, axis=1) > most):
            chosen[row] = _thin(chosen[row], gains[row], order[columns], most)
            thinned = True
        at_row, at_column = np.nonzero(chosen)
        firsts = np.searchsorted(at_row, np.arange(len(numbers)))
        found.append(
            (
                np.insert(numbers[at_row], firsts, numbers).astype(np.int32),
                np.insert(candidates[columns[at_column]], firsts, numbers).astype(np.int32),
                np.insert(gains[chosen], firsts, 0),
            )
        )
    return Gains(*(np.concatenate(parts) for parts in zip(*found, strict=True))), thinned


def _tile_gains(
    rows: Rows, tile: slice, others: Rows, rest: Values, preference: float
) -> tuple[Labels, Values]:
    """Which of the others (c,) may gain the rows of the tile anything, and the gains (t, c).

    By Cauchy and Schwarz, s_ij is at most the ratio of the norms; and once the first elements of
    directions are multiplied, the others add at most the product of their lengths, ``rest`` (k,).
    """
    U, band = rows.directions[tile], _band(others.norms, preference, rows.norms[tile])
    V, columns = others.directions[band], np.arange(band.start, band.stop)
    ratios = np.divide.outer(rows.norms[tile], others.norms[band]).astype(np.float32)
    np.minimum(ratios, 1 / ratios, out=ratios)
    split = _split(U.shape[1], preference)
    gains: Values = U[:, :split] @ V[:, :split].T
    if split < U.shape[1]:
        bound = np.multiply.outer(_lengths(U[:, split:]), rest[band])
        bound += gains
        bound *= ratios
        possible: Mask = np.any(bound > preference - _ROUNDING, axis=0)
        if np.count_nonzero(possible) < _FEW * len(columns):
            columns, V = columns[possible], V[possible]
            gains, ratios = gains[:, possible], ratios[:, possible]
        gains += U[:, split:] @ V[:, split:].T
    gains *= ratios
    gains -= np.float32(preference)
    return columns, gains


def _split(m: int, preference: float) -> int:
    """How many of m elements of random directions tell that they are less alike than that."""
    split = max(0, round(m * (1 - preference + _SLACK)))
    return split if split <= _MOST * m else m


def _band(norms: NDArray[np.float64], preference: float, tile: NDArray[np.float64]) -> slice:
    """Those of the norms whose ratio to one of the tile exceeds the preference; both ascending."""
    if preference <= 0:
        return slice(0, len(norms))
    low = np.searchsorted(norms, tile[0] * preference)
    high = np.searchsorted(norms, tile[-1] / preference, side="right")
    return slice(int(low), max(int(low), int(high)))


def _lengths(U: Values) -> Values:
    lengths: Values = np.sqrt(np.einsum("ij,ij->i", U, U))
    return lengths


def _thin(chosen: Mask, gains: Values, order: Labels, most: int) -> Mask:
    """`most` of the pairs of one row that are chosen (c,).

    One half are those of the highest gain. The other are the first in an order that is the same
    for all rows: of many rows that are alike, each then sees the same few, one of which can serve
    them all.
    """
    half = most // 2
    pairs = np.flatnonzero(chosen)
    by_gain = np.argpartition(-gains[pairs], half)
    near, others = pairs[by_gain[:half]], pairs[by_gain[half:]]
    shared = others[np.argpartition(order[others], most - half)[: most - half]]
    kept = np.zeros_like(chosen)
    kept[near] = True
    kept[shared] = True
    return kept
