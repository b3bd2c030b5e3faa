"""If, Loop and Scan in the twin against ONNX Runtime: captured weights, stacked outputs."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from onnx import ModelProto, parser

from tieshare.twin import from_onnx

Array = NDArray[Any]
Check = Callable[..., None]
Make = Callable[[str], ModelProto]


def _x(*shape: int) -> Array:
    return np.random.default_rng(1).normal(size=shape).astype(np.float32)


BRANCHES = """
    s = ReduceSum <keepdims = 0> (x)
    c = Greater (s, zero)
    y = If (c) <
        then_branch = yes () => (float[] a) { a = Mul (x, w) },
        else_branch = no () => (float[] b) { k = Constant <value = float {2.0}> () b = Mul (x, k) }>
    """

COUNTED = """
    last, all = Loop (m, go, x) <body = step (int64 i, bool again, float[] h) =>
        (bool on, float[] next, float[] part) {
            f = Cast <to = 1> (i)
            a = Add (h, f)
            next = Mul (a, w)
            part = Neg (next)
            on = Identity (again)
        }>
    """

UNTIL = """
    y = Loop ("", go, x) <body = step (int64 i, bool again, float[] h) =>
        (bool on, float[] next) {
            next = Add (h, h)
            m = ReduceMax <keepdims = 0> (next)
            on = Less (m, limit)
        }>
    """

CELL = """
    last, all = Scan (h, x) <num_scan_inputs = 1 {}, body = step (float[] before, float[] now) =>
        (float[] after, float[] part) {{
            a = MatMul (before, w)
            b = Add (a, now)
            after = Tanh (b)
            part = Identity (after)
        }}>
    """


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("opset", [7, 11, 17, 21])
def test_a_condition_chooses_a_graph(agree: Check, sign: int, opset: int) -> None:
    agree(opset, BRANCHES, {"x": sign * np.abs(_x(2, 3))}, "float zero = {0}, float[3] w")


@pytest.mark.parametrize("opset", [11, 17, 21])
def test_a_loop_counts_and_stacks_what_its_steps_make(agree: Check, opset: int) -> None:
    stored = "int64 m = {4}, bool go = {1}, float[3] w"
    agree(opset, COUNTED, {"x": _x(2, 3)}, stored, "float[] last, float[] all")
    fed = {"x": _x(2, 3), "m": np.array(3), "go": np.array(True)}
    agree(opset, COUNTED, fed, "float[3] w", "float[] last, float[] all")


def test_a_loop_that_never_runs_stacks_nothing(from_text: Make) -> None:
    model = from_text(f"""
        <ir_version: 10, opset_import: ["" : 17]>
        never (float[2, 3] x, int64 m) => (float[] last, float[] all)
        <bool go = {{1}}, float[3] w> {{ {COUNTED} }}""")
    x = torch.from_numpy(_x(2, 3))
    last, parts = from_onnx(model)(x, torch.tensor(0))
    assert last.equal(x)
    assert parts.shape == (0, 2, 3)


def test_a_loop_ends_when_its_condition_does(agree: Check) -> None:
    agree(13, UNTIL, {"x": np.array([1.0, -3.0], dtype=np.float32)},
          "bool go = {1}, float limit = {20}")  # fmt: skip


@pytest.mark.parametrize("options", [
    "",
    ", scan_input_directions = [1]",
    ", scan_output_directions = [1]",
    ", scan_input_axes = [1], scan_output_axes = [-1]",
])  # fmt: skip
def test_a_scan_carries_a_state_along_a_sequence(agree: Check, options: str) -> None:
    sequence = _x(2, 5, 3) if "axes" in options else _x(5, 2, 3)
    for opset in (9, 11, 21):
        agree(opset, CELL.format(options), {"h": _x(2, 3), "x": sequence},
              "float[3, 3] w", "float[] last, float[] all")  # fmt: skip


def test_a_scan_of_opset_8_goes_over_each_sample(agree: Check) -> None:
    for lengths in ('""', "n"):
        nodes = CELL.format("").replace("(h, x)", f"({lengths}, h, x)", 1)
        inputs = {"h": _x(2, 1, 3), "x": _x(2, 4, 1, 3)}
        if lengths == "n":
            inputs["n"] = np.array([4, 2])
        agree(8, nodes, inputs, "float[3, 3] w", "float[] last, float[] all")


def test_weights_outside_of_a_body_are_parameters(from_text: Make) -> None:
    model = from_text(f"""
        <ir_version: 10, opset_import: ["" : 17]>
        cell (float[2, 3] h, float[5, 2, 3] x) => (float[] last, float[] all)
        <float[3, 3] w> {{ {CELL.format("")} }}""")
    twin = from_onnx(model)
    assert twin.names == ("w",)
    h, x = torch.from_numpy(_x(2, 3)), torch.from_numpy(_x(5, 2, 3))
    torch.autograd.backward(twin(h, x)[0].sum())
    w = twin.parameter("w").detach().clone().requires_grad_()
    for now in x:
        h = torch.tanh(h @ w + now)
    torch.autograd.backward(h.sum())
    torch.testing.assert_close(twin.parameter("w").grad, w.grad)


def test_bodies_may_lie_in_bodies(agree: Check) -> None:
    nodes = """
        y = Loop (m, go, x) <body = outer (int64 i, bool again, float[] h) =>
            (bool on, float[] next) {
                on = Identity (again)
                even = Mod (i, two)
                c = Cast <to = 9> (even)
                next = If (c) <
                    then_branch = yes () => (float[] a) { a = Mul (h, w) },
                    else_branch = no () => (float[] b) { b = Add (h, x) }>
            }>"""
    agree(17, nodes, {"x": _x(2, 3)}, "int64 m = {5}, int64 two = {2}, bool go = {1}, float[3] w")


def test_what_a_body_stores_is_a_buffer() -> None:
    model = parser.parse_model("""
        <ir_version: 10, opset_import: ["" : 17]>
        stored (float[2] x, bool c) => (float[2] y) {
            y = If (c) <
                then_branch = yes () => (float[2] a)
                    <float[2] k = {3.0, 4.0}> { a = Mul (x, k) },
                else_branch = no () => (float[2] b) { b = Neg (x) }>
        }""")
    twin = from_onnx(model)
    assert twin.names == ()
    assert [tuple(buffer.shape) for buffer in twin.buffers()] == [(2,)]
    result = twin(torch.ones(2), torch.tensor(True))
    assert isinstance(result, torch.Tensor)
    assert result.tolist() == [3.0, 4.0]
