from collections.abc import Callable

import numpy as np
import pytest
from onnx import ModelProto

from tieshare.errors import ExportMismatch
from tieshare.exports.verify import check_equal, differences

Build = Callable[..., ModelProto]

SCALE = "g (float[N,2] x) => (float[N,2] y) { y = Mul(x, c) }"


def scale(build: Build, factor: float) -> ModelProto:
    return build(SCALE, c=np.array([factor], dtype=np.float32))


def test_a_difference_is_relative_to_the_largest_entry(build: Build) -> None:
    found = differences(scale(build, 2), scale(build, 2.002))
    assert found["y"] == pytest.approx(1e-3, rel=1e-3)


def test_one_in_ten_thousand_is_the_most_that_is_let_through(build: Build) -> None:
    check_equal(scale(build, 1), scale(build, 1.00009))
    with pytest.raises(ExportMismatch, match=r"output 'y' differs by 1\.1e-04") as caught:
        check_equal(scale(build, 1), scale(build, 1.00011))
    assert caught.value.where == "y"
    assert caught.value.type == "export-mismatch"


def test_not_a_number_is_a_difference(build: Build) -> None:
    with pytest.raises(ExportMismatch, match="'y'"):
        check_equal(scale(build, 1), scale(build, float("nan")))


def test_another_shape_is_a_difference(build: Build) -> None:
    wide = build(
        "g (float[N,2] x) => (float[N,3] y) { y = MatMul(x, c) }",
        c=np.ones((2, 3), dtype=np.float32),
    )
    assert differences(scale(build, 1), wide)["y"] == float("inf")


def test_labels_are_not_compared(build: Build) -> None:
    text = "g (float[N,2] x) => (int64[N] label, float[N,2] y) { y = Mul(x, c) label = %s }"
    first = build(text % "ArgMax<axis = 1, keepdims = 0>(x)", c=np.ones(1, dtype=np.float32))
    second = build(text % "ArgMin<axis = 1, keepdims = 0>(x)", c=np.ones(1, dtype=np.float32))
    assert differences(first, second) == {"y": 0.0}


def test_samples_take_the_place_of_random_inputs(build: Build) -> None:
    zeros = [np.zeros((3, 2), dtype=np.float32)]
    assert differences(scale(build, 1), scale(build, 2), zeros) == {"y": 0.0}
