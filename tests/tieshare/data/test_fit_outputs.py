"""Tokens, several inputs, several outputs, and a label for every pixel or step."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import pytest

from tieshare.data import NO_LABEL, Dataset, Goal, Splits, check_fit, describe_dataset, fit
from tieshare.errors import DataMismatch
from tieshare.recipe import Recipe, TaskName

N = 40
Arrays = dict[str, np.ndarray]
Axes = tuple[int | str | None, ...]
RNG = np.random.default_rng(0)


@dataclass(frozen=True)
class Model:
    """Of inputs and outputs by name, each with the axes of one sample, outputs all of floats."""

    inputs: Mapping[str, Axes]
    outputs: Mapping[str, Axes]
    dtypes: Mapping[str, str] = field(default_factory=dict)
    tables: Mapping[str, int] = field(default_factory=dict)
    axes: Mapping[str, int] = field(default_factory=dict)

    @property
    def card(self) -> dict[str, Any]:
        def specs(named: Mapping[str, Axes]) -> list[dict[str, Any]]:
            return [
                {"name": name, "dtype": self.dtypes.get(name, "float32"), "shape": ["n", *axes]}
                for name, axes in named.items()
            ]

        return {
            "inputs": specs(self.inputs),
            "outputs": specs(self.outputs),
            "tables": self.tables,
            "axes": self.axes,
        }


def fitted(arrays: Arrays, model: Model, task: TaskName = "auto") -> Splits:
    """By fit, which check_fit agrees with."""
    check(arrays, model, task)
    return fit(Dataset(arrays), model.card, Recipe(task=task))


def check(arrays: Arrays, model: Model, task: TaskName = "auto") -> None:
    dataset = asdict(describe_dataset(Dataset(arrays)))
    card = json.loads(json.dumps(model.card))
    check_fit(card, json.loads(json.dumps(dataset)), Recipe(task=task))


def refused(
    arrays: Arrays, model: Model, message: str, where: str, task: TaskName = "auto"
) -> None:
    """By fit and by check_fit, in the same words."""
    with pytest.raises(DataMismatch, match=message) as caught:
        fit(Dataset(arrays), model.card, Recipe(task=task))
    assert caught.value.where == where
    with pytest.raises(DataMismatch) as again:
        check(arrays, model, task)
    assert again.value.message == caught.value.message


def floats(*shape: int, n: int = N) -> np.ndarray:
    return RNG.standard_normal((n, *shape)).astype(np.float32)


def integers(below: int, *shape: int, n: int = N) -> np.ndarray:
    drawn = RNG.integers(0, below, (n, *shape))
    drawn.flat[0] = below - 1
    return drawn


# Tokens.

TOKENS = Model({"ids": ("T",)}, {"out": (2,)}, dtypes={"ids": "int64"}, tables={"ids": 100})


@pytest.mark.parametrize("dtype", ["uint8", "int16", "int32", "int64"])
def test_tokens_become_the_models_integers_at_the_length_of_the_data(dtype: str) -> None:
    ids = integers(100, 12)
    splits = fitted({"ids": ids.astype(dtype), "y": integers(2)}, TOKENS)
    (train,) = splits.train.inputs
    assert (train.dtype.name, train.shape) == ("int64", (32, 12))
    parts = [split.inputs[0] for split in (splits.train, splits.held_out, splits.test)]
    assert sorted(np.concatenate(parts).tolist()) == sorted(ids.tolist())


def test_tokens_are_held_against_the_table_that_they_are_looked_up_in() -> None:
    y = integers(2)
    for lowest, highest in ((0, 99), (-100, 0)):
        ids = np.clip(integers(100, 12), lowest, highest)
        ids[0, :2] = lowest, highest
        fitted({"ids": ids, "y": y}, TOKENS)
    for token in (100, -101):
        ids = integers(100, 12)
        ids[3, 4] = token
        refused({"ids": ids, "y": y}, TOKENS, r"'ids' has values .* table of 100.* 0 to 99", "ids")


def test_tokens_of_a_model_that_takes_floats_are_not_scaled() -> None:
    model = Model(TOKENS.inputs, TOKENS.outputs, tables=TOKENS.tables)
    ids = integers(100, 12).astype(np.uint8)
    splits = fitted({"ids": ids, "y": integers(2)}, model)
    assert splits.train.inputs[0].dtype == np.float32
    assert splits.train.inputs[0].max() == 99


def test_another_split_may_have_another_length() -> None:
    arrays = {"ids": integers(100, 12), "y": integers(2), "ids_test": integers(100, 30, n=5)}
    splits = fitted({**arrays, "y_test": integers(2, n=5)}, TOKENS)
    assert splits.train.inputs[0].shape == (36, 12)
    assert splits.test.inputs[0].shape == (5, 30)


# Several inputs.

PAIR = Model(
    {"ids": ("T",), "mask": ("T",), "image": (3, "height", "width")},
    {"out": (2,)},
    dtypes={"ids": "int64", "mask": "bool"},
)


def pair(n: int = N, end: str = "", mask: int = 12) -> Arrays:
    arrays = {
        "ids": integers(50, 12, n=n),
        "mask": integers(2, mask, n=n).astype(bool),
        "image": floats(3, 8, 9, n=n),
        "y": integers(2, n=n),
    }
    return {name + end: array for name, array in arrays.items()}


def test_each_input_has_its_array_in_each_split() -> None:
    splits = fitted(pair() | pair(5, "_val") | pair(6, "_test"), PAIR)
    for split, n in ((splits.train, N), (splits.held_out, 5), (splits.test, 6)):
        assert [array.dtype.name for array in split.inputs] == ["int64", "bool", "float32"]
        assert [array.shape for array in split.inputs] == [(n, 12), (n, 12), (n, 3, 8, 9)]


def test_inputs_that_share_an_axis_have_one_length_along_it() -> None:
    refused(
        pair(mask=13), PAIR, "'mask' has the length 13 along .* 'T', array 'ids' has 12", "mask"
    )
    test = pair(5, "_test", mask=7)
    refused(pair() | test, PAIR, "'mask_test' has the length 7.* 'ids_test' has 12", "mask_test")


# Several outputs.

TWO = Model({"x": (6,)}, {"kind": (3,), "size": (2,)})


def test_each_output_has_a_target_of_its_own() -> None:
    size = floats(2) * 5
    splits = fitted({"x": floats(6), "y_size": size, "y_kind": integers(3)}, TWO)
    kind, number = splits.train.targets
    assert (kind.dtype.name, kind.shape) == ("int64", (32,))
    assert (number.dtype.name, number.shape) == ("float32", (32, 2))
    variance = float(number.var(dtype=float))
    assert splits.goals == (
        Goal("kind", "classes", 3, 1),
        Goal("size", "regression", None, None, unit=variance),
    )
    assert splits.task == "auto"


def test_every_split_has_the_same_targets() -> None:
    arrays = {"x": floats(6), "y_size_train": floats(2), "y_kind": integers(3)}
    test = {"x_test": floats(6, n=5), "y_size_test": floats(2, n=5)}
    splits = fitted(arrays | test | {"y_kind_test": integers(3, n=5)}, TWO)
    assert [len(target) for target in splits.test.targets] == [5, 5]
    missing = "no array for the target of output 'kind': 'y_kind_test'"
    refused(arrays | test, TWO, missing, "y_kind_test")


def test_an_output_without_a_target_is_left_alone() -> None:
    splits = fitted({"x": floats(6), "y_size": floats(2)}, TWO)
    assert splits.goals == (Goal("size", "regression", None, None),)
    assert len(splits.test.targets) == 1


def test_a_constant_target_has_the_unit_one() -> None:
    arrays = {"x": floats(6), "y_size": np.full((N, 2), 7.0), "y_kind": integers(3)}
    assert fitted(arrays, TWO).goals[1].unit == 1


def test_with_several_outputs_y_alone_names_none_of_them() -> None:
    message = "no array for a target: 'y_kind' or 'y_size' is accepted, the data set has 'x', 'y'"
    refused({"x": floats(6), "y": integers(3)}, TWO, message, "y_kind")
    arrays = {"x": floats(6), "y_kind": integers(3), "y": floats(2)}
    refused(arrays, TWO, "'y' is neither .* targets are y_kind, y_size, and", "y")


def test_a_single_output_may_be_named_too() -> None:
    one = Model({"x": (6,)}, {"out": (3,)})
    for name in ("y", "y_train", "y_out", "y_out_train"):
        assert fitted({"x": floats(6), name: integers(3)}, one).goals[0].classes == 3
    both = {"x": floats(6), "y": integers(3), "y_out": integers(3)}
    refused(both, one, "the target has two arrays, 'y' and 'y_out'", "y_out")


def test_names_of_the_model_go_before_names_of_the_format() -> None:
    named_y = Model({"x": (6,), "y": (2,)}, {"out": (3,)})
    splits = fitted({"x": floats(6), "y": floats(2), "y_out": integers(3)}, named_y)
    assert [array.shape for array in splits.train.inputs] == [(32, 6), (32, 2)]
    named_test = Model({"x": (6,)}, {"test": (3,)})
    arrays = {"x": floats(6), "y": integers(3), "x_test": floats(6, n=5)}
    assert len(fitted(arrays | {"y_test": integers(3, n=5)}, named_test).test) == 5
    twice = Model({"a": (6,), "a_test": (6,)}, {"out": (3,)})
    arrays = {"a": floats(6), "a_test": floats(6), "a_test_test": floats(6), "y": integers(3)}
    refused(arrays | {"y_test": integers(3)}, twice, "'a_test' has two roles", "a_test")


def test_one_task_is_asked_of_all_targets() -> None:
    arrays = {"x": floats(6), "y_kind": integers(2, 3), "y_size": integers(2, 2)}
    splits = fitted(arrays, TWO, "multilabel")
    assert [goal.task for goal in splits.goals] == ["multilabel", "multilabel"]
    assert splits.task == "multilabel"


# A label for every pixel or step.

PIXELS = Model({"x": (3, 8, 9)}, {"out": (5, 8, 9)})
STEPS = Model({"x": ("T", 6)}, {"out": ("T", 7)})


def test_pixels_have_their_classes_along_axis_one() -> None:
    for shape in ((8, 9), (1, 8, 9), (8, 9, 1)):
        splits = fitted({"x": floats(3, 8, 9), "y": integers(5, *shape)}, PIXELS)
        assert splits.goals == (Goal("out", "classes", 5, 1),)
        assert splits.train.targets[0].shape == (32, 8, 9)


def test_steps_have_their_classes_along_the_last_axis() -> None:
    splits = fitted({"x": floats(12, 6), "y": integers(7, 12)}, STEPS)
    assert splits.goals == (Goal("out", "classes", 7, 2),)
    assert splits.train.targets[0].shape == (32, 12)


@pytest.mark.parametrize(
    ("axes", "label", "axis"),
    [
        ((4, 9, 9), (9, 9), 1),
        ((9, 9, 4), (9, 9), 3),
        ((6, 6, 6), (6, 6), 1),
        (("c", "h", "w"), (5, 6), 1),
        ((10, "T"), (8,), 1),
        (("T", 10), (8,), 2),
        ((10, 8), (10,), 2),
        ((5, 1, 1), (), 1),
    ],
)
def test_the_axis_of_the_classes_is_the_one_that_the_labels_lack(
    axes: Axes, label: tuple[int, ...], axis: int
) -> None:
    model = Model({"x": (6,)}, {"out": axes})
    splits = fitted({"x": floats(6), "y": integers(4, *label)}, model)
    assert splits.goals[0].axis == axis


def test_where_the_graph_tells_the_axis_it_is_that_one() -> None:
    for axis, label in ((1, (6, 7)), (2, (5, 7)), (3, (5, 6))):
        model = Model({"x": (6,)}, {"out": (5, 6, 7)}, axes={"out": axis})
        splits = fitted({"x": floats(6), "y": integers(5, *label)}, model)
        assert splits.goals[0].axis == axis
    square = Model({"x": (6,)}, {"out": (8, 8)}, axes={"out": 2})
    assert fitted({"x": floats(6), "y": integers(8, 8)}, square).goals[0].axis == 2
    arrays = {"x": floats(6), "y": integers(5, 6, 7)}
    model = Model({"x": (6,)}, {"out": (5, 6, 7)}, axes={"out": 3})
    accepted = (
        r"'y' has integers of shape \(40, 6, 7\).* class numbers have shape \(40, 5, 6\), and"
    )
    refused(arrays, model, accepted, "y")


def test_an_axis_that_can_not_be_told_is_refused() -> None:
    square = Model({"x": (6,)}, {"out": (8, 8)})
    arrays = {"x": floats(6), "y": integers(8, 8)}
    refused(arrays, square, r"labels of shape \(8,\) a sample, and any axis .*Softmax", "y")


def test_the_length_of_an_input_is_that_of_the_output_of_the_same_axis() -> None:
    arrays = {"x": floats(12, 6), "y": integers(7, 11)}
    refused(
        arrays, STEPS, r"'y' has integers .* \(12, 7\) a sample .* \(40, 7\) or \(40, 12\)", "y"
    )
    unnamed = Model({"x": (None, 6)}, {"out": (None, 7)})
    assert fitted(arrays, unnamed).train.targets[0].shape == (32, 11)


def test_one_unit_a_pixel_decides_between_two_classes() -> None:
    model = Model({"x": (3, 8, 9)}, {"out": (1, 8, 9)})
    for y in (integers(2, 8, 9), integers(2, 1, 8, 9).astype(bool)):
        splits = fitted({"x": floats(3, 8, 9), "y": y}, model)
        assert splits.goals == (Goal("out", "classes", 2, 1),)
        assert splits.train.targets[0].shape == (32, 8, 9)


def test_a_negative_label_of_a_place_says_that_there_is_none() -> None:
    y = integers(7, 12)
    y[:, 0], y[:, 1] = -1, -100
    splits = fitted({"x": floats(12, 6), "y": y}, STEPS)
    target = splits.train.targets[0]
    assert (target[:, :2] == NO_LABEL).all()
    assert (target[:, 2:] >= 0).all()


def test_labels_of_places_are_held_against_the_classes() -> None:
    x = floats(12, 6)
    refused(
        {"x": x, "y": integers(8, 12)}, STEPS, "labels from 0 to 7; .* takes 0 to 6, and neg", "y"
    )
    nowhere = np.full((N, 12), -1)
    refused({"x": x, "y": nowhere}, STEPS, "labels from -1 to -1; .* takes 0 to 6, and neg", "y")
    test = {"x_test": floats(12, 6, n=5), "y_test": integers(9, 12, n=5)}
    refused(
        {"x": x, "y": integers(7, 12)} | test, STEPS, "'y_test' has labels from 0 to 8", "y_test"
    )


def test_splits_agree_on_the_axis_of_the_classes() -> None:
    free = Model({"x": (6,)}, {"out": ("a", "b", 5)})
    arrays = {"x": floats(6), "y": integers(4, 5, 5), "x_test": floats(6, n=5)}
    assert fitted(arrays | {"y_test": integers(4, 5, 5, n=5)}, free).goals[0].axis == 1
    other = arrays | {"y_test": integers(4, 5, 4, n=5)}
    refused(other, free, "'y_test' has its classes along another axis than 'y'", "y_test")


def test_numbers_of_every_pixel_are_not_scrambled() -> None:
    x = floats(3, 8, 9)
    splits = fitted({"x": x, "y": floats(5, 8, 9)}, PIXELS)
    assert splits.train.targets[0].shape == (32, 5, 8, 9)
    refused({"x": x, "y": floats(8, 9, 5)}, PIXELS, r"'y' has samples .* transpose", "y")
