"""A data set and a model to splits; what does not fit is refused by data and by cards alike."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pytest

from tieshare.data import Dataset, Splits, check_fit, describe_dataset, fit
from tieshare.errors import DataMismatch, RecipeError
from tieshare.recipe import Augment, Recipe, TaskName

N = 40
Arrays = dict[str, np.ndarray]
Output = tuple[int | None, ...] | None


@dataclass(frozen=True)
class Spec:
    name: str
    shape: tuple[int | str | None, ...]
    dtype: str = "float32"


FLAT = [Spec("pixels", ("batch", 6))]
LABELS = np.arange(N) % 3


def inputs(shape: Sequence[int] = (6,), n: int = N, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((n, *shape)).astype(np.float32)


def card_of(specs: Sequence[Spec], output: Output) -> dict[str, Any]:
    """A model of one output of floats, and one of labels that nothing can be put on."""
    shape = [] if output is None else ["batch", *output]
    outputs = [
        {"name": "label", "dtype": "int64", "shape": ["batch"]},
        {"name": "out", "dtype": "float32", "shape": shape},
    ]
    return {"inputs": [asdict(spec) for spec in specs], "outputs": outputs}


def fitted(
    arrays: Arrays,
    specs: Sequence[Spec] = FLAT,
    output: Output = (3,),
    recipe: Recipe | None = None,
) -> Splits:
    return fit(Dataset(arrays), card_of(specs, output), recipe or Recipe())


def by_cards(arrays: Arrays, specs: Sequence[Spec], output: Output, recipe: Recipe) -> None:
    """What the API does before it queues a job, JSON and all."""
    dataset = asdict(describe_dataset(Dataset(arrays)))
    model = json.loads(json.dumps(card_of(specs, output)))
    check_fit(model, json.loads(json.dumps(dataset)), recipe)


def refused(
    arrays: Arrays,
    message: str,
    where: str,
    specs: Sequence[Spec] = FLAT,
    output: Output = (3,),
    task: TaskName = "auto",
) -> None:
    """By fit and by check_fit, in the same words."""
    recipe = Recipe(task=task)
    with pytest.raises(DataMismatch, match=message) as caught:
        fitted(arrays, specs, output, recipe)
    assert caught.value.where == where
    with pytest.raises(DataMismatch) as again:
        by_cards(arrays, specs, output, recipe)
    assert again.value.message == caught.value.message


def rows(*parts: np.ndarray) -> list[bytes]:
    return sorted(row.tobytes() for part in parts for row in part)


# Names and splits.


@pytest.mark.parametrize("x", ["x", "x_train", "pixels", "pixels_train"])
@pytest.mark.parametrize("y", ["y", "y_train"])
def test_the_accepted_names(x: str, y: str) -> None:
    arrays = {x: inputs(), y: LABELS, "pixels_test": inputs(n=4), "y_test": LABELS[:4]}
    splits = fitted(arrays)
    assert (len(splits.train), len(splits.held_out), len(splits.test)) == (36, 4, 4)
    by_cards(arrays, FLAT, (3,), Recipe())


def test_with_no_test_split_two_tenths_are_set_aside_and_no_sample_is_in_two() -> None:
    x = inputs()
    splits = fitted({"x": x, "y": LABELS})
    assert (len(splits.train), len(splits.held_out), len(splits.test)) == (32, 4, 4)
    parts = [split.inputs[0] for split in (splits.train, splits.held_out, splits.test)]
    assert rows(*parts) == rows(x)


def test_inputs_and_targets_of_a_split_stay_together() -> None:
    x = np.repeat(np.arange(N, dtype=np.float32)[:, None], 6, axis=1)
    splits = fitted({"x": x, "y": np.arange(N)}, output=(N,))
    for split in (splits.train, splits.held_out, splits.test):
        np.testing.assert_array_equal(split.inputs[0][:, 0], split.targets[0])


def test_the_test_split_of_the_data_set_is_taken_as_it_is() -> None:
    x_test = inputs(n=5, seed=1)
    splits = fitted({"x": inputs(), "y": LABELS, "x_test": x_test, "y_test": LABELS[:5]})
    np.testing.assert_array_equal(splits.test.inputs[0], x_test)
    np.testing.assert_array_equal(splits.test.targets[0], LABELS[:5])
    assert (len(splits.train), len(splits.held_out)) == (36, 4)


def test_a_split_to_choose_on_may_be_given_and_then_all_the_rest_trains() -> None:
    x, x_val, x_test = inputs(), inputs(n=5, seed=1), inputs(n=6, seed=2)
    arrays = {"x": x, "y": LABELS, "x_val": x_val, "y_val": LABELS[:5]}
    splits = fitted(arrays)
    np.testing.assert_array_equal(splits.held_out.inputs[0], x_val)
    assert (len(splits.train), len(splits.test)) == (36, 4)
    splits = fitted({**arrays, "x_test": x_test, "y_test": LABELS[:6]})
    np.testing.assert_array_equal(splits.train.inputs[0], x)
    np.testing.assert_array_equal(splits.test.inputs[0], x_test)


def test_the_seed_alone_decides_the_split() -> None:
    arrays = {"x": inputs(), "y": LABELS}
    first, same = fitted(arrays, recipe=Recipe(seed=1)), fitted(arrays, recipe=Recipe(seed=1))
    other = fitted(arrays, recipe=Recipe(seed=2))
    for split in ("train", "held_out", "test"):
        a, b = getattr(first, split).inputs[0], getattr(same, split).inputs[0]
        np.testing.assert_array_equal(a, b)
        assert not np.array_equal(a, getattr(other, split).inputs[0])


def test_several_inputs_come_in_the_models_order() -> None:
    specs = [Spec("b", ("n", 2)), Spec("a", ("n", 3))]
    a, b = inputs((3,)), inputs((2,), seed=1)
    splits = fitted({"a": a, "b_train": b, "y": LABELS}, specs)
    assert [x.shape for x in splits.train.inputs] == [(32, 2), (32, 3)]
    assert rows(*(s.inputs[1] for s in (splits.train, splits.held_out, splits.test))) == rows(a)


def test_missing_double_and_superfluous_arrays_are_named() -> None:
    x, y = inputs(), LABELS
    refused({"image": x, "y": y}, r"no array for input 'pixels'.*'image', 'y'", "pixels")
    refused({"x": x}, "no array for the target: 'y' or 'y_train'", "y")
    refused({"x": x, "pixels": x, "y": y}, "two arrays, 'pixels' and 'x'", "x")
    refused({"x": x, "y": y, "y_train": y}, "two arrays, 'y' and 'y_train'", "y_train")
    refused({"x": x, "y": y, "x_test": x}, "no array for the target: 'y_test'", "y_test")
    refused({"x": x, "y": y, "y_val": y}, "no array for input 'pixels': 'pixels_val'", "pixels_val")
    refused(
        {"x": x, "y": y, "x_tst": x}, "'x_tst' is .* inputs are pixels \\(or x\\), the", "x_tst"
    )
    own_name = [Spec("x", ("n", 6))]
    refused({"x": x, "y": y, "z": x}, "'z' is neither .* inputs are x, the", "z", own_name)
    specs = [Spec("a", ("n", 6)), Spec("b", ("n", 6))]
    refused({"x": x, "b": x, "y": y}, "no array for input 'a': 'a' or 'a_train'", "a", specs)
    refused({"y_val": y, "x_val": x}, "no array for input 'pixels': 'pixels' or", "pixels")


def test_sample_counts_must_agree_within_a_split() -> None:
    refused({"x": inputs(n=39), "y": LABELS}, "'x' has 39 samples, array 'y' has 40", "x")
    arrays = {"x": inputs(), "y": LABELS, "x_test": inputs(n=2), "y_test": LABELS[:3]}
    refused(arrays, "'x_test' has 2 samples, array 'y_test' has 3", "x_test")


def test_twenty_samples_are_enough_and_nineteen_are_not() -> None:
    splits = fitted({"x": inputs(n=20), "y": LABELS[:20]})
    assert (len(splits.train), len(splits.held_out), len(splits.test)) == (16, 2, 2)
    refused({"x": inputs(n=19), "y": LABELS[:19]}, "19 samples.*at least 20", "y")


# Inputs.


@pytest.mark.parametrize(
    ("sample", "axes", "shape"),
    [
        ((6,), (6,), (6,)),
        ((4, 4), (1, 4, 4), (1, 4, 4)),
        ((4, 4, 1), (1, 4, 4), (1, 4, 4)),
        ((16,), (1, 4, 4), (1, 4, 4)),
        ((1, 4, 4), (16,), (16,)),
        ((3, 4, 5), (3, "height", None), (3, 4, 5)),
        ((20,), (None, 5), (4, 5)),
        ((2, 3, 4), (24,), (24,)),
        ((), (1,), (1,)),
    ],
)
def test_samples_of_the_right_number_of_elements_are_reshaped(
    sample: tuple[int, ...], axes: tuple[int | str | None, ...], shape: tuple[int, ...]
) -> None:
    x = inputs(sample)
    arrays = {"x": x, "y": LABELS}
    specs = [Spec("x", (1, *axes))]
    splits = fitted(arrays, specs)
    assert splits.train.inputs[0].shape == (32, *shape)
    parts = [s.inputs[0].reshape(len(s), -1) for s in (splits.train, splits.held_out, splits.test)]
    assert rows(*parts) == rows(x.reshape(N, -1))
    by_cards(arrays, specs, (3,), Recipe())


@pytest.mark.parametrize(
    ("sample", "axes"),
    [((5,), (6,)), ((7,), (None, 5)), ((4, 4), ("a", "b", 1)), ((3, 4), (3, 5))],
)
def test_another_number_of_elements_is_refused(
    sample: tuple[int, ...], axes: tuple[int | str | None, ...]
) -> None:
    arrays = {"x": inputs(sample), "y": LABELS}
    refused(arrays, "'x' has samples of shape .* input 'x' takes", "x", [Spec("x", ("n", *axes))])


@pytest.mark.parametrize("axes", [(3, 4, 4), (3, "h", 4)])
def test_channels_last_is_not_scrambled_into_channels_first(axes: tuple[int | str, ...]) -> None:
    arrays = {"x": inputs((4, 4, 3)), "y": LABELS}
    refused(arrays, r"\(4, 4, 3\).*transpose", "x", [Spec("x", ("n", *axes))])


def test_a_model_without_an_axis_of_samples_takes_no_data() -> None:
    refused({"x": inputs(()), "y": LABELS}, "input 'x' takes", "x", [Spec("x", ())])


def test_bytes_become_floats_by_the_scale() -> None:
    x = np.arange(N * 6, dtype=np.uint8).reshape(N, 6)
    whole: Arrays = {"x": x, "y": LABELS, "x_test": x, "y_test": LABELS}
    default = fitted(whole).test.inputs[0]
    assert default.dtype == np.float32
    np.testing.assert_array_equal(default, x * np.float32(1 / 255))
    np.testing.assert_array_equal(fitted(whole, recipe=Recipe(scale=2.0)).test.inputs[0], 2.0 * x)
    raw = fitted(whole, [Spec("x", ("n", 6), "uint8")]).test.inputs[0]
    np.testing.assert_array_equal(raw, x)
    assert raw.dtype == np.uint8


@pytest.mark.parametrize("given", ["float64", "float16", "int32", "bool", "int64"])
@pytest.mark.parametrize("wanted", ["float32", "float64", "float16"])
def test_other_numbers_become_the_models_floats_unscaled(given: str, wanted: str) -> None:
    x = (np.arange(N * 6).reshape(N, 6) % 2).astype(given)
    splits = fitted({"x": x, "y": LABELS}, [Spec("x", ("n", 6), wanted)])
    assert splits.train.inputs[0].dtype == wanted
    assert set(splits.train.inputs[0].ravel().tolist()) == {0.0, 1.0}


def test_values_that_the_dtype_of_the_input_cannot_hold_are_refused() -> None:
    y = LABELS
    refused({"x": np.full((N, 6), 1e39), "y": y}, r"'x' has values .* float32.* can't hold", "x")
    whole = [Spec("x", ("n", 6), "int32")]
    refused({"x": inputs(), "y": y}, "'x' has dtype float32; .* takes int32", "x", whole)
    refused({"x": np.full((N, 6), 2**31), "y": y}, "int32.* can't hold", "x", whole)
    text = [Spec("x", ("n", 6), "str")]
    refused({"x": inputs(), "y": y}, "takes str", "x", text)
    unknown = [Spec("x", ("n", 6), "bfloat16")]
    refused({"x": inputs(), "y": y}, "takes bfloat16", "x", unknown)


def test_nothing_passed_in_is_changed() -> None:
    arrays: Arrays = {"x": np.arange(N * 6, dtype=np.uint8).reshape(N, 6), "y": LABELS.copy()}
    before = {name: array.copy() for name, array in arrays.items()}
    fitted(arrays)
    for name, array in arrays.items():
        np.testing.assert_array_equal(array, before[name])


# Targets.


@pytest.mark.parametrize("dtype", ["uint8", "int8", "int32", "int64", "uint64"])
@pytest.mark.parametrize("shape", [(N,), (N, 1)])
def test_integers_are_classes(dtype: str, shape: tuple[int, ...]) -> None:
    splits = fitted({"x": inputs(), "y": LABELS.astype(dtype).reshape(shape)})
    assert (splits.task, splits.goals[0].classes) == ("classes", 3)
    assert splits.train.targets[0].shape == (32,)
    assert splits.train.targets[0].dtype == np.int64


@pytest.mark.parametrize("output", [(1,), ()])
@pytest.mark.parametrize("dtype", ["int64", "bool"])
def test_one_sigmoid_has_two_classes(output: tuple[int, ...], dtype: str) -> None:
    arrays = {"x": inputs(), "y": (np.arange(N) % 2).astype(dtype)}
    splits = fitted(arrays, output=output)
    assert (splits.task, splits.goals[0].classes) == ("classes", 2)
    assert splits.train.targets[0].dtype == np.int64
    by_cards(arrays, FLAT, output, Recipe())


def test_labels_out_of_range_are_refused_in_every_split() -> None:
    x = inputs()
    refused({"x": x, "y": LABELS + 1}, "'y' has labels from 1 to 3; .* takes 0 to 2", "y")
    refused({"x": x, "y": LABELS - 1}, "'y' has labels from -1 to 1", "y")
    refused({"x": x, "y": LABELS}, "labels from 0 to 2; .* takes 0 to 1", "y", output=(1,))
    arrays = {"x": x, "y": LABELS, "x_test": x, "y_test": LABELS + 1}
    refused(arrays, "'y_test' has labels from 1 to 3", "y_test")


@pytest.mark.parametrize("output", [(None,), None])
def test_where_the_width_is_unknown_the_labels_tell_the_classes(output: Output) -> None:
    x = inputs()
    assert fitted({"x": x, "y": LABELS}, output=output).goals[0].classes == 3
    arrays = {"x": x, "y": LABELS, "x_test": x, "y_test": LABELS + 1}
    refused(arrays, "'y_test' has classes that 'y' lacks", "y_test", output=output)
    fewer = {"x": x, "y": LABELS, "x_test": x, "y_test": LABELS * 0}
    assert fitted(fewer, output=output).goals[0].classes == 3


@pytest.mark.parametrize(
    ("shape", "output"), [((N,), (1,)), ((N,), ()), ((N, 1), (1,)), ((N, 6), (2, 3))]
)
def test_floats_are_numbers_to_be_met(shape: tuple[int, ...], output: tuple[int, ...]) -> None:
    y = np.random.default_rng(0).standard_normal(shape)
    arrays = {"x": inputs(), "y": y}
    splits = fitted(arrays, output=output)
    assert (splits.task, splits.goals[0].classes) == ("regression", None)
    assert splits.train.targets[0].shape == (32, *output)
    assert splits.train.targets[0].dtype == np.float32
    by_cards(arrays, FLAT, output, Recipe())


def test_several_labels_are_declared() -> None:
    y = (np.random.default_rng(0).random((N, 3)) > 0.5).astype(np.float32)
    for labels in (y, y.astype(np.uint8), y.astype(bool)):
        splits = fitted({"x": inputs(), "y": labels}, recipe=Recipe(task="multilabel"))
        assert (splits.task, splits.goals[0].classes) == ("multilabel", None)
        assert splits.train.targets[0].dtype == np.float32
        assert set(splits.train.targets[0].ravel().tolist()) == {0.0, 1.0}
    refused(
        {"x": inputs(), "y": 2 * y},
        r"'y' has values from 0\.0 to 2\.0; labels are in \[0, 1\]",
        "y",
        task="multilabel",
    )


def test_integers_may_be_declared_numbers() -> None:
    splits = fitted({"x": inputs(), "y": LABELS}, output=(1,), recipe=Recipe(task="regression"))
    assert splits.task == "regression"
    assert splits.train.targets[0].shape == (32, 1)


def test_targets_without_a_meaning_are_refused() -> None:
    x = inputs()
    one_hot = np.eye(3, dtype=np.int64)[LABELS]
    numbers = r"'y' has integers of shape \(40, 3\); .* class numbers have shape \(40,\), and"
    refused({"x": x, "y": one_hot}, numbers, "y")
    refused({"x": x, "y": LABELS * 1.0}, r"'y' has samples of shape \(\).* would be integers", "y")
    classes = "'y' has dtype float64 .* classes are integers"
    refused({"x": x, "y": LABELS * 1.0}, classes, "y", task="classes")
    refused(
        {"x": x, "y": LABELS % 2}, r"\(3,\), and multilabel needs the same", "y", task="multilabel"
    )
    refused({"x": x, "y": one_hot}, numbers, "y", task="classes")
    wide = r"output 'out' of \(3, 5, 5\) a sample .* shape \(40, 5, 5\) or \(40, 3, 5\), and"
    refused({"x": x, "y": LABELS}, wide, "y", output=(3, 5, 5))
    refused({"x": x, "y": np.full(N, 1e39)}, "beyond float32", "y", output=(1,))
    mixed = {"x": x, "y": LABELS, "x_test": x, "y_test": x[:, :3]}
    refused(mixed, "'y_test' means regression, 'y' classes", "y_test")


def test_images_can_be_moved_only_where_there_are_some() -> None:
    recipe = Recipe(augment=Augment(shift=1))
    arrays = {"x": inputs(), "y": LABELS}
    for check in (fitted, by_cards):
        with pytest.raises(RecipeError, match="no input is an image") as caught:
            check(arrays, FLAT, (3,), recipe)
        assert caught.value.where == "augment"
    images = [Spec("pixels", ("batch", 1, 2, 3))]
    assert fitted(arrays, images, (3,), recipe).train.inputs[0].shape[1:] == (1, 2, 3)
    by_cards(arrays, images, (3,), recipe)
