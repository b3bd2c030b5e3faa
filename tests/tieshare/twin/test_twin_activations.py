"""Activations in the twin against ONNX Runtime: options, old opsets, computed bounds."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from onnx import ModelProto

from tieshare.graph.view import view
from tieshare.twin import from_onnx
from tieshare.twin.table import operation

Make = Callable[[str], ModelProto]
Check = Callable[..., None]

# The opset, and the nodes from x (2, 3, 6, 5) to y with the weights that they name.
CASES = [
    (9, "y = Clip <min = -0.5, max = 0.5> (x)", ""),
    (9, "y = Clip <max = 0.5> (x)", ""),
    (13, "y = Clip (x, minus_one, half)", ""),
    (13, 'y = Clip (x, "", half)', ""),
    (13, "y = Clip (x)", ""),
    (13, "m = ReduceMean <keepdims = 0> (x) y = Clip (x, m)", ""),
    (13, 'm = ReduceMean <keepdims = 0> (x) y = Clip (x, "", m)', ""),
    (13, "m = ReduceMean <keepdims = 0> (x) y = Clip (x, m, half)", ""),
    (17, "y = Elu <alpha = 0.7> (x)", ""),
    (17, "y = Celu <alpha = 0.7> (x)", ""),
    (17, "y = Selu (x)", ""),
    (17, "y = Selu <alpha = 1.2, gamma = 0.9> (x)", ""),
    (17, "y = LeakyRelu <alpha = 0.3> (x)", ""),
    (17, "y = ThresholdedRelu <alpha = 0.4> (x)", ""),
    (17, "y = HardSigmoid <alpha = 0.3, beta = 0.4> (x)", ""),
    (17, "y = HardSigmoid <alpha = 0.16666667, beta = 0.5> (x)", ""),
    (17, "y = HardSwish (x)", ""),
    (17, "y = Shrink <lambd = 0.4> (x)", ""),
    (17, "y = Shrink <lambd = 0.4, bias = 0.4> (x)", ""),
    (17, "y = Shrink <lambd = -0.4, bias = 0.1> (x)", ""),
    (17, "i = Cast <to = 6> (big) s = Shrink <lambd = 3.0, bias = 2.0> (i) y = Cast <to = 1> (s)",
     "float[4] big = {-7.0, -3.0, 3.0, 7.0}"),
    (18, "y = Mish (x)", ""),
    (20, "y = Gelu (x)", ""),
    (20, 'y = Gelu <approximate = "tanh"> (x)', ""),
    (17, "a = Mul (x, thirty) y = Softplus (a)", ""),
    (17, "y = Softsign (x)", ""),
    (17, "y = Erf (x)", ""),
    (17, "y = PRelu (x, slope)", "float[3, 1, 1] slope"),
    (17, "y = PRelu (x, slope)", "float[5] slope"),
    (17, "y = PRelu (x, slope)", "float[1] slope"),
    (11, "y = Softmax <axis = 2> (x)", ""),
    (11, "y = Softmax <axis = -1> (x)", ""),
    (11, "t = Transpose (x) y = Softmax <axis = 2> (t)", ""),
    (11, "y = LogSoftmax (x)", ""),
    (13, "y = Softmax <axis = 1> (x)", ""),
    (13, "y = LogSoftmax (x)", ""),
    (11, "y = Hardmax <axis = 2> (x)", ""),
    (11, "y = Hardmax (x)", ""),
    (13, "y = Hardmax (x)", ""),
    (13, "r = Round (x) y = Hardmax <axis = 2> (r)", ""),
]  # fmt: skip


@pytest.mark.parametrize(("opset", "nodes", "weights"), CASES)
def test_activations_compute_what_onnx_runtime_computes(
    agree: Check, opset: int, nodes: str, weights: str
) -> None:
    x = np.random.default_rng(1).normal(size=(2, 3, 6, 5)).astype(np.float32)
    stored = "float minus_one = {-1.0}, float half = {0.5}, float thirty = {30.0}"
    agree(opset, nodes, {"x": x}, f"{stored}, {weights}" if weights else stored)


@pytest.mark.parametrize("options", ["", "<alpha = 1.7>"])
def test_swiglu_is_the_swish_of_its_gate_times_its_value(from_text: Make, options: str) -> None:
    model = from_text(f"""
        <ir_version: 10, opset_import: ["" : 28]>
        gated (float[6] a, float[6] b) => (float[6] y, float[6] swish) {{
            y = SwiGLU {options} (a, b)
            swish = Swish {options} (a)
        }}""")
    a, b = torch.randn((2, 6), generator=torch.Generator().manual_seed(0))
    y, swish = from_onnx(model)(a, b)
    alpha = 1.7 if options else 1.0
    torch.testing.assert_close(y, a * torch.sigmoid(alpha * a) * b)
    torch.testing.assert_close(swish, a * torch.sigmoid(alpha * a))


def test_a_computed_bound_gets_the_gradient_of_what_it_holds_back(from_text: Make) -> None:
    model = from_text("""
        <ir_version: 9, opset_import: ["" : 17]>
        bounded (float[4] x, float high) => (float[4] y) { y = Clip (x, "", high) }""")
    x = torch.tensor([-1.0, 1.0, 2.0, 3.0], requires_grad=True)
    high = torch.tensor(1.5, requires_grad=True)
    y = from_onnx(model)(x, high)
    assert isinstance(y, torch.Tensor)
    y.sum().backward()
    assert x.grad is not None
    assert high.grad is not None
    assert x.grad.tolist() == [1, 1, 0, 0]
    assert high.grad.item() == 2


def test_softplus_is_exact_in_double_precision(from_text: Make) -> None:
    model = from_text("""
        <ir_version: 9, opset_import: ["" : 17]>
        precise (double[5] x) => (double[5] y) { y = Softplus (x) }""")
    x = torch.tensor([-700.0, -1.0, 19.0, 30.0, 700.0], dtype=torch.float64)
    y = from_onnx(model)(x)
    assert isinstance(y, torch.Tensor)
    np.testing.assert_allclose(y.numpy(), np.logaddexp(0, x.numpy()), rtol=1e-15)


def test_before_opset_7_a_prelu_slope_has_an_entry_a_channel(from_text: Make) -> None:
    model = from_text("""
        <ir_version: 3, opset_import: ["" : 6]>
        old (float[2, 3, 3] x, float[3] slope) => (float[2, 3, 3] y) { y = PRelu (x, slope) }""")
    x = np.random.default_rng(1).normal(size=(2, 3, 3)).astype(np.float32)
    slope = np.array([0.1, 0.2, 0.3], dtype=np.float32)
    y = operation(view(model).nodes[0])(torch.from_numpy(x), torch.from_numpy(slope))
    assert isinstance(y, torch.Tensor)
    np.testing.assert_allclose(y.numpy(), np.where(x < 0, x * slope[:, None], x))
