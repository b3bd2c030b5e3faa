"""Single nodes in the twin against ONNX Runtime: options, old opsets, computed shapes."""

from collections.abc import Callable

import numpy as np
import onnxruntime
import pytest
import torch
from onnx import ModelProto

from tieshare.twin import from_onnx

Make = Callable[[str], ModelProto]

CONSTANTS = """
    float one = {1.0}, float minus_one = {-1.0}, float half = {0.5}, float three = {3.0},
    int64 zero = {0}, int64[1] axis0 = {0}, int64[1] axis1 = {1}, int64[1] axis_last = {-1},
    int64[2] axes23 = {2, 3}, int64[1] rest = {-1}, int64[2] flat = {0, -1}, int64[1] four = {4},
    int64[4] pads4 = {1, 0, 2, 1}, int64[8] pads8 = {0, 0, 1, 2, 0, 0, 0, 1},
    int64[2] starts = {-1, 1}, int64[2] ends = {-9, 5}, int64[2] axes = {2, 3},
    int64[2] steps = {-1, 2}, int64[3] indices = {2, -1, 0}, int64[4] wide = {1, 3, 6, 5},
    float[3] g, float[3] b, float[3] m, float[3] var
"""

# Node by node: the opset, the nodes from x (2, 3, 6, 5) to y, and the weights that they name.
CASES = [
    (9, "y = Clip <min = -0.5, max = 0.5> (x)", ""),
    (13, "y = Clip (x, minus_one, half)", ""),
    (13, 'y = Clip (x, "", half)', ""),
    (13, "y = Clip (x)", ""),
    (17, "y = Elu <alpha = 0.7> (x)", ""),
    (17, "y = Celu <alpha = 0.7> (x)", ""),
    (17, "y = Selu (x)", ""),
    (17, "y = LeakyRelu <alpha = 0.3> (x)", ""),
    (17, "y = ThresholdedRelu <alpha = 0.4> (x)", ""),
    (17, "y = HardSigmoid <alpha = 0.3, beta = 0.4> (x)", ""),
    (17, "y = HardSwish (x)", ""),
    (18, "y = Mish (x)", ""),
    (20, "y = Gelu (x)", ""),
    (20, 'y = Gelu <approximate = "tanh"> (x)', ""),
    (17, "a = Mul (x, three) y = Softplus (a)", ""),
    (17, "y = Softsign (x)", ""),
    (17, "a = Abs (x) b = Sqrt (a) y = Erf (b)", ""),
    (17, "a = Exp (x) b = Neg (a) y = Pow (b, three)", ""),
    (17, "y = PRelu (x, slope)", "float[3, 1, 1] slope"),
    (17, "y = PRelu (x, slope)", "float[5] slope"),
    (17, "y = PRelu (x, slope)", "float[1] slope"),
    (11, "y = Softmax <axis = 2> (x)", ""),
    (11, "y = LogSoftmax (x)", ""),
    (13, "y = Softmax <axis = 1> (x)", ""),
    (13, "y = LogSoftmax (x)", ""),
    (17, "y = Conv <pads = [1, 0, 2, 3]> (x, k)", "float[4, 3, 3, 2] k"),
    (17, 'y = Conv <auto_pad = "SAME_UPPER", strides = [2, 2]> (x, k)', "float[4, 3, 3, 2] k"),
    (17, 'y = Conv <auto_pad = "SAME_LOWER", strides = [1, 2]> (x, k)', "float[4, 3, 2, 4] k"),
    (17, 'y = Conv <auto_pad = "VALID", dilations = [2, 1]> (x, k)', "float[4, 3, 3, 2] k"),
    (17, "y = Conv <group = 3, pads = [1, 1, 1, 1]> (x, k, c)", "float[6, 1, 3, 3] k, float[6] c"),
    (7, "y = BatchNormalization (x, g, b, m, var)", ""),
    (15, "y = BatchNormalization (x, g, b, m, var)", ""),
    (17, "y = MaxPool <kernel_shape = [3, 2], strides = [2, 2], pads = [0, 1, 2, 0]> (x)", ""),
    (17, "y = MaxPool <kernel_shape = [3, 2], strides = [2, 2], ceil_mode = 1> (x)", ""),
    (17, "y = MaxPool <kernel_shape = [2, 2], dilations = [3, 2]> (x)", ""),
    (17, 'y = MaxPool <kernel_shape = [3, 2], strides = [2, 2], auto_pad = "SAME_UPPER"> (x)', ""),
    (17, "y = AveragePool <kernel_shape = [3, 2], strides = [2, 2]> (x)", ""),
    (17, "y = AveragePool <kernel_shape = [3, 2], strides = [2, 2], ceil_mode = 1> (x)", ""),
    (17,
     "y = AveragePool <kernel_shape = [3, 3], pads = [1, 1, 1, 1], count_include_pad = 1> (x)",
     ""),
    (17,
     "y = AveragePool <kernel_shape = [3, 3], pads = [0, 1, 2, 0], count_include_pad = 1> (x)",
     ""),
    (17, "y = AveragePool <kernel_shape = [3, 3], pads = [0, 1, 2, 0]> (x)", ""),
    (17,
     'y = AveragePool <kernel_shape = [3, 2], strides = [2, 2], auto_pad = "SAME_LOWER"> (x)',
     ""),
    (19, "y = AveragePool <kernel_shape = [2, 2], dilations = [2, 2]> (x)", ""),
    (17, "y = GlobalAveragePool (x)", ""),
    (17, "y = GlobalMaxPool (x)", ""),
    (17, "y = ReduceMean <axes = [2, 3], keepdims = 0> (x)", ""),
    (17, "y = ReduceMean (x)", ""),
    (18, "y = ReduceMean (x, axes23)", ""),
    (17, "f = Flatten (x) y = Gemm (f, w, c)", "float[90, 4] w, float[1, 4] c"),
    (17,
     "f = Flatten (x) y = Gemm <alpha = 0.5, beta = 2.0, transB = 1> (f, w, c)",
     "float[4, 90] w, float c"),
    (17, "f = Flatten (x) y = Gemm <transA = 1> (f, w)", "float[2, 4] w"),
    (17, "y = Flatten <axis = 3> (x)", ""),
    (17, "y = Flatten <axis = 0> (x)", ""),
    (17, "y = MatMul (x, w)", "float[5, 4] w"),
    (17, "y = MatMul (w, x)", "float[4, 6] w"),
    (17, "a = Add (x, w) b = Sub (a, half) c = Mul (w, b) y = Div (c, three)", "float[3, 1, 5] w"),
    (10, "y = Pad <pads = [0, 0, 1, 2, 0, 0, 0, 1], value = 0.5> (x)", ""),
    (13, "y = Pad (x, pads8, half)", ""),
    (13, 'y = Pad <mode = "reflect"> (x, pads8)', ""),
    (13, 'y = Pad <mode = "edge"> (x, pads8)', ""),
    (18, 'y = Pad (x, pads4, "", axes23)', ""),
    (9, "y = Slice <starts = [1], ends = [9], axes = [3]> (x)", ""),
    (13, "y = Slice (x, starts, ends, axes, steps)", ""),
    (11, "u = Unsqueeze <axes = [1, -1]> (x) y = Squeeze <axes = [1]> (u)", ""),
    (13, "u = Unsqueeze (x, axis1) v = Unsqueeze (u, axis_last) y = Squeeze (v, axis1)", ""),
    (17, "u = Unsqueeze (x, axis1) y = Squeeze (u)", ""),
    (17, "y = Transpose <perm = [0, 2, 3, 1]> (x)", ""),
    (17, "y = Transpose (x)", ""),
    (17, "a = Neg (x) y = Concat <axis = -1> (x, a, x)", ""),
    (17, "y = Gather <axis = 1> (x, indices)", ""),
    (17, "y = Gather <axis = 0> (x, zero)", ""),
    (17, "y = Reshape (x, flat)", ""),
    (
        17,
        "s = Shape (x) n = Gather (s, zero) n1 = Unsqueeze (n, axis0) "
        "t = Concat <axis = 0> (n1, rest) y = Reshape (x, t)",
        "",
    ),
    (17, "s = Shape <start = 2> (x) t = Concat <axis = 0> (rest, s) y = Reshape (x, t)", ""),
    (
        17,
        "s = Shape (x) n = Slice (s, axis0, axis1) d = Div (n, n) t = Concat <axis = 0> (d, rest) "
        "y = Reshape (x, t)",
        "",
    ),
    (17, "s = ConstantOfShape <value = float[1] {2}> (four) t = Unsqueeze (s, axis_last) "
         "y = Add (t, half) ", ""),
    (17, "i = Cast <to = 6> (x) y = Cast <to = 1> (i)", ""),
    (17, "y = CastLike (x, half)", ""),
    (17, "e = ReduceMean <axes = [2]> (x) y = Expand (e, wide)", ""),
    (17, "y = Identity (x)", ""),
]  # fmt: skip


