"""Which array is which input or target, of which split."""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from tieshare.errors import DataMismatch

_TARGET = "y"
_ANY_INPUT = "x"
_TRAIN = ("", "_train")
_HELD_OUT = ("_val",)
_TEST = ("_test",)
_ENDINGS = (*_TRAIN, *_HELD_OUT, *_TEST)


@dataclass(frozen=True)
class SplitNames:
    """The arrays of one split: inputs in the model's order, targets in that of the outputs."""

    inputs: tuple[str, ...]
    targets: tuple[str, ...]


@dataclass(frozen=True)
class Roles:
    """All splits; None where the data set leaves one to be set aside.

    ``outputs``: those of the model's outputs that there are targets for, in its order.
    """

    outputs: tuple[str, ...]
    train: SplitNames
    held_out: SplitNames | None
    test: SplitNames | None


def roles_of(arrays: Collection[str], inputs: Sequence[str], outputs: Sequence[str]) -> Roles:
    """Give every array a role, for a model with these inputs and outputs.

    DataMismatch: a role has no array or two, or an array has no role or two.
    """
    stems = {f"input {name!r}": _input_stems(name, inputs) for name in inputs}
    targets = {name: _target_stems(name, inputs, outputs) for name in outputs}
    there = [name for name in outputs if _any(arrays, targets[name])]
    if not there and len(outputs) > 1:
        raise _missing(arrays, "a target", [stem for name in outputs for stem in targets[name]])
    wanted = tuple(there or outputs)
    for name in wanted:
        what = "the target" if len(outputs) == 1 else f"the target of output {name!r}"
        stems[what] = targets[name]
    train = _split(arrays, stems, _TRAIN, len(inputs))
    if train is None:
        what, names = next(iter(stems.items()))
        raise _missing(arrays, what, _ended(names, _TRAIN))
    held_out, test = (_split(arrays, stems, ends, len(inputs)) for ends in (_HELD_OUT, _TEST))
    roles = Roles(wanted, train, held_out, test)
    _check_used(arrays, roles, inputs, [targets[name] for name in outputs])
    return roles


def _split(
    arrays: Collection[str],
    stems: Mapping[str, Sequence[str]],
    endings: tuple[str, ...],
    inputs: int,
) -> SplitNames | None:
    """The arrays of one split, or None where it has none at all."""
    found = {what: _there(arrays, names, endings) for what, names in stems.items()}
    if not any(found.values()):
        return None
    for what, there in found.items():
        if not there:
            raise _missing(arrays, what, _ended(stems[what], endings))
        if len(there) > 1:
            raise DataMismatch(
                f"{what} has two arrays, {there[0]!r} and {there[1]!r}: leave one out",
                where=there[1],
            )
    names_found = [there[0] for there in found.values()]
    return SplitNames(tuple(names_found[:inputs]), tuple(names_found[inputs:]))


def _check_used(
    arrays: Collection[str],
    roles: Roles,
    inputs: Sequence[str],
    targets: Sequence[Sequence[str]],
) -> None:
    splits = [split for split in (roles.train, roles.held_out, roles.test) if split is not None]
    used = Counter(name for split in splits for name in (*split.inputs, *split.targets))
    for name in arrays:
        if used[name] > 1:
            raise DataMismatch(
                f"array {name!r} has two roles: the names of the model's inputs and outputs can't "
                "be told from those of splits",
                where=name,
            )
        if not used[name]:
            stems = ", ".join(inputs)
            if len(inputs) == 1 and inputs[0] != _ANY_INPUT:
                stems += f" (or {_ANY_INPUT})"
            what = "the target is" if len(targets) == 1 else "targets are"
            accepted = ", ".join(names[0] for names in targets)
            raise DataMismatch(
                f"array {name!r} is neither input nor target: the model's inputs are {stems}, "
                f"{what} {accepted}, and each name may end in _train, _val or _test",
                where=name,
            )


def _input_stems(name: str, inputs: Sequence[str]) -> list[str]:
    return [name, _ANY_INPUT] if len(inputs) == 1 and name != _ANY_INPUT else [name]


def _target_stems(name: str, inputs: Sequence[str], outputs: Sequence[str]) -> list[str]:
    """``y_NAME``, and ``y`` where there is one output; an input of the same name goes first."""
    stems = [f"{_TARGET}_{name}"]
    if len(outputs) == 1:
        of_splits = [_TARGET + ending for ending in _ENDINGS]
        stems = [_TARGET, *(stem for stem in stems if stem not in of_splits)]
    return [stem for stem in stems if stem not in inputs]


def _any(arrays: Collection[str], stems: Sequence[str]) -> bool:
    return bool(_there(arrays, stems, _ENDINGS))


def _there(arrays: Collection[str], stems: Sequence[str], endings: tuple[str, ...]) -> list[str]:
    return [name for name in _ended(stems, endings) if name in arrays]


def _ended(stems: Sequence[str], endings: tuple[str, ...]) -> list[str]:
    return [stem + ending for stem in stems for ending in endings]


def _missing(arrays: Collection[str], what: str, names: Sequence[str]) -> DataMismatch:
    accepted = " or ".join(repr(name) for name in names)
    there = ", ".join(repr(name) for name in arrays)
    return DataMismatch(
        f"there is no array for {what}: {accepted} is accepted, the data set has {there}",
        where=names[0],
    )
