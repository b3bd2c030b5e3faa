"""Reductions in the twin against ONNX Runtime: axes in all forms, integers, empty sets."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from onnx import ModelProto

from tieshare.twin import from_onnx

Make = Callable[[str], ModelProto]
Check = Callable[..., None]

REDUCTIONS = [
    "ReduceL1",
    "ReduceL2",
    "ReduceLogSum",
    "ReduceLogSumExp",
    "ReduceMax",
    "ReduceMean",
    "ReduceMin",
    "ReduceProd",
    "ReduceSum",
    "ReduceSumSquare",
]
STORED = """
    int64[2] axes = {-1, 1}, int64[1] first = {0}, int64[1] last = {-1}, int64 one = {1},
    int64[0] none, int64[1] two = {2}"""


def _x(*shape: int, dtype: type = np.float32) -> dict[str, NDArray[Any]]:
    """Above zero, so that all have a logarithm."""
    return {"x": np.random.default_rng(1).uniform(0.5, 2, shape).astype(dtype)}


@pytest.mark.parametrize("operator", REDUCTIONS)
@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("y = {} (x)", "y = {} (x)"),
        ("y = {} <axes = [1, 3]> (x)", "y = {} (x, axes)"),
        ("y = {} <axes = [-1, 1], keepdims = 0> (x)", "y = {} <keepdims = 0> (x, axes)"),
        ("y = {} <keepdims = 0> (x)", "y = {} <keepdims = 0> (x, none)"),
    ],
)
def test_axes_are_an_attribute_and_later_an_input(
    agree: Check, operator: str, old: str, new: str
) -> None:
    for opset in (7, 12) if operator == "ReduceSum" else (7, 12, 17):
        agree(opset, old.format(operator), _x(2, 3, 4, 3))
    for opset in (13, 18) if operator == "ReduceSum" else (18, 20):
        agree(opset, new.format(operator), _x(2, 3, 4, 3), STORED)


@pytest.mark.parametrize("operator", REDUCTIONS)
def test_axes_may_be_computed(agree: Check, operator: str) -> None:
    nodes = f"s = Shape (x) n = Size (s) m = Sub (n, one) a = Unsqueeze (m, first) y = {operator}"
    agree(18, f"{nodes} (x, a)", _x(2, 3, 4), STORED)


def test_without_axes_nothing_may_be_reduced(from_text: Make) -> None:
    """What an operator does to each element it does still."""
    x = torch.tensor([[-2.0, 3.0]])
    for operator, expected in {
        "ReduceL1": x.abs(),
        "ReduceL2": x.abs(),
        "ReduceLogSum": x.log(),
        "ReduceLogSumExp": x,
        "ReduceMax": x,
        "ReduceMean": x,
        "ReduceMin": x,
        "ReduceProd": x,
        "ReduceSum": x,
        "ReduceSumSquare": x.square(),
    }.items():
        model = from_text(f"""
            <ir_version: 9, opset_import: ["" : 18]>
            noop (float[1, 2] x) => (float[1, 2] y) {{
                y = {operator} <noop_with_empty_axes = 1> (x)
            }}""")
        torch.testing.assert_close(from_onnx(model)(x), expected, equal_nan=True, msg=operator)


@pytest.mark.parametrize("operator", ["Max", "Mean", "Min", "Prod", "Sum", "SumSquare", "L1"])
def test_integers_stay_integers(agree: Check, operator: str) -> None:
    x = np.array([[-7, 3, 2], [5, 1, -9]])
    agree(18, f"y = Reduce{operator} (x, last)", {"x": x}, STORED, "int64[] y")


@pytest.mark.parametrize("operator", REDUCTIONS)
def test_reductions_have_the_right_gradient(differentiate: Check, operator: str) -> None:
    x = _x(2, 3, 4, dtype=np.float64)
    differentiate(17, f"y = {operator} <axes = [0, 2]> (x)", x, "double[] y")


def test_the_gradient_of_a_norm_at_zero_is_zero(from_text: Make) -> None:
    model = from_text("""
        <ir_version: 9, opset_import: ["" : 17]>
        norm (float[2, 3] x) => (float[2] y) { y = ReduceL2 <axes = [1], keepdims = 0> (x) }""")
    x = torch.zeros(2, 3, requires_grad=True)
    y = from_onnx(model)(x)
    assert isinstance(y, torch.Tensor)
    y.sum().backward()
    assert x.grad is not None
    assert x.grad.abs().max() == 0


@pytest.mark.parametrize("operator", ["ArgMax", "ArgMin"])
@pytest.mark.parametrize(
    "options", ["", "<axis = 1>", "<axis = -1, keepdims = 0>", "<axis = 1, select_last_index = 1>"]
)
def test_of_equal_extremes_the_first_or_the_last_is_found(
    agree: Check, operator: str, options: str
) -> None:
    x = np.random.default_rng(1).integers(0, 3, (3, 5, 4)).astype(np.float32)
    agree(13, f"y = {operator} {options} (x)", {"x": x}, outputs="int64[] y")


@pytest.mark.parametrize("options", ["", "<exclusive = 1>", "<reverse = 1, exclusive = 1>"])
def test_sums_run_along_an_axis_that_may_be_computed(agree: Check, options: str) -> None:
    for axis in ("one", "last", "a"):
        nodes = f"s = Shape (x) n = Size (s) a = Sub (n, one) y = CumSum {options} (x, {axis})"
        agree(14, nodes, _x(2, 3, 4), STORED)


@pytest.mark.parametrize("options", ["", "<exclusive = 1>", "<reverse = 1>"])
@pytest.mark.parametrize(("operator", "opset"), [("CumSum", 14), ("CumProd", 26)])
def test_running_sums_and_products_have_the_right_gradient(
    differentiate: Check, options: str, operator: str, opset: int
) -> None:
    nodes = f"axis = Constant <value_int = 1> () y = {operator} {options} (x, axis)"
    differentiate(opset, nodes, _x(2, 4, dtype=np.float64), "double[] y")


@pytest.mark.parametrize("options", ["", "<largest = 0>", "<axis = 1>"])
def test_top_k_takes_the_first_of_equal_values(agree: Check, options: str) -> None:
    x = np.random.default_rng(1).integers(0, 3, (3, 5, 4)).astype(np.float32)
    outputs = "float[] y, int64[] places"
    agree(11, f"y, places = TopK {options} (x, two)", {"x": x}, STORED, outputs)
    agree(
        11,
        f"s = Shape (x) a = Slice (s, first, one1) k = Sub (a, one1) "
        f"y, places = TopK {options} (x, k)",
        {"x": x},
        f"{STORED}, int64[1] one1 = {{1}}",
        outputs,
    )


def test_the_number_of_top_k_was_an_attribute(agree: Check) -> None:
    agree(9, "y, places = TopK <k = 2> (x)", _x(3, 4), outputs="float[] y, int64[] places")
