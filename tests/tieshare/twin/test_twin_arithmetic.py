"""Arithmetic in the twin against ONNX Runtime: old opsets, integers, broadcasting, gradients."""

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

FLOATS = ["Abs", "Atan", "Ceil", "Cos", "Exp", "Floor", "Neg", "Reciprocal", "Sign", "Sin", "Tan"]
LATER = ["Asinh", "Cosh", "Sinh"]
WITHIN_ONE = ["Acos", "Asin", "Atanh"]


def _x(*shape: int, low: float = -3.0, high: float = 3.0) -> NDArray[np.float32]:
    return np.random.default_rng(1).uniform(low, high, shape).astype(np.float32)


@pytest.mark.parametrize("operator", [*FLOATS, *LATER])
def test_functions_of_one_number_run_in_their_oldest_and_newest_opset(
    agree: Check, operator: str
) -> None:
    for opset in (9 if operator in (*LATER, "Sign") else 7, 22):
        agree(opset, f"y = {operator} (x)", {"x": _x(3, 4)})


@pytest.mark.parametrize("operator", WITHIN_ONE)
def test_inverse_functions_run_where_they_are_defined(agree: Check, operator: str) -> None:
    for opset in (9, 22):
        agree(opset, f"y = {operator} (x)", {"x": _x(3, 4, low=-0.9, high=0.9)})


def test_roots_and_logarithms_run_above_zero(agree: Check) -> None:
    for operator, low in (("Sqrt", 0.1), ("Log", 0.1), ("Acosh", 1.1)):
        agree(13, f"y = {operator} (x)", {"x": _x(3, 4, low=low)})


def test_halves_are_rounded_to_the_even_number(agree: Check) -> None:
    x = np.array([-2.5, -1.5, -0.5, 0.5, 1.5, 2.5, 2.4, 2.6], dtype=np.float32)
    for opset in (11, 22):
        agree(opset, "y = Round (x)", {"x": x})


@pytest.mark.parametrize("operator", ["Add", "Sub", "Mul", "Div"])
def test_two_values_broadcast(agree: Check, operator: str) -> None:
    for opset in (7, 13, 14):
        agree(opset, f"y = {operator} (x, b)", {"x": _x(2, 3, 4), "b": _x(3, 1, low=1)})


@pytest.mark.parametrize("operator", ["Add", "Sub", "Mul", "Div", "Pow"])
def test_opset_6_says_at_which_axis_the_second_value_begins(from_text: Make, operator: str) -> None:
    model = from_text(f"""
        <ir_version: 3, opset_import: ["" : 6]>
        old (float[2, 3, 4] x, float[3] b) => (float[2, 3, 4] y) {{
            y = {operator} <axis = 1, broadcast = 1> (x, b)
        }}""")
    x, b = _x(2, 3, 4, low=0.1), _x(3, low=1)
    functions = {"Sub": np.subtract, "Mul": np.multiply, "Div": np.divide, "Pow": np.power}
    expected = functions.get(operator, np.add)(x, b[:, None])
    result = from_onnx(model)(torch.from_numpy(x), torch.from_numpy(b))
    assert isinstance(result, torch.Tensor)
    np.testing.assert_allclose(result.numpy(), expected, rtol=1e-5)


def test_weights_and_numbers_take_part(agree: Check) -> None:
    nodes = "a = Add (x, w) b = Sub (a, half) c = Mul (w, b) y = Div (c, three)"
    stored = "float[3, 1, 5] w, float half = {0.5}, float three = {3}"
    agree(17, nodes, {"x": _x(2, 3, 6, 5)}, stored)


@pytest.mark.parametrize("operator", ["Max", "Min", "Mean", "Sum"])
def test_any_number_of_values_is_combined(agree: Check, operator: str) -> None:
    given = {"a": _x(3, 4), "b": -_x(3, 4), "c": _x(3, 4)[:, ::-1].copy()}
    for names in ("a", "a, b", "a, b, c"):
        inputs = {name: given[name] for name in names.split(", ")}
        for opset in (7, 13):
            agree(opset, f"y = {operator} ({names})", inputs)
    agree(8, f"y = {operator} (a, b, c)", {**given, "b": _x(4), "c": _x(1, 1)})


def test_integers_are_divided_towards_zero(agree: Check) -> None:
    x, b = np.array([7, -7, 7, -7, 0]), np.array([2, 2, -2, -2, 3])
    agree(14, "y = Div (x, b)", {"x": x, "b": b}, outputs="int64[] y")


def test_the_rest_of_a_division_has_the_sign_of_the_divisor_or_of_the_dividend(
    agree: Check,
) -> None:
    x, b = np.array([7, -7, 7, -7]), np.array([3, 3, -3, -3])
    for fmod in (0, 1):
        node = f"y = Mod <fmod = {fmod}> (x, b)"
        agree(10, node, {"x": x, "b": b}, outputs="int64[] y")
        agree(13, node, {"x": x, "b": b}, outputs="int64[] y")
    agree(13, "y = Mod <fmod = 1> (x, b)", {"x": _x(3, 4), "b": _x(4, low=1)})


def test_a_power_has_the_dtype_of_its_base(agree: Check) -> None:
    x, b = _x(3, 4, low=0.5), _x(4)
    agree(7, "y = Pow (x, b)", {"x": x, "b": b})
    agree(15, "y = Pow (x, b)", {"x": x, "b": np.array([0, 1, 2, 3])})
    agree(15, "y = Pow (x, b)", {"x": np.array([1, 2, 3]), "b": b[:1]}, outputs="int64[] y")
    for exponent in ("float e = {2}", "float[1] e = {3}", "int64 e = {2}", "float e = {0.5}"):
        agree(15, "y = Pow (x, e)", {"x": x}, exponent)


@pytest.mark.parametrize("shape", [(2, 2), (3, 4, 4), (2, 1, 3, 3)])
def test_determinants_are_those_of_the_last_two_axes(agree: Check, shape: tuple[int, ...]) -> None:
    agree(11, "y = Det (x)", {"x": _x(*shape)})


def test_gradients_are_those_of_differences(differentiate: Check) -> None:
    x, b = _x(2, 3, low=0.5, high=0.9), _x(3, low=1.1, high=2)
    for nodes in (
        "a = Pow (x, b) c = Div (a, b) y = Sub (c, x)",
        "a = Max (x, b, x) c = Min (x, b) d = Mean (a, c) y = Sum (d, a, b)",
        "a = Sin (x) c = Acos (x) d = Atanh (x) e = Mul (a, c) y = Add (e, d)",
        "y = Mod <fmod = 1> (b, x)",
    ):
        given: dict[str, Any] = {"x": x.astype(np.float64), "b": b.astype(np.float64)}
        used = {name: array for name, array in given.items() if name in nodes}
        differentiate(15, nodes, used, outputs="double[] y")
    differentiate(11, "y = Det (x)", {"x": _x(3, 3).astype(np.float64)}, outputs="double[] y")


def test_a_scaler_moves_and_scales_each_column(from_text: Make) -> None:
    model = from_text("""
        <ir_version: 8, opset_import: ["" : 17, "ai.onnx.ml" : 3]>
        scaled (float[N, 2] x) => (float[N, 2] y) {
            y = ai.onnx.ml.Scaler <offset = [1.0, 2.0], scale = [0.5, 4.0]> (x)
        }""")
    result = from_onnx(model)(torch.tensor([[3.0, 3.0]]))
    assert isinstance(result, torch.Tensor)
    assert result.tolist() == [[1.0, 4.0]]
