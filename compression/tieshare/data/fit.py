"""A data set and a model to three splits, and the same check from their cards alone."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tieshare.data.dataset import Array, ArrayCard, Dataset, DatasetCard, describe_dataset
from tieshare.data.inputs import InputSpec, as_input, check_input_values, input_shape
from tieshare.data.roles import Roles, SplitNames, roles_of
from tieshare.data.targets import Meaning, Output, Task, as_target, meaning_of
from tieshare.errors import DataMismatch
from tieshare.recipe import Recipe

FEWEST_SAMPLES = 20


@dataclass(frozen=True, eq=False)
class Samples:
    """Inputs (n, ...) in the model's order, shapes and dtypes; the target as the task has it."""

    inputs: tuple[Array, ...]
    target: Array

    def __len__(self) -> int:
        return len(self.target)


@dataclass(frozen=True, eq=False)
class Splits:
    """To train on, to choose on, and for the report alone.

    Targets: "classes": numbers (n,) int64 below ``classes``; otherwise float32 (n, *output).
    """

    train: Samples
    held_out: Samples
    test: Samples
    task: Task
    classes: int | None


@dataclass(frozen=True)
class _Plan:
    """Everything decided, nothing converted. ``shapes``: input array name -> sample shape."""

    roles: Roles
    shapes: Mapping[str, tuple[int, ...]]
    meaning: Meaning


@dataclass(frozen=True)
class _Spec:
    name: str
    dtype: str
    shape: tuple[int | str | None, ...]


def fit(dataset: Dataset, inputs: Sequence[InputSpec], output: Output, recipe: Recipe) -> Splits:
    """Fit the data set to a model with these inputs and this shape of one sample's output.

    The same data set and seed give the same splits. BadArray, DataMismatch: what is wrong with
    which array, and what would be accepted.
    """
    plan = _plan(describe_dataset(dataset), inputs, output, recipe)

    def samples(names: SplitNames, chosen: Array | None = None) -> Samples:
        def rows(name: str) -> Array:
            array = dataset.arrays[name]
            return array if chosen is None else array[chosen]

        return Samples(
            tuple(
                as_input(rows(name), plan.shapes[name], spec.dtype, recipe.scale)
                for name, spec in zip(names.inputs, inputs, strict=True)
            ),
            as_target(rows(names.target), plan.meaning, output),
        )

    roles = plan.roles
    train, held_out, test = _set_aside(len(dataset.arrays[roles.train.target]), roles, recipe.seed)
    return Splits(
        train=samples(roles.train, train),
        held_out=samples(roles.held_out or roles.train, held_out),
        test=samples(roles.test or roles.train, test),
        task=plan.meaning.task,
        classes=plan.meaning.classes,
    )


def check_fit(
    model_card: Mapping[str, Any], dataset_card: Mapping[str, Any], recipe: Recipe
) -> None:
    """Raise what ``fit`` would, from the cards alone, as JSON keeps them."""
    inputs = [_Spec(i["name"], i["dtype"], tuple(i["shape"])) for i in model_card["inputs"]]
    (output,) = (o["shape"] for o in model_card["outputs"] if o["dtype"].startswith("float"))
    axes = tuple(axis if isinstance(axis, int) else None for axis in output[1:])
    # A card shows an output of unknown shape as one without axes.
    _plan(DatasetCard.from_dict(dataset_card), inputs, axes if output else None, recipe)


def _plan(card: DatasetCard, inputs: Sequence[InputSpec], output: Output, recipe: Recipe) -> _Plan:
    cards = {array.name: array for array in card.arrays}
    roles = roles_of(list(cards), [spec.name for spec in inputs])
    splits = [split for split in (roles.train, roles.held_out, roles.test) if split is not None]
    shapes = {}
    meanings = []
    for split in splits:
        _check_lengths([cards[name] for name in (split.target, *split.inputs)])
        for name, spec in zip(split.inputs, inputs, strict=True):
            shapes[name] = input_shape(cards[name], spec)
            check_input_values(cards[name], card.ranges[name], spec)
        target = cards[split.target]
        meanings.append(meaning_of(target, card.ranges[split.target], output, recipe.task))
    samples = cards[roles.train.target].shape[0]
    if samples < FEWEST_SAMPLES:
        raise DataMismatch(
            f"there are {samples} samples to train on; at least {FEWEST_SAMPLES} are needed",
            where=roles.train.target,
        )
    return _Plan(roles, shapes, _one_meaning(meanings, splits))


def _check_lengths(arrays: Sequence[ArrayCard]) -> None:
    first = arrays[0]
    for other in arrays[1:]:
        if other.shape[0] != first.shape[0]:
            raise DataMismatch(
                f"array {other.name!r} has {other.shape[0]} samples, array {first.name!r} has "
                f"{first.shape[0]}",
                where=other.name,
            )


def _one_meaning(meanings: Sequence[Meaning], splits: Sequence[SplitNames]) -> Meaning:
    """The training split's. Another split of an output of free width may lack the last classes."""
    first = meanings[0]
    for meaning, split in zip(meanings[1:], splits[1:], strict=True):
        if meaning.task != first.task or (meaning.classes or 0) > (first.classes or 0):
            raise DataMismatch(
                f"array {split.target!r} means {meaning.task}, {splits[0].target!r} {first.task}"
                if meaning.task != first.task
                else f"array {split.target!r} has classes that {splits[0].target!r} lacks",
                where=split.target,
            )
    return first


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
