"""Units that stand or fall together: classes that are merged, split and pinned."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

Ids = NDArray[np.int64]
"""(length, k): entry i stays if all of its atoms stay; NOBODY is an atom that always does."""

NOBODY = -1


class Atoms:
    """The smallest things that can be taken away; each is a number.

    ``pin``   an atom must stay: it becomes NOBODY.
    ``meet``  entries stand or fall together: their atoms become one. An atom that meets several
              stays only if all of these do, and has them for its parts: a unit of an attention
              layer has two, its head and its place in the head.

    A forest in arrays, so that a whole axis is one step. ``_above`` leads from an atom towards
    the one that stands for it, the first that was made; ``_parts`` holds its parts. Both end with
    a row for NOBODY, which index -1 finds. An atom is never a part of one that it is made of.
    """

    def __init__(self) -> None:
        self._count = 0
        self._above = np.array([NOBODY])
        self._parts = np.full((1, 2), NOBODY)
        self._parted = np.array([False])

    def __len__(self) -> int:
        return self._count

    def fresh(self, count: int) -> Ids:
        """New atoms, one an entry: (count, 1)."""
        first, self._count = self._count, self._count + count
        if self._count >= len(self._above):
            more = self._count
            self._above = np.append(self._above, np.full(more, NOBODY))
            self._parted = np.append(self._parted, np.full(more, False))
            self._parts = np.pad(self._parts, ((0, more), (0, 0)), constant_values=NOBODY)
        made = np.arange(first, self._count)
        self._above[made] = made
        return made[:, None]

    def pin(self, ids: Ids) -> None:
        """All of these stay."""
        self._above[self.resolve(ids)] = NOBODY

    def meet(self, ids: Ids, others: Ids) -> None:
        """Entry i of both stand or fall together: (length, k) and (length, k')."""
        narrow, wide = sorted((self.resolve(ids), self.resolve(others)), key=lambda x: x.shape[1])
        if narrow.shape == wide.shape:
            self._unite(narrow, wide)
        elif narrow.shape[1] == 1:
            self._split(narrow[:, 0], wide)
        else:
            self.pin(narrow)
            self.pin(wide)

    def resolve(self, ids: Ids) -> Ids:
        """The same entries by the atoms that are left: (length, k'), each once in its entry."""
        wide = self._roots(ids)
        while True:
            parted = self._parted[wide]
            if not parted.any():
                return _narrow(wide)
            parts = self._roots(self._parts[wide])  # (length, k, parts)
            whole = np.where(np.arange(parts.shape[2]), NOBODY, wide[:, :, None])
            wide = np.where(parted[:, :, None], parts, whole).reshape(len(wide), -1)

    def numbered(self) -> tuple[int, Callable[[Ids], Ids]]:
        """How many atoms are left, and entries by new numbers of these: 0, 1, 2, ..."""
        left = np.unique(self.resolve(np.arange(self._count)[:, None]))
        left = left[left != NOBODY]
        numbers = np.full(self._count + 1, NOBODY)
        numbers[left] = np.arange(len(left))
        return len(left), lambda ids: numbers[self.resolve(ids)]

    def _roots(self, ids: Ids) -> Ids:
        """The atoms that stand for these. The way there is made short."""
        while True:
            above = self._above[ids]
            further = self._above[above]
            if np.array_equal(above, further):
                return above
            self._above[ids] = further

    def _unite(self, ids: Ids, others: Ids) -> None:
        """Atoms become one with those beside them; none of them has parts."""
        while True:
            ids, others = self._roots(ids), self._roots(others)
            apart = ids != others
            if not apart.any():
                return
            ids, others = ids[apart], others[apart]
            np.minimum.at(self._above, np.maximum(ids, others), np.minimum(ids, others))

    def _split(self, atoms: Ids, parts: Ids) -> None:
        """Atoms (length,) become made of parts (length, k); none of either has parts yet.

        Atoms that would be parts of others here, or of themselves, stay.
        """
        single = (parts != NOBODY).sum(axis=1) < 2
        self._unite(atoms[single], parts[single].max(axis=1))
        atoms, parts = atoms[~single], parts[~single]
        atoms, first, again = np.unique(atoms, return_index=True, return_inverse=True)
        self._unite(parts, parts[first][again])
        atoms, parts = self._roots(atoms), self.resolve(parts[first])
        _, again, times = np.unique(atoms, return_inverse=True, return_counts=True)
        free = atoms != NOBODY
        tangled = (times[again] > 1) | np.isin(atoms, parts)
        stay = tangled | ~free | np.isin(parts, atoms[free]).any(axis=1)
        self.pin(atoms[stay][:, None])
        self.pin(parts[stay])
        missing = max(parts.shape[1] - self._parts.shape[1], 0)
        self._parts = np.pad(self._parts, ((0, 0), (0, missing)), constant_values=NOBODY)
        self._parts[atoms[~stay], : parts.shape[1]] = parts[~stay]
        self._parted[atoms[~stay]] = True


def _narrow(wide: Ids) -> Ids:
    """Each atom once in its entry, in no more columns than needed."""
    for column in range(1, wide.shape[1]):
        earlier = wide[:, :column] == wide[:, column, None]
        wide[earlier.any(axis=1), column] = NOBODY
    somebody = wide != NOBODY
    wide = wide[:, somebody.any(axis=0) | (np.arange(wide.shape[1]) == 0)]
    most = max(int(somebody.sum(axis=1).max(initial=1)), 1)
    if most < wide.shape[1]:
        order = np.argsort(wide == NOBODY, axis=1, kind="stable")
        wide = np.take_along_axis(wide, order, axis=1)[:, :most]
    return wide
