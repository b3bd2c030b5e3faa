"""Classes of units that are merged, split and pinned."""

import numpy as np

from tieshare.graph.atoms import NOBODY, Atoms, Ids


def column(*atoms: int) -> Ids:
    return np.array(atoms)[:, None]


def test_atoms_that_meet_are_one_and_one_that_is_pinned_takes_them_all() -> None:
    atoms = Atoms()
    atoms.fresh(5)
    atoms.meet(column(0, 1), column(3, 4))
    assert atoms.resolve(column(0, 1, 2, 3, 4)).tolist() == [[0], [1], [2], [0], [1]]
    atoms.pin(column(3))
    assert atoms.resolve(column(0, 1, 2, 3, 4)).tolist() == [[-1], [1], [2], [-1], [1]]
    atoms.meet(column(1), column(NOBODY))
    assert atoms.resolve(column(4)).tolist() == [[-1]]


def test_a_chain_of_meetings_in_one_call_is_one_atom() -> None:
    atoms = Atoms()
    atoms.fresh(1000)
    numbers = np.arange(1000)
    atoms.meet(numbers[1:, None], numbers[:-1, None])
    assert (atoms.resolve(numbers[:, None]) == 0).all()


def test_an_atom_that_meets_two_has_them_for_parts() -> None:
    atoms = Atoms()
    whole, rows, columns = atoms.fresh(6), atoms.fresh(2), atoms.fresh(3)
    parts = np.concatenate([np.repeat(rows, 3, axis=0), np.tile(columns, (2, 1))], axis=1)
    atoms.meet(whole, parts)
    assert atoms.resolve(whole).tolist() == parts.tolist()
    atoms.pin(whole[:1])
    assert atoms.resolve(parts).tolist() == [[-1, -1], [-1, 9], [-1, 10], [7, -1], [7, 9], [7, 10]]


def test_the_same_atom_in_two_entries_has_the_same_parts_in_both() -> None:
    atoms = Atoms()
    atoms.fresh(5)
    atoms.meet(column(0, 0), np.array([[1, 2], [3, 4]]))
    assert atoms.resolve(np.array([[1, 2], [3, 4], [0, 0]])).tolist() == [[1, 2]] * 3


def test_an_atom_that_would_be_its_own_part_stays() -> None:
    atoms = Atoms()
    atoms.fresh(3)
    atoms.meet(column(0), np.array([[0, 1]]))
    assert atoms.resolve(column(0, 1, 2)).tolist() == [[-1], [-1], [2]]


def test_atoms_that_are_left_get_new_numbers() -> None:
    atoms = Atoms()
    atoms.fresh(6)
    atoms.pin(column(0))
    atoms.meet(column(1, 4), column(3, 5))
    count, number = atoms.numbered()
    assert count == 3
    assert number(column(0, 1, 2, 3, 4, 5, NOBODY)).tolist() == [
        *([-1], [0], [1], [0], [2], [2], [-1])
    ]


def test_whatever_leaves_stay_all_that_met_stay_or_go_together() -> None:
    """The meaning of ids, for random meetings of random entries."""
    rng = np.random.default_rng(0)
    for _ in range(300):
        atoms = Atoms()
        atoms.fresh(int(rng.integers(2, 12)))
        met: list[tuple[Ids, Ids]] = []
        pinned: list[Ids] = []
        for _ in range(int(rng.integers(1, 8))):
            rows, left, right = rng.integers(1, 5, size=3)
            low = -int(rng.random() < 0.2)
            ids, others = (
                rng.integers(low, len(atoms), size=(rows, width)) for width in (left, right)
            )
            if rng.random() < 0.1:
                atoms.pin(ids)
                pinned.append(ids)
            else:
                atoms.meet(ids, others)
                met.append((ids, others))
        leaves = np.append(rng.random(len(atoms)) < 0.7, True)
        for ids, others in met:
            stays = [leaves[atoms.resolve(side)].all(axis=1) for side in (ids, others)]
            assert stays[0].tolist() == stays[1].tolist()
            alone = [leaves[atoms.resolve(ids[:, [i]])].all(axis=1) for i in range(ids.shape[1])]
            assert np.all(alone, axis=0).tolist() == stays[0].tolist()
        for ids in pinned:
            assert (atoms.resolve(ids) == NOBODY).all()
