"""Operators on shapes in the twin against ONNX Runtime: options in all forms, old opsets."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from onnx import ModelProto, TensorProto

from tieshare.twin import from_onnx

Check = Callable[..., None]
Make = Callable[[str], ModelProto]

STORED = """
    int64 zero = {0}, int64 two = {2}, int64[1] axis0 = {0}, int64[1] axis1 = {1},
    int64[1] last = {-1}, int64[2] axes23 = {2, 3}, int64[4] four = {2, 3, 6, 5},
    int64[2] flat = {0, -1}, int64[4] wide = {1, 3, 6, 5}, int64[2] short = {6, 1},
    int64[2] starts = {-1, 1}, int64[2] ends = {-9, 5}, int64[2] steps = {-1, 2},
    int64[2] parts = {2, 4}, int64[4] repeats = {1, 2, 1, 3}, int64[2] corners = {1, -1}"""

CASES = [
    (7, "y = Concat <axis = 2> (x, x)"),
    (17, "a = Neg (x) y = Concat <axis = -1> (x, a, x)"),
    (7, "y = Flatten (x)"),
    (9, "y = Flatten <axis = 3> (x)"),
    (9, "y = Flatten <axis = 4> (x)"),
    (13, "y = Flatten <axis = 0> (x)"),
    (13, "y = Flatten <axis = -2> (x)"),
    (7, "y = Identity (x)"),
    (7, "y = Reshape (x, flat)"),
    (14, "y = Reshape <allowzero = 1> (x, four)"),
    (17, "s = Shape (x) n = Gather (s, zero) m = Unsqueeze (n, axis0) "
         "t = Concat <axis = 0> (m, last) y = Reshape (x, t)"),
    (17, "s = Shape <start = 2> (x) t = Concat <axis = 0> (last, s) y = Reshape (x, t)"),
    (17, "s = Shape <end = -2> (x) t = Concat <axis = 0> (s, last) y = Reshape (x, t)"),
    (13, "s = Size (x) m = Unsqueeze (s, axis0) y = Reshape (x, m)"),
    (17, "s = Shape (x) n = Slice (s, axis0, axis1) d = Div (n, n) t = Concat <axis = 0> (d, last) "
         "y = Reshape (x, t)"),
    (7, "y = Slice <starts = [1], ends = [9], axes = [3]> (x)"),
    (9, "y = Slice <starts = [1, -3], ends = [2, -1]> (x)"),
    (10, "y = Slice (x, starts, ends, axes23, steps)"),
    (13, "y = Slice (x, corners, parts)"),
    (13, "s = Shape (x) e = Gather (s, last) y = Slice (x, axis1, e, last)"),
    (13, "s = Shape (x) e = Gather (s, axes23) y = Slice (x, starts, e, axes23)"),
    (7, "a, y = Split <axis = 2, split = [2, 4]> (x)"),
    (7, "a, b, y = Split <axis = 1> (x)"),
    (11, "a, y = Split <axis = -2> (x)"),
    (13, "a, y = Split <axis = 2> (x, parts)"),
    (13, "a, y = Split <axis = 2> (x)"),
    (18, "a, y = Split <axis = 3, num_outputs = 2> (x)"),
    (18, "a, b, y = Split <axis = 3, num_outputs = 3> (x)"),
    (7, "u = Unsqueeze <axes = [1, 5]> (x) y = Squeeze <axes = [1]> (u)"),
    (11, "u = Unsqueeze <axes = [1, -1]> (x) y = Squeeze <axes = [-1]> (u)"),
    (13, "u = Unsqueeze (x, axis1) v = Unsqueeze (u, last) y = Squeeze (v, axis1)"),
    (13, "u = Unsqueeze (x, corners) y = Squeeze (u)"),
    (7, "y = Tile (x, repeats)"),
    (13, "s = Shape (x) y = Tile (x, s)"),
    (7, "y = Transpose <perm = [0, 2, 3, 1]> (x)"),
    (17, "y = Transpose (x)"),
    (8, "e = ReduceMean <axes = [2]> (x) y = Expand (e, wide)"),
    (13, "s = Shape (x) e = ReduceMean <axes = [0, 2], keepdims = 0> (x) u = Unsqueeze (e, axis1) "
         "y = Expand (u, s)"),
    (13, "y = Expand (x, short)"),
    (9, "y = ConstantOfShape <value = float[1] {2}> (four)"),
    (13, "s = Shape (x) y = ConstantOfShape (s)"),
    (15, "y = CastLike (x, x)"),
]  # fmt: skip


def _x(*shape: int) -> dict[str, NDArray[Any]]:
    return {"x": np.random.default_rng(1).normal(size=shape or (2, 3, 6, 5)).astype(np.float32)}


@pytest.mark.parametrize(("opset", "nodes"), CASES)
def test_elements_go_where_onnx_runtime_puts_them(agree: Check, opset: int, nodes: str) -> None:
    agree(opset, nodes, _x(), STORED)


@pytest.mark.parametrize("nodes", [
    "s = Shape (x) y = Gather (s, zero)",
    "y = Size (x)",
    "y = ConstantOfShape <value = int64[1] {7}> (parts)",
    "c = Cast <to = 7> (x) y = Range (zero, two, c)",
])  # fmt: skip
def test_shapes_are_whole_numbers(agree: Check, nodes: str) -> None:
    x = np.float32(1) if "Range" in nodes else _x()["x"]
    agree(13, nodes, {"x": np.asarray(x)}, STORED, "int64[] y")


@pytest.mark.parametrize(("mode", "opset"), [("", 7), ("", 13), ("DCR", 11), ("CRD", 13)])
def test_blocks_move_between_depth_and_space(agree: Check, mode: str, opset: int) -> None:
    option = f', mode = "{mode}"' if mode else ""
    agree(opset, f"y = DepthToSpace <blocksize = 2 {option}> (x)", _x(2, 8, 2, 3))
    agree(opset, "y = SpaceToDepth <blocksize = 2> (x)", _x(2, 3, 4, 6))


@pytest.mark.parametrize("limits", [(0, 5, 1), (5, 0, -2), (3, 3, 1), (2, 1, 1), (0.5, 3, 0.75)])
def test_a_range_goes_up_or_down_or_is_empty(
    agree: Check, limits: tuple[float, float, float]
) -> None:
    start, limit, delta = (np.array(value, dtype=np.float32) for value in limits)
    fed = {"start": start, "limit": limit, "delta": delta}
    agree(11, "y = Range (start, limit, delta)", fed)
    stored = ", ".join(f"float {name} = {{{float(value)}}}" for name, value in fed.items())
    agree(
        11,
        "z = Range (start, limit, delta) y = Add (z, x)",
        {"x": np.ones((1, 1), dtype=np.float32)},
        stored,
    )


def test_ones_lie_on_a_diagonal(agree: Check) -> None:
    for k in (-1, 0, 2):
        agree(9, f"y = EyeLike <k = {k}> (x)", _x(3, 4))
        agree(9, f"y = EyeLike <k = {k}, dtype = 7> (x)", _x(4, 3), outputs="int64[] y")


def test_numbers_are_cut_off_when_they_become_whole(agree: Check) -> None:
    x = np.array([-2.7, -0.2, 0.0, 0.9, 3.5], dtype=np.float32)
    for opset in (7, 13, 21):
        agree(opset, "i = Cast <to = 6> (x) y = Cast <to = 1> (i)", {"x": x})
        agree(opset, "y = Cast <to = 9> (x)", {"x": x}, outputs="bool[] y")
        agree(opset, "h = Cast <to = 10> (x) y = Cast <to = 1> (h)", {"x": x})


@pytest.mark.parametrize("element", [
    TensorProto.FLOAT8E4M3FN,
    TensorProto.FLOAT8E4M3FNUZ,
    TensorProto.FLOAT8E5M2,
    TensorProto.FLOAT8E5M2FNUZ,
])  # fmt: skip
@pytest.mark.parametrize("saturate", [0, 1])
def test_numbers_too_large_for_a_byte_saturate_or_overflow(
    agree: Check, element: int, saturate: int
) -> None:
    x = np.array([1, -3.3, 448, 463, 500, -1e6, 1e-3, np.inf, np.nan], dtype=np.float32)
    node = f"h = Cast <to = {element}, saturate = {saturate}> (x) y = Cast <to = 1> (h)"
    agree(19, node, {"x": x})


@pytest.mark.parametrize(("element", "expected"), [
    (TensorProto.INT4, [1, -7, 0, -8, 7]),
    (TensorProto.UINT4, [1, 9, 0, 8, 7]),
    (TensorProto.INT2, [1, 1, 0, 0, -1]),
    (TensorProto.FLOAT4E2M1, [1, 6, -0.5, 6, -6]),
])  # fmt: skip
def test_numbers_of_less_than_a_byte_are_told_by_their_values(
    from_text: Make, element: int, expected: list[float]
) -> None:
    model = from_text(f"""
        <ir_version: 13, opset_import: ["" : 28]>
        small (float[5] x) => (float[5] y) {{
            c = Cast <to = {element}> (x)
            y = Cast <to = 1> (c)
        }}""")
    result = from_onnx(model)(torch.tensor([1.2, 9.0, -0.6, 8.0, -9.0]))
    assert isinstance(result, torch.Tensor)
    assert result.tolist() == expected


@pytest.mark.parametrize(("mode", "expected"), [
    ("up", [4, 0.5, 2.0**-127]), ("down", [2, 0.5, 2.0**-127]), ("nearest", [4, 0.5, 2.0**-127]),
])  # fmt: skip
def test_scales_are_powers_of_two(from_text: Make, mode: str, expected: list[float]) -> None:
    model = from_text(f"""
        <ir_version: 13, opset_import: ["" : 24]>
        scales (float[3] x) => (float[3] y) {{
            c = Cast <to = {TensorProto.FLOAT8E8M0}, round_mode = "{mode}"> (x)
            y = Cast <to = 1> (c)
        }}""")
    result = from_onnx(model)(torch.tensor([3.0, 0.5, 0.0]))
    assert isinstance(result, torch.Tensor)
    assert result.tolist() == expected


def test_bits_are_read_as_another_type(from_text: Make) -> None:
    model = from_text("""
        <ir_version: 13, opset_import: ["" : 26]>
        bits (float[2] x) => (int32[2] y) { y = BitCast <to = 6> (x) }""")
    result = from_onnx(model)(torch.tensor([1.0, -2.0]))
    assert isinstance(result, torch.Tensor)
    assert result.tolist() == [0x3F800000, 0xC0000000 - 2**32]


def test_depth_comes_first_where_the_newest_opset_says_so(from_text: Make) -> None:
    model = from_text("""
        <ir_version: 13, opset_import: ["" : 28]>
        blocks (float[1, 2, 2, 2] x) => (float[1, 8, 1, 1] y) {
            y = SpaceToDepth <blocksize = 2, mode = "CRD"> (x)
        }""")
    result = from_onnx(model)(torch.arange(8.0).reshape(1, 2, 2, 2))
    assert isinstance(result, torch.Tensor)
    assert result.flatten().tolist() == [0, 1, 2, 3, 4, 5, 6, 7]


def test_gradients_are_those_of_differences(differentiate: Check) -> None:
    for nodes in (
        "a = Reshape (x, flat) y = Transpose (a)",
        "a, b = Split <axis = 1, num_outputs = 2> (x) y = Concat <axis = 1> (b, x, a)",
        "y = Slice (x, starts, ends, axes, steps)",
        "y = Tile (x, repeats)",
    ):
        constants = {
            "flat": [0, -1],
            "starts": [-1, 1],
            "ends": [-9, 5],
            "axes": [1, 2],
            "steps": [-1, 2],
            "repeats": [1, 2, 2],
        }
        used = [name for name in constants if f"{name}," in nodes or f"{name})" in nodes]
        made = " ".join(f"{n} = Constant <value_ints = {constants[n]}> ()" for n in used)
        x = {"x": _x(2, 3, 4)["x"].astype(np.float64)}
        differentiate(18, f"{made} {nodes}", x, outputs="double[] y")


def test_a_fixed_shape_touches_no_tensor(from_text: Make) -> None:
    """Targets that are stored are read once, so they may lie on any device."""
    model = from_text("""
        <ir_version: 8, opset_import: ["" : 17]>
        still (float[2, 6] x) => (float[3, 2] y)
        <int64[2] t = {-1, 2}, int64[1] b = {0}, int64[1] e = {3}, int64[1] a = {0}> {
            r = Reshape (x, t)
            y = Slice (r, b, e, a)
        }""")
    twin = from_onnx(model).to("meta")
    result = twin(torch.empty(2, 6, device="meta"))
    assert isinstance(result, torch.Tensor)
    assert result.shape == (3, 2)
