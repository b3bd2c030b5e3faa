"""Gathering and scattering in the twin against ONNX Runtime: reductions, negative places."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from onnx import ModelProto

from tieshare.twin import from_onnx

Array = NDArray[Any]
Check = Callable[..., None]
Make = Callable[[str], ModelProto]

STORED = """
    int64 zero = {0}, int64 minus_one = {-1}, int64[3] indices = {2, -1, 0},
    int64[2, 2] square = {0, 1, -1, 2}, int64[3] plain = {2, 1, 0}"""


def _x(*shape: int) -> Array:
    return np.random.default_rng(1).normal(size=shape).astype(np.float32)


def _places(*shape: int, length: int) -> Array:
    return np.random.default_rng(2).integers(-length, length, shape)


@pytest.mark.parametrize("axis", [0, 1, -1])
@pytest.mark.parametrize("indices", ["zero", "minus_one", "indices", "square", "plain"])
def test_entries_are_gathered_along_an_axis(agree: Check, axis: int, indices: str) -> None:
    agree(13, f"y = Gather <axis = {axis}> (x, {indices})", {"x": _x(4, 3, 5)}, STORED)
    agree(7, f"y = Gather <axis = {axis}> (x, {indices})", {"x": _x(4, 3)}, STORED)


def test_rows_of_an_embedding_are_gathered_by_fed_tokens(agree: Check) -> None:
    tokens = {"i": _places(2, 7, length=5)}
    agree(13, "y = Gather (w, i)", tokens, "float[5, 4] w")
    agree(13, "j = Cast <to = 6> (i) y = Gather (w, j)", tokens, "float[5, 4] w")


@pytest.mark.parametrize("axis", [0, 1, -1])
def test_single_elements_are_gathered(agree: Check, axis: int) -> None:
    inputs = {"x": _x(4, 4, 4), "i": _places(4, 4, 4, length=4)}
    agree(11, f"y = GatherElements <axis = {axis}> (x, i)", inputs)
    agree(13, f"y = GatherElements <axis = {axis}> (x, i)", {**inputs, "i": inputs["i"][:2, :3]})


@pytest.mark.parametrize(
    ("batch_dims", "shape"), [(0, (3, 2)), (0, (2, 3)), (0, (1,)), (1, (2, 2)), (1, (2, 5, 1))]
)
def test_slices_are_gathered_by_tuples(
    agree: Check, batch_dims: int, shape: tuple[int, ...]
) -> None:
    inputs = {"x": _x(2, 3, 4), "i": _places(*shape, length=2)}
    agree(13, f"y = GatherND <batch_dims = {batch_dims}> (x, i)", inputs)
    if batch_dims == 0:
        agree(11, "y = GatherND (x, i)", inputs)


def test_a_condition_keeps_entries(agree: Check) -> None:
    for keep in ([True, False, True], [False, True]):
        inputs = {"x": _x(3, 3, 2), "c": np.array(keep)}
        for options in ("", "<axis = 0>", "<axis = -2>"):
            agree(11, f"y = Compress {options} (x, c)", inputs)


def test_places_that_are_not_zero_are_listed(agree: Check) -> None:
    agree(13, "y = NonZero (x)", {"x": np.round(_x(3, 4))}, outputs="int64[] y")


@pytest.mark.parametrize("axis", [-1, 0, 1])
def test_one_entry_is_hot(agree: Check, axis: int) -> None:
    inputs = {"i": np.array([[0, 2, -1], [4, -4, 9]])}
    for depth in ("int64 d = {4}", "int64[1] d = {3}", "float d = {5}"):
        for opset in (9, 11):
            node = f"y = OneHot <axis = {axis}> (i, d, v)"
            agree(opset, node, inputs, f"{depth}, float[2] v = {{-1, 3}}")
    fed = {**inputs, "d": np.array(4), "v": np.array([0.5, 2], dtype=np.float32)}
    agree(11, f"y = OneHot <axis = {axis}> (i, d, v)", fed)


def test_sequences_are_reversed_up_to_their_length(agree: Check) -> None:
    for options, lengths in (("", [1, 4, 2]), ("<batch_axis = 0, time_axis = 1>", [3, 1, 2, 3])):
        inputs = {"x": _x(4, 3, 2), "n": np.array(lengths)}
        agree(10, f"y = ReverseSequence {options} (x, n)", inputs)


@pytest.mark.parametrize("axis", [0, -1])
def test_elements_are_scattered(agree: Check, axis: int) -> None:
    places = np.stack([np.random.default_rng(3).permutation(4)[:3] for _ in range(3)])
    inputs = {"x": _x(4, 4), "i": places if axis else places.T.copy(), "u": _x(3, 3)}
    agree(9, f"y = Scatter <axis = {axis}> (x, i, u)", inputs)
    agree(11, f"y = ScatterElements <axis = {axis}> (x, i, u)", inputs)
    inputs["i"] = _places(3, 3, length=4)
    for opset, reductions in ((16, ("add", "mul")), (18, ("add", "mul", "max", "min"))):
        for reduction in reductions:
            options = f'<axis = {axis}, reduction = "{reduction}">'
            agree(opset, f"y = ScatterElements {options} (x, i, u)", inputs)


def test_slices_are_scattered_by_tuples(agree: Check) -> None:
    x = _x(4, 3, 2)
    apart = {"x": x, "i": np.array([[0, 1], [-1, 2], [2, -3]]), "u": _x(3, 2)}
    for opset in (11, 13, 18):
        agree(opset, "y = ScatterND (x, i, u)", apart)
    whole = {"x": x, "i": np.array([[[1]], [[-1]]]), "u": _x(2, 1, 3, 2)}
    single = {"x": x, "i": np.array([[0, 1, 1], [0, 1, 1], [3, 2, 0]]), "u": _x(3)}
    for opset, reductions in ((16, ("add", "mul")), (18, ("add", "mul", "max", "min"))):
        for reduction in reductions:
            for inputs in (apart, whole, single):
                agree(opset, f'y = ScatterND <reduction = "{reduction}"> (x, i, u)', inputs)


def test_triangles_are_kept(agree: Check) -> None:
    for upper in (0, 1):
        agree(14, f"y = Trilu <upper = {upper}> (x)", {"x": _x(2, 3, 4)})
        for k in (-1, 0, 2):
            node = f"y = Trilu <upper = {upper}> (x, k)"
            agree(14, node, {"x": _x(2, 3, 4)}, f"int64 k = {{{k}}}")
            agree(14, node, {"x": _x(2, 3, 4), "k": np.array(k)})


@pytest.mark.parametrize(
    "options", ["sorted = 1", "axis = 0", "axis = -1", "sorted = 0", "axis = 1, sorted = 0"]
)
def test_what_is_twice_is_kept_once(agree: Check, options: str) -> None:
    x = np.random.default_rng(4).integers(0, 2, (4, 3)).astype(np.float32)
    outputs = "float[] y, int64[] first, int64[] inverse, int64[] counts"
    agree(11, f"y, first, inverse, counts = Unique <{options}> (x)", {"x": x}, outputs=outputs)


@pytest.mark.parametrize("mode", ["linear", "circular"])
def test_steps_are_written_into_a_cache(from_text: Make, mode: str) -> None:
    model = from_text(f"""
        <ir_version: 13, opset_import: ["" : 24]>
        cached (float[2, 4, 3] cache, float[2, 2, 3] update, int64[2] at) => (float[2, 4, 3] y) {{
            y = TensorScatter <mode = "{mode}", axis = 1> (cache, update, at)
        }}""")
    cache, update = torch.zeros(2, 4, 3), torch.arange(12.0).reshape(2, 2, 3) + 1
    start = 3 if mode == "circular" else 2
    result = from_onnx(model)(cache, update, torch.tensor([0, start]))
    assert isinstance(result, torch.Tensor)
    assert result[0, :2].equal(update[0])
    assert result[1, [start, (start + 1) % 4]].equal(update[1])
    assert int((result == 0).sum()) == 12


def test_gradients_are_those_of_differences(differentiate: Check) -> None:
    x, u = _x(4, 3).astype(np.float64), _x(2, 3).astype(np.float64)
    rows, places = np.array([[1], [-1]]), np.array([[0, 2, 1], [-1, 0, 3]])
    scatter = 'ScatterElements <reduction = "{}"> (x, i, u)'
    for nodes, inputs in (
        ("y = Gather (x, i)", {"x": x, "i": rows}),
        ("y = GatherElements (x, i)", {"x": x, "i": places}),
        ("y = GatherND (x, i)", {"x": x, "i": rows}),
        ("y = ScatterND (x, i, u)", {"x": x, "i": rows, "u": u}),
        ('y = ScatterND <reduction = "max"> (x, i, u)', {"x": x, "i": rows, "u": u}),
        ("y = ScatterElements (x, i, u)", {"x": x, "i": places, "u": u}),
        ("y = " + scatter.format("add"), {"x": x, "i": places, "u": u}),
        ("y = " + scatter.format("mul"), {"x": x, "i": places, "u": u}),
        ("y, f, v, c = Unique (x)", {"x": x}),
        ("y = Trilu (x)", {"x": x}),
    ):
        differentiate(18, nodes, inputs, outputs="double[] y")
