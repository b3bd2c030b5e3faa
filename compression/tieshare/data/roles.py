"""Which array is which input or target, of which split."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from tieshare.errors import DataMismatch

_TARGET = "y"
_ANY_INPUT = "x"
_TRAIN = ("", "_train")
_HELD_OUT = ("_val",)
_TEST = ("_test",)


@dataclass(frozen=True)
class SplitNames:
    """The arrays of one split, the inputs in the model's order."""

    inputs: tuple[str, ...]
    target: str


@dataclass(frozen=True)
class Roles:
    """All splits; None where the data set leaves one to be set aside."""

    train: SplitNames
    held_out: SplitNames | None
    test: SplitNames | None


def roles_of(arrays: Collection[str], inputs: Sequence[str]) -> Roles:
    """Give every array a role, for a model with these inputs.

    DataMismatch: a role has no array or two, or an array has no role.
    """
    train = _split(arrays, inputs, _TRAIN)
    if train is None:
        raise _missing(arrays, f"input {inputs[0]!r}", _names(inputs[0], inputs, _TRAIN))
    roles = Roles(train, _split(arrays, inputs, _HELD_OUT), _split(arrays, inputs, _TEST))
    splits = [split for split in (roles.train, roles.held_out, roles.test) if split is not None]
    used = {name for split in splits for name in (*split.inputs, split.target)}
    for name in arrays:
        if name not in used:
            stems = ", ".join(inputs)
            if len(inputs) == 1 and inputs[0] != _ANY_INPUT:
                stems += f" (or {_ANY_INPUT})"
            raise DataMismatch(
                f"array {name!r} is neither input nor target: the model's inputs are {stems}, the "
                "target is y, and each name may end in _train, _val or _test",
                where=name,
            )
    return roles


def _split(
    arrays: Collection[str], inputs: Sequence[str], endings: tuple[str, ...]
) -> SplitNames | None:
    """The arrays of one split, or None where it has none at all."""
    wanted = [(f"input {name!r}", _names(name, inputs, endings)) for name in inputs]
    wanted.append(("the target", [_TARGET + ending for ending in endings]))
    found = [[name for name in names if name in arrays] for _, names in wanted]
    if not any(found):
        return None
    for (what, names), there in zip(wanted, found, strict=True):
        if not there:
            raise _missing(arrays, what, names)
        if len(there) > 1:
            raise DataMismatch(
                f"{what} has two arrays, {there[0]!r} and {there[1]!r}: leave one out",
                where=there[1],
            )
    names_found = [there[0] for there in found]
    return SplitNames(tuple(names_found[:-1]), names_found[-1])


def _names(name: str, inputs: Sequence[str], endings: tuple[str, ...]) -> list[str]:
    stems = [name, _ANY_INPUT] if len(inputs) == 1 and name != _ANY_INPUT else [name]
    return [stem + ending for stem in stems for ending in endings]


def _missing(arrays: Collection[str], what: str, names: list[str]) -> DataMismatch:
    accepted = " or ".join(repr(name) for name in names)
    there = ", ".join(repr(name) for name in arrays)
    return DataMismatch(
        f"there is no array for {what}: {accepted} is accepted, the data set has {there}",
        where=names[0],
    )
