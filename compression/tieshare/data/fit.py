"""A data set and a model to three splits, and the same check from their cards alone."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tieshare.data.dataset import Array, ArrayCard, Dataset, DatasetCard, describe_dataset
from tieshare.data.images import check_images
from tieshare.data.inputs import as_input, check_input_values, input_shape
from tieshare.data.roles import Roles, SplitNames, roles_of
from tieshare.data.shapes import Shape, bound
from tieshare.data.specs import ModelSpec, OutputSpec
from tieshare.data.targets import Goal, Meaning, as_target, meaning_of
from tieshare.errors import DataMismatch
from tieshare.recipe import Recipe, TaskName

FEWEST_SAMPLES = 20


@dataclass(frozen=True, eq=False)
class Samples:
    """Inputs (n, ...) in the model's order, shapes and dtypes; one target a goal.

    Targets: class numbers (n, ...) int64, NO_LABEL where a place has none; otherwise float32 of
    the output's shape.
    """

    inputs: tuple[Array, ...]
    targets: tuple[Array, ...]

    def __len__(self) -> int:
        return len(self.targets[0])


@dataclass(frozen=True, eq=False)
class Splits:
    """To train on, to choose on, and for the report alone; and what is to be learned."""

    train: Samples
    held_out: Samples
    test: Samples
    goals: tuple[Goal, ...]

    @property
    def task(self) -> TaskName:
        """That of all goals; "auto" where they differ."""
        tasks = {goal.task for goal in self.goals}
        return tasks.pop() if len(tasks) == 1 else "auto"


@dataclass(frozen=True)
class _Plan:
    """Everything decided, nothing converted; shapes of one sample and meanings by array name."""

    roles: Roles
    shapes: Mapping[str, Shape]
    meanings: Mapping[str, Meaning]


def fit(dataset: Dataset, model_card: Mapping[str, Any], recipe: Recipe) -> Splits:
    """Fit the data set to the model with this card, as ``dataclasses.asdict`` leaves it.

    The same data set and seed give the same splits. BadArray, DataMismatch: what is wrong with
    which array, and what would be accepted.
    """
    model = ModelSpec.from_card(model_card)
    plan = _plan(describe_dataset(dataset), model, recipe)

    def samples(names: SplitNames, chosen: Array | None = None) -> Samples:
        def rows(name: str) -> Array:
            array = dataset.arrays[name]
            return array if chosen is None else array[chosen]

        return Samples(
            tuple(
                as_input(rows(name), plan.shapes[name], spec, recipe.scale)
                for name, spec in zip(names.inputs, model.inputs, strict=True)
            ),
            tuple(as_target(rows(name), plan.meanings[name]) for name in names.targets),
        )

    roles = plan.roles
    n = len(dataset.arrays[roles.train.targets[0]])
    chosen, held_out, test = _set_aside(n, roles, recipe.seed)
    train = samples(roles.train, chosen)
    meanings = [plan.meanings[name] for name in roles.train.targets]
    return Splits(
        train=train,
        held_out=samples(roles.held_out or roles.train, held_out),
        test=samples(roles.test or roles.train, test),
        goals=tuple(map(_goal, roles.outputs, meanings, _units(meanings, train.targets))),
    )


def check_fit(
    model_card: Mapping[str, Any], dataset_card: Mapping[str, Any], recipe: Recipe
) -> None:
    """Raise what ``fit`` would, from the cards alone, as JSON keeps them."""
    model = ModelSpec.from_card(model_card)
    _plan(DatasetCard.from_dict(dataset_card), model, recipe)


def _plan(card: DatasetCard, model: ModelSpec, recipe: Recipe) -> _Plan:
    cards = {array.name: array for array in card.arrays}
    inputs, outputs = (tuple(spec.name for spec in s) for s in (model.inputs, model.outputs))
    roles = roles_of(list(cards), inputs, outputs)
    wanted = [spec for spec in model.outputs if spec.name in roles.outputs]
    shapes: dict[str, Shape] = {}
    meanings: dict[str, Meaning] = {}
    for split in (roles.train, roles.held_out, roles.test):
        if split is None:
            continue
        _check_lengths([cards[name] for name in (*split.targets, *split.inputs)])
        lengths: dict[str, tuple[int, str]] = {}
        for name, spec in zip(split.inputs, model.inputs, strict=True):
            shapes[name] = input_shape(cards[name], spec)
            check_input_values(cards[name], card.ranges[name], spec)
            _bind(lengths, cards[name], spec.axes or (), shapes[name])
        known = {axis: length for axis, (length, _) in lengths.items()}
        for name, output, first in zip(split.targets, wanted, roles.train.targets, strict=True):
            axes = None if output.axes is None else bound(output.axes, known)
            spec_here = OutputSpec(output.name, axes, output.axis)
            meanings[name] = meaning_of(cards[name], card.ranges[name], spec_here, recipe.task)
            _check_same(first, meanings[first], name, meanings[name])
    check_images(
        recipe.augment,
        {name: shapes[name] for name in roles.train.inputs},
        {name: cards[name].shape[1:] for name in roles.train.targets},
    )
    samples = cards[roles.train.targets[0]].shape[0]
    if samples < FEWEST_SAMPLES:
        raise DataMismatch(
            f"there are {samples} samples to train on; at least {FEWEST_SAMPLES} are needed",
            where=roles.train.targets[0],
        )
    return _Plan(roles, shapes, meanings)


def _check_lengths(arrays: Sequence[ArrayCard]) -> None:
    first = arrays[0]
    for other in arrays[1:]:
        if other.shape[0] != first.shape[0]:
            raise DataMismatch(
                f"array {other.name!r} has {other.shape[0]} samples, array {first.name!r} has "
                f"{first.shape[0]}",
                where=other.name,
            )


def _bind(
    lengths: dict[str, tuple[int, str]],
    card: ArrayCard,
    axes: Sequence[int | str | None],
    shape: Shape,
) -> None:
    """Note how long the named axes are; one name has one length in all inputs of a split."""
    for axis, length in zip(axes, shape, strict=True):
        if isinstance(axis, str):
            first, name = lengths.setdefault(axis, (length, card.name))
            if first != length:
                raise DataMismatch(
                    f"array {card.name!r} has the length {length} along the model's axis {axis!r}, "
                    f"array {name!r} has {first}",
                    where=card.name,
                )


def _check_same(first: str, meaning: Meaning, name: str, other: Meaning) -> None:
    """Another split means the same. Where the width is free it may lack the last classes."""
    if other.task != meaning.task:
        what = f"means {other.task}, {first!r} {meaning.task}"
    elif other.axis != meaning.axis:
        what = f"has its classes along another axis than {first!r}"
    elif (other.classes or 0) > (meaning.classes or 0):
        what = f"has classes that {first!r} lacks"
    else:
        return
    raise DataMismatch(f"array {name!r} {what}", where=name)


def _goal(output: str, meaning: Meaning, unit: float) -> Goal:
    axis = None if meaning.axis is None else meaning.axis + 1
    return Goal(output, meaning.task, meaning.classes, axis, unit)


def _units(meanings: Sequence[Meaning], targets: Sequence[Array]) -> list[float]:
    """What squared errors of each goal are counted in."""
    several = len(meanings) > 1
    return [
        float(target.var(dtype=float)) or 1.0 if several and meaning.task == "regression" else 1.0
        for meaning, target in zip(meanings, targets, strict=True)
    ]


def _set_aside(n: int, roles: Roles, seed: int) -> tuple[Array | None, Array | None, Array | None]:
    """Which of the n training samples train, are held out, and test; None for all of a split.

    A tenth each for what the data set has no split of, in the order in which they lie.
    """
    order = np.random.default_rng(seed).permutation(n)
    tenth = n // 10
    test = None if roles.test is not None else np.sort(order[:tenth])
    rest = order if test is None else order[tenth:]
    held_out = None if roles.held_out is not None else np.sort(rest[:tenth])
    rest = rest if held_out is None else rest[tenth:]
    return (None if len(rest) == n else np.sort(rest)), held_out, test
