"""Comparisons, Booleans and bits in the twin against ONNX Runtime."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from onnx import ModelProto

from tieshare.twin import from_onnx

Check = Callable[..., None]
Make = Callable[[str], ModelProto]

SOME = np.array([1.0, 2.0, 3.0, 2.0], dtype=np.float32)
OTHER = np.array([[2.0, 2.0, 2.0, 2.0], [3.0, 1.0, 3.0, 2.0]], dtype=np.float32)


@pytest.mark.parametrize("operator", ["Equal", "Greater", "GreaterOrEqual", "Less", "LessOrEqual"])
def test_values_are_compared(agree: Check, operator: str) -> None:
    oldest = 12 if operator.endswith("OrEqual") else 11 if operator == "Equal" else 7
    for opset in (oldest, 13, 16):
        agree(opset, f"y = {operator} (x, b)", {"x": SOME, "b": OTHER}, outputs="bool[] y")
    whole = {"x": SOME.astype(np.int64), "b": OTHER.astype(np.int64)}
    agree(13, f"y = {operator} (x, b)", whole, outputs="bool[] y")


@pytest.mark.parametrize("operator", ["And", "Or", "Xor"])
def test_booleans_are_combined(agree: Check, operator: str) -> None:
    inputs = {"x": SOME > 1.5, "b": OTHER > 1.5}
    agree(7, f"y = {operator} (x, b)", inputs, outputs="bool[] y")
    agree(7, f"z = {operator} (x, b) y = Not (z)", inputs, outputs="bool[] y")


@pytest.mark.parametrize("operator", ["BitwiseAnd", "BitwiseOr", "BitwiseXor"])
def test_bits_are_combined(agree: Check, operator: str) -> None:
    inputs = {"x": np.array([12, -7, 255]), "b": np.array([10, 3, -256])}
    agree(18, f"y = {operator} (x, b)", inputs, outputs="int64[] y")
    agree(18, f"z = {operator} (x, b) y = BitwiseNot (z)", inputs, outputs="int64[] y")


@pytest.mark.parametrize("direction", ["LEFT", "RIGHT"])
@pytest.mark.parametrize(("element", "largest"), [(2, 2**8 - 1), (12, 2**32 - 1), (13, 2**63 - 1)])
def test_bits_are_shifted_out_of_unsigned_numbers(
    agree: Check, direction: str, element: int, largest: int
) -> None:
    inputs = {"x": np.array([1, 2, largest]), "b": np.array([1, 3, 7])}
    nodes = f"""u = Cast <to = {element}> (x) v = Cast <to = {element}> (b)
        s = BitShift <direction = "{direction}"> (u, v) y = Cast <to = 7> (s)"""
    agree(11, nodes, inputs, outputs="int64[] y")


def test_infinity_is_told_by_its_sign(agree: Check) -> None:
    x = np.array([np.inf, -np.inf, np.nan, 0.0], dtype=np.float32)
    for options in (
        "",
        "<detect_negative = 0>",
        "<detect_positive = 0>",
        "<detect_negative = 0, detect_positive = 0>",
    ):
        for opset in (10, 20):
            agree(opset, f"y = IsInf {options} (x)", {"x": x}, outputs="bool[] y")
    agree(9, "y = IsNaN (x)", {"x": x}, outputs="bool[] y")


def test_a_condition_chooses_and_gradients_take_the_chosen_way(
    agree: Check, differentiate: Check
) -> None:
    inputs: dict[str, NDArray[Any]] = {"c": SOME > 1.5, "x": SOME, "b": OTHER}
    for opset in (9, 16):
        agree(opset, "y = Where (c, x, b)", inputs)
    inputs = {"c": SOME > 1.5, "x": SOME.astype(np.float64), "b": OTHER.astype(np.float64)}
    differentiate(16, "y = Where (c, x, b)", inputs, outputs="double[] y")


def test_a_stored_choice_is_a_weight(from_text: Make) -> None:
    model = from_text("""
        <ir_version: 8, opset_import: ["" : 17]>
        masked (bool[3] c) => (float[3] y) <float[3] w, float none = {0}> {
            y = Where (c, w, none)
        }""")
    twin = from_onnx(model)
    result = twin(torch.tensor([True, False, True]))
    assert isinstance(result, torch.Tensor)
    torch.autograd.backward(result.sum())
    gradient = twin.parameter("w").grad
    assert gradient is not None
    assert gradient.tolist() == [1.0, 0.0, 1.0]
