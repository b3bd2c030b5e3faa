"""Quantisation in the twin: values as in ONNX Runtime and ONNX, gradients straight through."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from onnx import ModelProto, TensorProto, helper
from onnx.reference import ReferenceEvaluator
from torch import Tensor

from tieshare.twin import from_onnx

Make = Callable[[str], ModelProto]
Check = Callable[..., None]

INTEGERS = ["INT2", "INT4", "INT8", "INT16", "UINT2", "UINT4", "UINT8", "UINT16"]
FLOATS = [
    "FLOAT4E2M1",
    "FLOAT6E2M3",
    "FLOAT6E3M2",
    "FLOAT8E4M3FN",
    "FLOAT8E4M3FNUZ",
    "FLOAT8E5M2",
    "FLOAT8E5M2FNUZ",
]


def _to(kind: str, options: str = "") -> str:
    """x quantised to q of this kind, and back to y."""
    kind_number = TensorProto.DataType.Value(kind)
    return f"""<ir_version: 13, opset_import: ["" : 28]>
        quantise (float[n] x) => (float[n] y) <float scale = {{0.5}}> {{
            q = QuantizeLinear <output_dtype = {kind_number} {options}> (x, scale)
            y = DequantizeLinear (q, scale)
        }}"""


@pytest.mark.parametrize(
    ("options", "stored"),
    [
        ("", "float s = {0.02}, uint8 z = {100}"),
        ("", "float[1] s = {0.02}, uint8[1] z = {100}"),
        ("<axis = 1>", "float[3] s = {0.01, 0.02, 0.03}, uint8[3] z = {0, 100, 255}"),
        ("", "float[3] s = {0.01, 0.02, 0.03}, uint8[3] z = {0, 100, 255}"),
        ("<axis = -1>", "float[2] s = {0.01, 0.03}, uint8[2] z = {128, 7}"),
    ],
)
def test_scales_are_for_all_or_for_each_channel(agree: Check, options: str, stored: str) -> None:
    nodes = f"q = QuantizeLinear {options} (x, s, z) y = DequantizeLinear {options} (q, s, z)"
    x = np.random.default_rng(0).normal(size=(4, 3, 2)).astype(np.float32)
    for opset in (13, 19, 21):
        agree(opset, nodes, {"x": x}, stored, "float[] y, uint8[] q")
    if "[3]" not in stored and "[2]" not in stored:
        agree(10, nodes, {"x": x}, stored, "float[] y, uint8[] q")


def test_scales_may_be_for_blocks_of_which_the_last_is_shorter(agree: Check) -> None:
    options = "<axis = 1, block_size = 3>"
    nodes = f"q = QuantizeLinear {options} (x, s, z) y = DequantizeLinear {options} (q, s, z)"
    stored = "float[2, 2] s = {0.01, 0.02, 0.03, 0.04}, int8[2, 2] z = {0, 1, -5, 9}"
    x = np.random.default_rng(0).normal(size=(2, 5)).astype(np.float32)
    agree(21, nodes, {"x": x}, stored, "float[] y, int8[] q")


@pytest.mark.parametrize("kind", ["int8", "int16", "uint16", "int4", "uint4"])
def test_the_zero_point_says_what_is_quantised_to(agree: Check, kind: str) -> None:
    nodes = "q = QuantizeLinear (x, s, z) y = DequantizeLinear (q, s, z)"
    x = np.random.default_rng(0).normal(size=(40,)).astype(np.float32)
    agree(21, nodes, {"x": x}, f"float s = {{0.1}}, {kind} z = {{3}}")


@pytest.mark.parametrize("kind", [*INTEGERS, *FLOATS])
@pytest.mark.parametrize("saturate", [1, 0])
def test_values_are_rounded_and_clipped_as_onnx_does(
    from_text: Make, kind: str, saturate: int
) -> None:
    """On a grid that hits all numbers of few bits, and all that lie just between two of them."""
    model = from_text(_to(kind, f", saturate = {saturate}"))
    grid = np.concatenate([np.arange(-40, 40, 1 / 32), np.arange(-300, 300, 0.25)])
    x = np.concatenate([grid, [2**k for k in range(-20, 17)], [-1e6, 1e6]]).astype(np.float32)
    (expected,) = ReferenceEvaluator(model).run(None, {"x": x})
    twin = from_onnx(model)
    for x_torch in (torch.from_numpy(x), torch.from_numpy(x).requires_grad_()):
        y = twin(x_torch)
        assert isinstance(y, Tensor)
        np.testing.assert_array_equal(y.detach().numpy(), expected)


@pytest.mark.parametrize("kind", ["INT4", "UINT8", "FLOAT4E2M1", "FLOAT8E4M3FN"])
def test_the_gradient_passes_where_nothing_is_clipped(from_text: Make, kind: str) -> None:
    x = torch.tensor([-1e6, -0.7, 0.3, 1.1, 1e6], requires_grad=True)
    y = from_onnx(from_text(_to(kind)))(x)
    assert isinstance(y, Tensor)
    y.sum().backward()
    assert x.grad is not None
    assert x.grad.tolist() == [0, 0 if kind == "UINT8" else 1, 1, 1, 0]


def test_quantised_values_have_their_dtype_where_no_gradient_passes(from_text: Make) -> None:
    model = from_text("""
        <ir_version: 8, opset_import: ["" : 19]>
        quantise (float[n] x) => (int8[n] q) <float s = {0.5}, int8 z = {1}> {
            q = QuantizeLinear (x, s, z)
        }""")
    twin, x = from_onnx(model), torch.tensor([0.4, 1.0, 99.0])
    q, wide = twin(x), twin(x.requires_grad_())
    assert isinstance(q, Tensor)
    assert isinstance(wide, Tensor)
    assert q.dtype == torch.int8
    assert q.tolist() == wide.tolist() == [2, 3, 127]
    assert wide.requires_grad


def test_the_zero_point_may_be_computed(from_text: Make) -> None:
    model = from_text("""
        <ir_version: 8, opset_import: ["" : 19]>
        quantise (float[n] x, float s, int8 z) => (int8[n] q) { q = QuantizeLinear (x, s, z) }""")
    given = torch.tensor([0.5, 99.0]), torch.tensor(0.5), torch.tensor(-3, dtype=torch.int8)
    q = from_onnx(model)(*given)
    assert isinstance(q, Tensor)
    assert (q.dtype, q.tolist()) == (torch.int8, [-2, 127])


def test_the_division_may_be_of_another_precision(from_text: Make) -> None:
    """1023 / 3 is 341 in float32, and the 340 to 342 of bfloat16 is even."""
    text = """
        <ir_version: 11, opset_import: ["" : 23]>
        quantise (float[n] x) => (int16[n] q) <float s = {{3.0}}> {{
            q = QuantizeLinear <output_dtype = 5, precision = {}> (x, s)
        }}"""
    quotients = []
    for precision in (0, TensorProto.BFLOAT16):
        q = from_onnx(from_text(text.format(precision)))(torch.tensor([1023.0]))
        assert isinstance(q, Tensor)
        quotients.append(q.item())
    assert quotients == [341, 342]


def test_integers_are_dequantised_to_the_dtype_that_is_asked_for(from_text: Make) -> None:
    model = from_text("""
        <ir_version: 11, opset_import: ["" : 23]>
        weigh (int32[n] x) => (float16[n] half, float[n] y) <float s = {0.5}> {
            half = DequantizeLinear <output_dtype = 10> (x, s)
            y = DequantizeLinear (x, s)
        }""")
    half, y = from_onnx(model)(torch.tensor([3, -8], dtype=torch.int32))
    assert (half.dtype, y.dtype) == (torch.float16, torch.float32)
    assert half.tolist() == y.tolist() == [1.5, -4]


def test_a_scale_may_be_a_power_of_two_in_8_bits(from_text: Make) -> None:
    model = from_text("""
        <ir_version: 11, opset_import: ["" : 23]>
        weigh (int8[n] x) => (float[n] y) {
            y = DequantizeLinear <output_dtype = 1> (x, s)
        }""")
    scale = helper.make_tensor("s", TensorProto.FLOAT8E8M0, (), [0.25])
    model.graph.initializer.append(scale)
    y = from_onnx(model)(torch.tensor([3, -8], dtype=torch.int8))
    assert isinstance(y, Tensor)
    assert (y.dtype, y.tolist()) == (torch.float32, [0.75, -2])


@pytest.mark.parametrize("x", [[-1.0, 0.3, 2.0], [1.0, 3.0], [-3.0, -2.0], [0.0, 0.0]])
def test_a_dynamic_range_takes_in_zero(agree: Check, x: list[float]) -> None:
    nodes = "q, s, z = DynamicQuantizeLinear (x) y = DequantizeLinear (q, s, z)"
    outputs = "float[] y, uint8[] q, uint8 z"
    agree(11, nodes, {"x": np.array(x, dtype=np.float32)}, "", outputs)


def test_a_dynamic_range_passes_the_gradient(from_text: Make) -> None:
    model = from_text("""
        <ir_version: 8, opset_import: ["" : 19]>
        dynamic (float[n] x) => (float[n] y) {
            q, s, z = DynamicQuantizeLinear (x)
            y = DequantizeLinear (q, s, z)
        }""")
    x = torch.tensor([-1.0, 0.2, 0.7, 3.0], requires_grad=True)
    y = from_onnx(model)(x)
    assert isinstance(y, Tensor)
    torch.testing.assert_close(y, x, atol=4 / 255 / 2, rtol=0)
    y.sum().backward()
    torch.testing.assert_close(x.grad, torch.ones(4), atol=0.02, rtol=0)
