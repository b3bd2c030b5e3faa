"""The largest entries of an output, by hand."""

import numpy as np
import pytest

from tieshare_service.inference.classes import classified
from tieshare_service.inference.datatypes import BY_NAME, BYTES
from tieshare_service.inference.errors import BadTensor
from tieshare_service.inference.types import Array, TensorSpec


def _largest(values: Array, count: int, datatype: str = "FP32") -> Array:
    spec, found = classified(TensorSpec("y", BY_NAME[datatype], (-1,)), values, count)
    assert (spec.name, spec.datatype, spec.shape) == ("y", BYTES, found.shape)
    return found


def test_each_sample_has_its_own() -> None:
    values = np.array([[1, 5, 10, 4], [0.5, -1, 0, 2]], np.float32)
    assert _largest(values, 2).tolist() == [
        ["10.000000:2", "5.000000:1"],
        ["2.000000:3", "0.500000:0"],
    ]


def test_places_count_all_entries_of_a_sample() -> None:
    values = np.arange(12, dtype=np.float32).reshape(1, 3, 4)
    assert _largest(values, 1).tolist() == [["11.000000:11"]]


def test_without_a_batch_there_is_one_list() -> None:
    assert _largest(np.array([3, 9, 1], np.float32), 2).tolist() == ["9.000000:1", "3.000000:0"]


def test_of_equal_entries_the_first_comes_first() -> None:
    assert _largest(np.array([[2, 7, 7, 7]], np.float32), 3).tolist() == [
        ["7.000000:1", "7.000000:2", "7.000000:3"]
    ]


def test_where_there_are_fewer_all_come() -> None:
    assert _largest(np.array([[1, 2]], np.float32), 5).shape == (1, 2)
    assert _largest(np.zeros((0, 4), np.float32), 2).shape == (0, 2)


def test_whole_numbers_have_no_point() -> None:
    assert _largest(np.array([[200, 255, 3]], np.uint8), 1, "UINT8").tolist() == [["255:1"]]


@pytest.mark.parametrize("datatype", ["BYTES", "BOOL"])
def test_what_has_no_order_is_refused(datatype: str) -> None:
    with pytest.raises(BadTensor, match=f"output 'y' is {datatype}"):
        _largest(np.zeros((1, 2), bool), 1, datatype)
