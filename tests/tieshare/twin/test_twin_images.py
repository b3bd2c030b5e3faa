"""Padding, resizing and sampling of images in the twin against ONNX Runtime."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from onnx import ModelProto
from onnx.reference import ReferenceEvaluator
from torch.nn import functional as F  # noqa: N812 - torch's own name for it

from tieshare.twin import from_onnx

Array = NDArray[Any]
Check = Callable[..., None]
Make = Callable[[str], ModelProto]

COORDINATES = ["half_pixel", "pytorch_half_pixel", "asymmetric", "align_corners"]


def _x(*shape: int) -> dict[str, Array]:
    return {"x": np.random.default_rng(1).normal(size=shape).astype(np.float32)}


def _listed(name: str, values: tuple[float, ...], kind: str = "int64") -> str:
    return f"{kind}[{len(values)}] {name} = {{{', '.join(map(str, values))}}}"


def test_pads_are_attributes_and_later_inputs(agree: Check) -> None:
    x, pads = _x(2, 3, 6, 5), (0, 0, 1, 2, 0, 0, 0, 1)
    agree(7, f"y = Pad <pads = {list(pads)}> (x)", x)
    agree(10, f"y = Pad <pads = {list(pads)}, value = 0.5> (x)", x)
    stored = f"{_listed('p', pads)}, float half = {{0.5}}, int64[2] axes = {{-1, 2}}"
    for opset in (11, 13, 21):
        agree(opset, "y = Pad (x, p)", x, stored)
        agree(opset, "y = Pad (x, p, half)", x, stored)
    four = _listed("q", (1, 0, 2, 1))
    agree(18, 'y = Pad (x, q, "", axes)', x, f"{stored}, {four}")
    fed = {**x, "p": np.array(pads), "v": np.array(2.0, dtype=np.float32)}
    agree(13, "y = Pad (x, p, v)", fed)


@pytest.mark.parametrize("mode", ["constant", "reflect", "edge", "wrap"])
@pytest.mark.parametrize(
    ("shape", "pads"),
    [
        ((2, 3, 6, 5), (0, 0, 1, 2, 0, 0, 3, 1)),
        ((2, 3, 6), (0, 0, 2, 0, 0, 1)),
        ((2, 3, 4, 4, 5), (0, 0, 1, 2, 0, 0, 0, 0, 1, 3)),
        ((4, 5), (1, 0, 2, 3)),
        ((2, 3, 6, 5), (1, 2, 1, 0, 0, 1, 0, 1)),
        ((6, 7), (-1, 2, 1, -2)),
        ((6,), (-2, -1)),
    ],
)
def test_what_lies_beyond_the_ends_follows_the_mode(
    agree: Check, mode: str, shape: tuple[int, ...], pads: tuple[int, ...]
) -> None:
    agree(19, f'y = Pad <mode = "{mode}"> (x, p)', _x(*shape), _listed("p", pads))


def test_an_image_is_cut_or_padded_around_its_center(from_text: Make) -> None:
    model = from_text("""
        <ir_version: 10, opset_import: ["" : 18]>
        center (float[2, 5, 6] x) => (float[2, 8, 3] y) <int64[2] size = {8, 3}> {
            y = CenterCropPad <axes = [-2, 2]> (x, size)
        }""")
    x = _x(2, 5, 6)
    (expected,) = ReferenceEvaluator(model).run(None, x)
    result = from_onnx(model)(torch.from_numpy(x["x"]))
    assert isinstance(result, torch.Tensor)
    np.testing.assert_array_equal(result.numpy(), expected)


@pytest.mark.parametrize("coordinates", COORDINATES)
@pytest.mark.parametrize("sizes", [(1, 2, 10, 21), (1, 2, 8, 9), (1, 2, 3, 4), (1, 2, 5, 1)])
def test_all_modes_and_coordinates_resize_as_onnx_runtime_does(
    agree: Check, coordinates: str, sizes: tuple[int, ...]
) -> None:
    x, stored = _x(1, 2, 5, 7), _listed("n", sizes)
    common = f'coordinate_transformation_mode = "{coordinates}"'
    for rounding in ("round_prefer_floor", "ceil"):
        options = f'{common}, nearest_mode = "{rounding}"'
        agree(13, f'y = Resize <{options}> (x, "", "", n)', x, stored)
    for options in (
        'mode = "linear"',
        'mode = "cubic"',
        'mode = "cubic", cubic_coeff_a = -0.5, exclude_outside = 1',
    ):
        agree(13, f'y = Resize <{common}, {options}> (x, "", "", n)', x, stored)
    for mode in ("linear", "cubic"):
        for outside in (0, 1):
            options = f'antialias = 1, mode = "{mode}", exclude_outside = {outside}'
            agree(18, f'y = Resize <{common}, {options}> (x, "", "", n)', x, stored)


@pytest.mark.parametrize("scales", [(1, 1, 2, 3), (1, 1, 1.3, 2.5), (1, 1, 0.6, 0.8)])
def test_sizes_follow_from_scales(agree: Check, scales: tuple[float, ...]) -> None:
    x, stored = _x(1, 2, 5, 7), _listed("s", scales, "float")
    for mode in ("nearest", "linear", "cubic"):
        for coordinates in COORDINATES[:3]:
            options = f'mode = "{mode}", coordinate_transformation_mode = "{coordinates}"'
            agree(13, f'y = Resize <{options}> (x, "", s)', x, stored)
    options = 'mode = "linear", coordinate_transformation_mode = "half_pixel_symmetric"'
    agree(19, f'y = Resize <{options}> (x, "", s)', x, stored)
    fed = {**x, "s": np.array(scales, dtype=np.float32)}
    agree(13, 'y = Resize <mode = "linear"> (x, "", s)', fed)


@pytest.mark.parametrize("mode", ["nearest", "linear"])
def test_opsets_before_11_know_no_coordinates(agree: Check, mode: str) -> None:
    x = _x(1, 2, 5, 7)
    for scales in ((1, 1, 2, 3), (1, 1, 1.5, 2.2)):
        stored = _listed("s", scales, "float")
        agree(7, f'y = Upsample <mode = "{mode}", scales = {[float(s) for s in scales]}> (x)', x)
        agree(9, f'y = Upsample <mode = "{mode}"> (x, s)', x, stored)
        agree(10, f'y = Resize <mode = "{mode}"> (x, s)', x, stored)
    agree(10, f'y = Resize <mode = "{mode}"> (x, s)', x, _listed("s", (1, 1, 0.5, 0.6), "float"))


@pytest.mark.parametrize("shape", [(5,), (4, 5), (2, 3, 6), (1, 2, 3, 4, 5)])
@pytest.mark.parametrize("scale", [2.0, 1.5, 0.5])
def test_any_number_of_axes_is_resized(agree: Check, shape: tuple[int, ...], scale: float) -> None:
    everywhere = _listed("s", (scale,) * len(shape), "float")
    agree(13, 'y = Resize (x, "", s)', _x(*shape), everywhere)
    if len(shape) > 1:
        last = _listed("s", (1, 1, *[scale] * len(shape))[-len(shape) :], "float")
        spatial = last if len(shape) < 4 else _listed("s", (1, 1, *[scale] * 3), "float")
        agree(13, 'y = Resize <mode = "linear"> (x, "", s)', _x(*shape), spatial)


def test_some_axes_are_resized_and_may_keep_their_proportions(agree: Check) -> None:
    for policy in ("stretch", "not_larger", "not_smaller"):
        for sizes in ((7, 9), (3, 9), (10, 4)):
            options = f'mode = "linear", axes = [3, 2], keep_aspect_ratio_policy = "{policy}"'
            node = f'y = Resize <{options}> (x, "", "", n)'
            agree(18, node, _x(1, 2, 5, 7), _listed("n", sizes))


@pytest.mark.parametrize("mode", ["nearest", "linear", "cubic"])
def test_a_region_is_cropped_and_resized(agree: Check, mode: str) -> None:
    stored = f"""{_listed("n", (1, 2, 8, 4))},
        {_listed("roi", (0, 0, 0.2, -0.1, 1, 1, 0.9, 1.2), "float")}"""
    options = 'coordinate_transformation_mode = "tf_crop_and_resize", extrapolation_value = 7.0'
    node = f'y = Resize <mode = "{mode}", {options}> (x, roi, "", n)'
    agree(13, node, _x(1, 2, 5, 7), stored)


def _grid(*shape: int) -> Array:
    return np.random.default_rng(2).uniform(-1.4, 1.4, shape).astype(np.float32)


@pytest.mark.parametrize("padding", ["zeros", "border", "reflection"])
@pytest.mark.parametrize("align", [0, 1])
@pytest.mark.parametrize(("old", "new"), [
    ("bilinear", "linear"), ("nearest", "nearest"), ("bicubic", "cubic"),
])  # fmt: skip
def test_images_are_sampled_at_a_grid(
    agree: Check, padding: str, align: int, old: str, new: str
) -> None:
    options = f'padding_mode = "{padding}", align_corners = {align}'
    inputs = {**_x(2, 3, 4, 5), "g": _grid(2, 6, 3, 2)}
    agree(16, f'y = GridSample <mode = "{old}", {options}> (x, g)', inputs)
    agree(20, f'y = GridSample <mode = "{new}", {options}> (x, g)', inputs)
    if new != "cubic":
        inputs = {**_x(2, 3, 4, 5, 3), "g": _grid(2, 3, 2, 4, 3)}
        agree(20, f'y = GridSample <mode = "{new}", {options}> (x, g)', inputs)


@pytest.mark.parametrize("padding", ["zeros", "border", "reflection"])
@pytest.mark.parametrize("align", [0, 1])
@pytest.mark.parametrize("mode", ["linear", "nearest", "cubic"])
@pytest.mark.parametrize("rank", [1, 3])
def test_lines_and_volumes_are_sampled_as_flat_images_are(
    from_text: Make, padding: str, align: int, mode: str, rank: int
) -> None:
    """All in one plane, or on one line, so that torch's two dimensions are the measure."""
    flat, grid = torch.from_numpy(_x(2, 3, 5, 6)["x"]), torch.from_numpy(_grid(2, 4, 3, 2))
    x, given = flat[:, :, None], torch.cat([grid, torch.zeros(2, 4, 3, 1)], -1)[:, None]
    if rank == 1:
        flat, grid = flat[:, :, :1], torch.stack([grid[:, :1, :, 0], torch.zeros(2, 1, 3)], -1)
        x, given = flat[:, :, 0], grid[:, 0, :, :1]
    model = from_text(f"""
        <ir_version: 10, opset_import: ["" : 20]>
        sampled (float{list(x.shape)} x, float{list(given.shape)} g) => (float y) {{
            y = GridSample <mode = "{mode}", padding_mode = "{padding}", align_corners = {align}>
                (x, g)
        }}""")
    names = {"linear": "bilinear", "cubic": "bicubic"}
    expected = F.grid_sample(flat, grid, names.get(mode, mode), padding, align == 1)
    result = from_onnx(model)(x, given)
    assert isinstance(result, torch.Tensor)
    torch.testing.assert_close(result.reshape(expected.shape), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("align", [0, 1])
@pytest.mark.parametrize("sizes", [(2, 3, 4, 5), (2, 3, 2, 3, 4)])
def test_grids_are_made_of_affine_maps(agree: Check, align: int, sizes: tuple[int, ...]) -> None:
    rank = len(sizes) - 2
    theta = {"t": np.random.default_rng(1).normal(size=(2, rank, rank + 1)).astype(np.float32)}
    node = f"y = AffineGrid <align_corners = {align}> (t, n)"
    agree(20, node, theta, _listed("n", sizes))
    agree(20, node, {**theta, "n": np.array(sizes)})


def test_gradients_are_those_of_differences(differentiate: Check) -> None:
    x = _x(1, 2, 3, 4)["x"].astype(np.float64)
    ints = "Constant <value_ints = {}> ()"
    cubic = 'y = Resize <mode = "cubic", antialias = 1> (x, "", "", n)'
    for nodes in (
        f'p = {ints.format([0, 0, 1, 2, 0, 0, 0, -1])} y = Pad <mode = "reflect"> (x, p)',
        f'n = {ints.format([1, 2, 5, 6])} y = Resize <mode = "linear"> (x, "", "", n)',
        f"n = {ints.format([1, 2, 2, 6])} {cubic}",
        f'n = {ints.format([1, 2, 7, 9])} y = Resize (x, "", "", n)',
    ):
        differentiate(19, nodes, {"x": x}, outputs="double[] y")
    volume = _x(1, 1, 2, 3, 2)["x"].astype(np.float64)
    inputs = {"x": volume, "g": _grid(1, 1, 2, 1, 3).astype(np.float64)}
    differentiate(20, 'y = GridSample <mode = "cubic"> (x, g)', inputs, outputs="double[] y")
