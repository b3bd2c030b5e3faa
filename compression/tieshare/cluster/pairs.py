"""Finds the pairs of rows that are more alike than the preference."""

import numpy as np
from numpy.typing import NDArray

from tieshare.cluster.gains import Gains, Labels, Mask, Values
from tieshare.cluster.rows import Rows

_TILE = 1 << 24  # products that are held at once
_SLACK = 0.1  # of the columns, beyond those that tell random rows apart
_MOST = 0.8  # of the columns: a bound from more of them saves too little
_FEW = 0.7  # of the pairs: to finish more of them one by one takes longer than to finish all
_ROUNDING = 1e-4


def worthwhile_pairs(rows: Rows, preference: float, most: int, rng: np.random.Generator) -> Gains:
    """What each of n rows gains by following another, wherever that is above 0.

    ``most``: a row is paired with so many others at most, see `_thin`.
    """
    n, m = rows.directions.shape
    order = rng.permutation(n)
    split = round(m * (1 - preference + _SLACK))
    split = max(0, split) if split <= _MOST * m else m
    rest = _lengths(rows.directions[:, split:])
    found: list[tuple[NDArray[np.int32], NDArray[np.int32], Values]] = []
    step = max(1, _TILE // n)
    for start in range(0, n, step):
        tile = np.arange(start, min(n, start + step))
        columns, gains = _tile_gains(rows, preference, rest, split, tile)
        own = np.arange(len(tile)), np.searchsorted(columns, tile)
        gains[own] = 0
        chosen: Mask = gains > 0
        for row in np.flatnonzero(np.count_nonzero(chosen, axis=1) > most):
            chosen[row] = _thin(chosen[row], gains[row], order[columns], most)
        chosen[own] = True
        at_row, at_column = np.nonzero(chosen)
        pairs = tile[at_row].astype(np.int32), columns[at_column].astype(np.int32)
        found.append((*pairs, gains[chosen]))
    return Gains(*(np.concatenate(parts) for parts in zip(*found, strict=True)))


def _tile_gains(
    rows: Rows, preference: float, rest: Values, split: int, tile: Labels
) -> tuple[Labels, Values]:
    """The columns (c,), ascending, that may gain the rows of the tile (t,) anything; gains (t, c).

    The rows of the tile are among them. By Cauchy and Schwarz, s_ij is at most the ratio of the
    norms; and once the first `split` elements of directions are multiplied, the others add at most
    the product of their lengths, ``rest`` (n,).
    """
    U = rows.directions
    own, band = slice(tile[0], tile[-1] + 1), _band(rows.norms, preference, tile)
    columns = np.arange(band.start, band.stop)
    ratios = np.divide.outer(rows.norms[own], rows.norms[band]).astype(np.float32)
    np.minimum(ratios, 1 / ratios, out=ratios)
    gains: Values = U[own, :split] @ U[band, :split].T
    if split < U.shape[1]:
        bound = np.multiply.outer(rest[own], rest[band])
        bound += gains
        bound *= ratios
        possible: Mask = np.any(bound > preference - _ROUNDING, axis=0)
        possible[tile - band.start] = True
        if np.count_nonzero(possible) < _FEW * len(columns):
            columns = columns[possible]
            gains, ratios = gains[:, possible], ratios[:, possible]
            gains += U[own, split:] @ U[columns, split:].T
        else:
            gains += U[own, split:] @ U[band, split:].T
    gains *= ratios
    gains -= np.float32(preference)
    return columns, gains


def _band(norms: NDArray[np.float64], preference: float, tile: Labels) -> slice:
    """Those of the norms (n,), ascending, whose ratio to one of the tile exceeds the preference."""
    if preference <= 0:
        return slice(0, len(norms))
    low = np.searchsorted(norms, norms[tile[0]] * preference)
    high = np.searchsorted(norms, norms[tile[-1]] / preference, side="right")
    return slice(min(int(low), tile[0]), max(int(high), tile[-1] + 1))


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
