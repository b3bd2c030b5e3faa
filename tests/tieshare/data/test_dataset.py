"""The card of a data set, and what no data set may hold."""

import json
from dataclasses import asdict

import numpy as np
import pytest

from tieshare.data import ArrayCard, Dataset, DatasetCard, describe_dataset, with_test
from tieshare.errors import BadArray, DataMismatch


def test_the_card_tells_names_dtypes_shapes_and_ranges() -> None:
    card = describe_dataset(
        Dataset(
            {
                "x": np.array([[0.5, -2.0]] * 7, dtype=np.float32),
                "y": np.arange(7, dtype=np.uint8),
                "x_test": np.zeros((3, 2)),
                "flag": np.array([True, False]),
            }
        )
    )
    assert card.samples == 7
    assert card.arrays == (
        ArrayCard("x", "float32", (7, 2)),
        ArrayCard("y", "uint8", (7,)),
        ArrayCard("x_test", "float64", (3, 2)),
        ArrayCard("flag", "bool", (2,)),
    )
    assert card.ranges == {"x": (-2.0, 0.5), "y": (0, 6), "x_test": (0, 0), "flag": (0, 1)}


def test_the_card_survives_json() -> None:
    card = describe_dataset(Dataset({"x": np.ones((4, 2)), "y": np.array([2**64 - 1] * 4)}))
    assert DatasetCard.from_dict(json.loads(json.dumps(asdict(card)))) == card


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_nan_and_infinity_are_refused_with_their_array_and_sample(
    value: float, dtype: type
) -> None:
    x: np.ndarray = np.ones((9, 4), dtype=dtype)
    x[5, 2] = value
    with pytest.raises(BadArray, match="'x' holds NaN or infinity, first in sample 5") as caught:
        describe_dataset(Dataset({"x": x, "y": np.zeros(9, dtype=int)}))
    assert caught.value.where == "x"


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.array(["a"]), "dtype <U1"),
        (np.array([None]), "dtype object"),
        (np.array(1.0), "no axis of samples"),
        (np.zeros((0, 3)), "empty"),
    ],
)
def test_arrays_in_memory_are_held_to_the_same_rules(array: np.ndarray, message: str) -> None:
    with pytest.raises(BadArray, match=message):
        describe_dataset(Dataset({"x": array}))


def test_a_data_set_of_no_arrays_is_refused() -> None:
    with pytest.raises(BadArray, match="no array"):
        describe_dataset(Dataset({}))


def test_a_second_file_becomes_the_test_split() -> None:
    train = Dataset({"x_train": np.zeros((2, 1)), "y": np.zeros(2)})
    test = Dataset({"x_train": np.ones((1, 1)), "y_test": np.ones(1)})
    both = with_test(train, test)
    assert list(both.arrays) == ["x_train", "y", "x_test", "y_test"]
    assert both.arrays["x_test"] is test.arrays["x_train"]
    assert list(train.arrays) == ["x_train", "y"]
    with pytest.raises(DataMismatch, match="two test splits: 'x_test'"):
        with_test(both, test)
