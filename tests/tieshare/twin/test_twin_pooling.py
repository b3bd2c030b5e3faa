"""Pooling over windows, whole axes and regions in the twin."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from onnx import ModelProto

from tieshare.twin import from_onnx

Check = Callable[..., None]
Make = Callable[[str], ModelProto]
Sizes = tuple[int, ...]


def draw(**shapes: Sizes) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(1)
    return {name: rng.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}


# The first opset, and options; inputs are (2, 3, 6, 5).
WINDOWS = [
    (7, "kernel_shape = [3, 2]"),
    (7, "kernel_shape = [3, 2], strides = [2, 2], pads = [1, 1, 1, 1]"),
    (7, "kernel_shape = [3, 3], strides = [2, 2], pads = [0, 1, 2, 0]"),
    (7, "kernel_shape = [3, 3], pads = [2, 2, 2, 2]"),
    (7, 'kernel_shape = [3, 2], strides = [2, 2], auto_pad = "SAME_UPPER"'),
    (7, 'kernel_shape = [3, 2], strides = [2, 1], auto_pad = "SAME_LOWER"'),
    (7, 'kernel_shape = [2, 2], strides = [2, 2], auto_pad = "VALID"'),
]
ROUNDED_UP = [
    "kernel_shape = [3, 2], strides = [2, 2], ceil_mode = 1",
    "kernel_shape = [3, 3], strides = [2, 3], ceil_mode = 1, pads = [1, 1, 1, 1]",
    "kernel_shape = [2, 3], strides = [2, 2], ceil_mode = 1, pads = [0, 0, 1, 2]",
    "kernel_shape = [1, 1], strides = [2, 2], ceil_mode = 1",
    'kernel_shape = [2, 2], strides = [2, 2], ceil_mode = 1, auto_pad = "SAME_UPPER"',
]
DILATED = [
    "kernel_shape = [2, 2], dilations = [3, 2]",
    "kernel_shape = [2, 3], dilations = [2, 2], pads = [1, 0, 1, 2], strides = [2, 1]",
    "kernel_shape = [2, 2], dilations = [2, 2], strides = [2, 2], ceil_mode = 1",
]
MAX = [*WINDOWS, *((10, o) for o in (*ROUNDED_UP, *DILATED)), (22, ROUNDED_UP[2])]
AVERAGE = [*WINDOWS, *((10, o) for o in ROUNDED_UP), *((19, o) for o in DILATED)]
NORMS = [*WINDOWS, *((18, o) for o in (*ROUNDED_UP, *DILATED))]


@pytest.mark.parametrize(("opset", "options"), MAX)
@pytest.mark.parametrize("by_column", [0, 1])
def test_max_pool_computes_what_onnx_runtime_computes(
    agree: Check, opset: int, options: str, by_column: int
) -> None:
    agree(opset, f"y = MaxPool <{options}> (x)", draw(x=(2, 3, 6, 5)))
    placed = f"y, places = MaxPool <{options}, storage_order = {by_column}> (x)"
    outputs = "float[] y, int64[] places"
    agree(max(opset, 8), placed, draw(x=(2, 3, 6, 5)), outputs=outputs)


@pytest.mark.parametrize(("opset", "options"), AVERAGE)
@pytest.mark.parametrize("counted", [0, 1])
def test_average_pool_computes_what_onnx_runtime_computes(
    agree: Check, opset: int, options: str, counted: int
) -> None:
    nodes = f"y = AveragePool <{options}, count_include_pad = {counted}> (x)"
    agree(opset, nodes, draw(x=(2, 3, 6, 5)))


@pytest.mark.parametrize(("opset", "options"), NORMS)
@pytest.mark.parametrize("p", [1, 2, 3])
def test_lp_pool_computes_what_onnx_runtime_computes(
    agree: Check, opset: int, options: str, p: int
) -> None:
    agree(opset, f"y = LpPool <{options}, p = {p}> (x)", draw(x=(2, 3, 6, 5)))


@pytest.mark.parametrize("rank", [1, 3])
@pytest.mark.parametrize("operator", ["MaxPool", "AveragePool", "LpPool"])
def test_pooling_runs_in_one_and_three_dimensions(agree: Check, operator: str, rank: int) -> None:
    inputs = draw(x=(2, 3, *(7, 6, 5)[:rank]))
    size = f"kernel_shape = {[2] * rank}"
    agree(22, f"y = {operator} <{size}, ceil_mode = 1, strides = {[2] * rank}> (x)", inputs)
    agree(22, f"y = {operator} <{size}, dilations = {[2] * rank}> (x)", inputs)
    agree(22, f'y = {operator} <{size}, auto_pad = "SAME_LOWER"> (x)', inputs)


@pytest.mark.parametrize("rank", [1, 2, 3])
@pytest.mark.parametrize("nodes", ["GlobalAveragePool", "GlobalMaxPool", "GlobalLpPool <p = 3>"])
def test_global_pooling_leaves_one_entry_of_each_axis(agree: Check, nodes: str, rank: int) -> None:
    agree(7, f"y = {nodes} (x)", draw(x=(2, 3, *(4, 5, 6)[:rank])))


@pytest.mark.parametrize(
    "nodes",
    [
        "y = MaxPool <kernel_shape = [2, 2], pads = [0, 1, 1, 0]> (x)",
        "y = AveragePool <kernel_shape = [2, 2], pads = [0, 1, 1, 0]> (x)",
        "y = AveragePool <kernel_shape = [2, 2], dilations = [2, 1]> (x)",
        "y = LpPool <kernel_shape = [2, 2], p = 3> (x)",
        "y = GlobalLpPool (x)",
        "y = GlobalMaxPool (x)",
        "m, i = MaxPool <kernel_shape = [2, 2], strides = [2, 2]> (x) "
        "y = MaxUnpool <kernel_shape = [2, 2], strides = [2, 2]> (m, i)",
    ],
)
def test_pooling_has_gradients(differentiate: Check, nodes: str) -> None:
    differentiate(22, nodes, draw(x=(1, 2, 4, 4)))


def test_the_norm_of_a_window_of_zeros_has_gradient_zero(from_text: Make) -> None:
    model = from_text("""
        <ir_version: 10, opset_import: ["" : 18]>
        norm (float[1, 1, 4] x) => (float[] y) { y = LpPool <kernel_shape = [2]> (x) }""")
    x = torch.tensor([[[0.0, 0.0, 3.0, 4.0]]], requires_grad=True)
    y = from_onnx(model)(x)
    (slope,) = torch.autograd.grad(y.sum(), x)
    torch.testing.assert_close(y, torch.tensor([[[0.0, 3.0, 5.0]]]))
    torch.testing.assert_close(slope, torch.tensor([[[0.0, 0.0, 1.6, 0.8]]]))


def test_unpooling_puts_entries_where_pooling_found_them(agree: Check) -> None:
    options = "kernel_shape = [2, 3], strides = [2, 2], pads = [0, 1, 0, 1]"
    nodes = f"m, i = MaxPool <{options}> (x) y = MaxUnpool <{options}> (m, i)"
    agree(11, nodes, draw(x=(2, 3, 6, 5)))


def test_a_larger_shape_asked_of_unpooling_is_filled_with_zeros(from_text: Make) -> None:
    model = from_text("""
        <ir_version: 10, opset_import: ["" : 22]>
        unpool (float[1, 1, 2, 2] x, int64[1, 1, 2, 2] places, int64[4] shape) => (float[] y) {
            y = MaxUnpool <kernel_shape = [2, 2], strides = [2, 2]> (x, places, shape)
        }""")
    places = torch.tensor([[[[0, 3], [8, 15]]]])
    x = torch.arange(1.0, 5.0).reshape(1, 1, 2, 2)
    y = from_onnx(model)(x, places, torch.tensor([1, 1, 5, 5]))
    expected = torch.zeros(5, 5)
    expected[0, 0], expected[0, 3], expected[2, 0], expected[3, 3] = 1, 2, 3, 4
    torch.testing.assert_close(y[0, 0], expected)


def regions(largest: float) -> np.ndarray:
    """Eight, some with corners outside of the input."""
    rng = np.random.default_rng(2)
    start = rng.uniform(-3, 10, (8, 2))
    return np.concatenate([start, start + rng.uniform(1, largest, (8, 2))], 1).astype(np.float32)


@pytest.mark.parametrize("mode", ["avg", "max"])
@pytest.mark.parametrize("ratio", [0, 2])
@pytest.mark.parametrize(
    ("opset", "places"),
    [
        (10, ""),
        (16, ""),
        (16, ', coordinate_transformation_mode = "half_pixel"'),
        (16, ', coordinate_transformation_mode = "output_half_pixel"'),
    ],
)
def test_roi_align_computes_what_onnx_runtime_computes(
    agree: Check, mode: str, ratio: int, opset: int, places: str
) -> None:
    options = f'mode = "{mode}", sampling_ratio = {ratio}, spatial_scale = 0.6{places}'
    nodes = f"y = RoiAlign <{options}, output_height = 3, output_width = 2> (x, rois, batch)"
    inputs = draw(x=(2, 3, 9, 11)) | {"rois": regions(12), "batch": np.arange(8) % 2}
    agree(opset, nodes, inputs)


@pytest.mark.parametrize("mode", ["avg", "max"])
def test_roi_align_has_gradients(differentiate: Check, mode: str) -> None:
    nodes = f'y = RoiAlign <mode = "{mode}", sampling_ratio = 2> (x, rois, batch)'
    inputs = draw(x=(1, 2, 5, 4)) | {"rois": regions(4)[:3] / 3, "batch": np.zeros(3, np.int64)}
    differentiate(22, nodes, inputs)


def test_max_roi_pool_computes_what_onnx_runtime_computes(
    agree: Check, differentiate: Check
) -> None:
    nodes = "y = MaxRoiPool <pooled_shape = [3, 4], spatial_scale = 0.7> (x, rois)"
    rois = np.concatenate([np.arange(8)[:, None] % 2, regions(12)], 1).astype(np.float32)
    inputs = draw(x=(2, 3, 9, 11)) | {"rois": rois}
    agree(7, nodes, inputs)
    differentiate(22, nodes, {"x": inputs["x"][:, :1], "rois": rois[:2]}, fixed="rois")