@pytest.mark.parametrize(("opset", "nodes", "weights"), CASES)
def test_nodes_compute_what_onnx_runtime_computes(
    from_text: Make, opset: int, nodes: str, weights: str
) -> None:
    declared = f"{CONSTANTS}, {weights}" if weights else CONSTANTS
    model = from_text(f"""
        <ir_version: 9, opset_import: ["" : {opset}]>
        nodes (float[n, 3, 6, 5] x) => (float y) <{declared}> {{ {nodes} }}""")
    model.graph.output[0].type.tensor_type.ClearField("shape")
    x = np.random.default_rng(1).normal(size=(2, 3, 6, 5)).astype(np.float32)
    session = onnxruntime.InferenceSession(model.SerializeToString())
    expected = np.asarray(session.run(None, {"x": x})[0])
    result = from_onnx(model)(torch.from_numpy(x))
    assert isinstance(result, torch.Tensor)
    assert tuple(result.shape) == expected.shape
    np.testing.assert_allclose(result.detach().numpy(), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("rank", [1, 3])
def test_convolution_and_pooling_run_in_one_and_three_dimensions(
    from_text: Make, rank: int
) -> None:
    spatial = (7, 6, 5)[:rank]
    sides, twos = ", ".join(["3"] * rank), ", ".join(["2"] * rank)
    shape = ", ".join(str(size) for size in spatial)
    model = from_text(f"""
        <ir_version: 9, opset_import: ["" : 17]>
        ranks (float[n, 2, {shape}] x) => (float y) <float[4, 2, {sides}] k, float[4] c> {{
            a = Conv <auto_pad = "SAME_UPPER", strides = [{twos}]> (x, k, c)
            b = MaxPool <kernel_shape = [{twos}], ceil_mode = 1> (a)
            y = AveragePool <kernel_shape = [{twos}], auto_pad = "SAME_UPPER"> (b)
        }}""")
    model.graph.output[0].type.tensor_type.ClearField("shape")
    x = np.random.default_rng(1).normal(size=(2, 2, *spatial)).astype(np.float32)
    session = onnxruntime.InferenceSession(model.SerializeToString())
    expected = np.asarray(session.run(None, {"x": x})[0])
    result = from_onnx(model)(torch.from_numpy(x))
    assert isinstance(result, torch.Tensor)
    np.testing.assert_allclose(result.detach().numpy(), expected, rtol=1e-4, atol=1e-5)
