"""Parameters that must stay equal by prior knowledge: what a recipe declares.

    TiedRows     rows of one layer's matrix of rows
    TiedTensors  whole stored tensors of one shape

What is made of them: `prior`.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

from tieshare.errors import RecipeError


@dataclass(frozen=True)
class TiedRows:
    """Rows of ``layer`` that stay equal: numbers of rows, from 0, at least two."""

    layer: str
    rows: tuple[int, ...]

    def __post_init__(self) -> None:
        if not isinstance(self.layer, str):
            raise RecipeError(f"must be the name of a layer, not {self.layer!r}", where="layer")
        _check_distinct(self.rows, int, "rows")
        if min(self.rows) < 0:
            raise RecipeError(f"row {min(self.rows)}: rows are counted from 0", where="rows")

    @property
    def members(self) -> frozenset[tuple[str, int]]:
        """What no other group may hold."""
        return frozenset((self.layer, row) for row in self.rows)


@dataclass(frozen=True)
class TiedTensors:
    """Stored tensors that stay equal: names of values in the graph, at least two."""

    tensors: tuple[str, ...]

    def __post_init__(self) -> None:
        _check_distinct(self.tensors, str, "tensors")

    @property
    def members(self) -> frozenset[str]:
        """What no other group may hold."""
        return frozenset(self.tensors)


TieGroup = TiedRows | TiedTensors


def read_tie_groups(entries: object) -> tuple[TieGroup, ...]:
    """From plain data: a list of ``{"layer": NAME, "rows": [...]}`` and ``{"tensors": [...]}``.

    RecipeError: names the entry that is something else.
    """
    if not isinstance(entries, Sequence) or isinstance(entries, str):
        raise RecipeError(f"must be a list of groups, not {entries!r}", where="tie_groups")
    return tuple(_group(entry, f"tie_groups.{place}") for place, entry in enumerate(entries))


def check_apart(groups: Iterable[TieGroup]) -> None:
    """RecipeError: two groups have a member in common."""
    owners: dict[object, int] = {}
    for place, group in enumerate(groups):
        if not isinstance(group, TieGroup):
            raise RecipeError(
                f"must be TiedRows or TiedTensors, not {group!r}", where=f"tie_groups.{place}"
            )
        for member in sorted(group.members, key=str):
            owner = owners.setdefault(member, place)
            if owner != place:
                name = f"row {member[1]} of {member[0]!r}" if isinstance(member, tuple) else member
                raise RecipeError(
                    f"{name} is in tie_groups.{owner} already: make these one group",
                    where=f"tie_groups.{place}",
                )


def _group(entry: object, where: str) -> TieGroup:
    if isinstance(entry, Mapping):
        for kind in (TiedRows, TiedTensors):
            if set(entry) == {item.name for item in fields(kind)}:
                try:
                    return kind(**{name: _frozen(value) for name, value in entry.items()})
                except RecipeError as error:
                    raise RecipeError(error.message, where=f"{where}.{error.where}") from error
    raise RecipeError(
        f'must have the fields "layer" and "rows", or "tensors" alone, not {entry!r}', where=where
    )


def _frozen(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


def _check_distinct(values: object, kind: type, where: str) -> None:
    what = {int: "numbers", str: "names"}[kind]
    if not isinstance(values, tuple) or not all(type(value) is kind for value in values):
        raise RecipeError(f"must be {what}, not {values!r}", where=where)
    if len(values) < 2 or len(set(values)) < len(values):
        raise RecipeError(f"must be at least two different {what}", where=where)
