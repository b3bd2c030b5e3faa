"""Convolutions in the twin, of one to three dimensions."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from onnx import ModelProto
from torch.nn import functional as F  # noqa: N812 - torch's own name for it

from tieshare.twin import from_onnx

Check = Callable[..., None]
Make = Callable[[str], ModelProto]
Sizes = tuple[int, ...]


def draw(**shapes: Sizes) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(1)
    return {name: rng.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}


CONVOLUTIONS = [
    ("group = 1", (8, 4, 3, 2)),
    ("pads = [1, 1, 1, 1], kernel_shape = [3, 2]", (8, 4, 3, 2)),
    ("pads = [1, 0, 2, 3]", (8, 4, 3, 2)),
    ("strides = [2, 1], dilations = [1, 2]", (8, 4, 3, 2)),
    ('auto_pad = "SAME_UPPER", strides = [2, 2]', (8, 4, 3, 2)),
    ('auto_pad = "SAME_LOWER", strides = [1, 2]', (8, 4, 2, 4)),
    ('auto_pad = "VALID", dilations = [2, 1]', (8, 4, 3, 2)),
    ("group = 2, pads = [1, 1, 1, 1]", (8, 2, 3, 3)),
    ("group = 4", (8, 1, 3, 3)),
    ("strides = [2, 3]", (8, 4, 1, 1)),
    ("strides = [2, 1], pads = [1, 0, 0, 1]", (8, 4, 1, 1)),
    ('auto_pad = "SAME_UPPER", strides = [2, 2]', (8, 4, 1, 1)),
]
TRANSPOSED = [
    ("group = 1", (4, 6, 3, 2)),
    ("pads = [1, 1, 1, 1], strides = [2, 2], output_padding = [1, 1]", (4, 6, 3, 3)),
    ("pads = [1, 0, 0, 1], strides = [2, 3]", (4, 6, 3, 3)),
    ("pads = [0, 0, 1, 2], strides = [2, 3], dilations = [2, 1]", (4, 6, 3, 3)),
    ('auto_pad = "SAME_UPPER", strides = [2, 2]', (4, 6, 3, 4)),
    ('auto_pad = "SAME_LOWER", strides = [2, 2]', (4, 6, 3, 4)),
    ('auto_pad = "VALID", strides = [2, 2]', (4, 6, 2, 2)),
    ('auto_pad = "SAME_UPPER", strides = [3, 3]', (4, 6, 1, 1)),
    ("output_shape = [12, 9], strides = [2, 2]", (4, 6, 2, 2)),
    ("output_shape = [13, 11], strides = [2, 2]", (4, 6, 2, 2)),
    ('auto_pad = "SAME_UPPER", output_shape = [11, 9], strides = [2, 2]', (4, 6, 2, 2)),
    ("group = 2, strides = [2, 2]", (4, 3, 2, 2)),
    ("group = 4, dilations = [1, 3]", (4, 1, 2, 2)),
]


@pytest.mark.parametrize("opset", [7, 11, 22])
@pytest.mark.parametrize(("options", "kernel"), CONVOLUTIONS)
def test_conv_computes_what_onnx_runtime_computes(
    agree: Check, opset: int, options: str, kernel: Sizes
) -> None:
    inputs = draw(x=(2, 4, 6, 5))
    agree(opset, f"y = Conv <{options}> (x, k, c)", inputs, f"float{list(kernel)} k, float[8] c")


@pytest.mark.parametrize("opset", [7, 11, 22])
@pytest.mark.parametrize(("options", "kernel"), TRANSPOSED)
def test_conv_transpose_computes_what_onnx_runtime_computes(
    agree: Check, opset: int, options: str, kernel: Sizes
) -> None:
    groups = next((n for n in (2, 4) if f"group = {n}" in options), 1)
    stored = f"float{list(kernel)} k, float[{groups * kernel[1]}] c"
    agree(opset, f"y = ConvTranspose <{options}> (x, k, c)", draw(x=(2, 4, 6, 5)), stored)


@pytest.mark.parametrize("channels", [1, 3, 7, 9, 15])
def test_gradients_of_windows_of_one_entry_with_others_between_them(
    from_text: Make, channels: int
) -> None:
    """Of so few channels oneDNN writes behind its memory (issue 6035), or hangs."""
    twin = from_onnx(
        from_text(f"""
        <ir_version: 10, opset_import: ["" : 20]>
        steps (float[N, {channels}, 16, 16] x) => (float[N, 11, 8, 8] y)
        <float[11, {channels}, 1, 1] k> {{ y = Conv <strides = [2, 2]> (x, k) }}""")
    )
    k = twin.parameter("k")
    x = torch.from_numpy(draw(x=(32, channels, 16, 16))["x"])
    for _ in range(20):
        twin.zero_grad()
        twin(x.contiguous(memory_format=torch.channels_last)).square().sum().backward()
    exact = k.detach().double().requires_grad_()
    F.conv2d(x.double()[:, :, ::2, ::2], exact).square().sum().backward()
    assert k.grad is not None
    assert exact.grad is not None
    torch.testing.assert_close(k.grad.double(), exact.grad, rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("operator", ["Conv", "ConvTranspose"])
@pytest.mark.parametrize("rank", [1, 3])
def test_convolutions_run_in_one_and_three_dimensions(
    agree: Check, operator: str, rank: int
) -> None:
    options = f'auto_pad = "SAME_LOWER", strides = {[2] * rank}, group = 2'
    kernel = [4, 2, *[3] * rank] if operator == "Conv" else [4, 3, *[3] * rank]
    channels = 4 if operator == "Conv" else 6
    stored = f"float{kernel} k, float[{channels}] c"
    inputs = draw(x=(2, 4, *(7, 6, 5)[:rank]))
    agree(17, f"y = {operator} <{options}> (x, k, c)", inputs, stored)


@pytest.mark.parametrize(
    ("nodes", "kernel"),
    [
        ("y = Conv <pads = [1, 0, 0, 1]> (x, k, c)", (4, 2, 3, 2)),
        ('y = Conv <auto_pad = "SAME_UPPER"> (x, k, c)', (4, 2, 3, 2)),
        ("y = ConvTranspose <strides = [2, 2], pads = [1, 0, 0, 1]> (x, k, c)", (2, 4, 3, 2)),
        ("y = ConvTranspose <strides = [2, 2], pads = [0, 0, 2, 1]> (x, k, c)", (2, 4, 3, 2)),
    ],
)
def test_a_computed_kernel_of_unknown_size_has_gradients(
    agree: Check, differentiate: Check, nodes: str, kernel: Sizes
) -> None:
    inputs = draw(x=(1, 2, 4, 3), k=kernel, c=(4,))
    agree(17, nodes, inputs)
    differentiate(17, nodes, inputs)


@pytest.mark.parametrize("rank", [1, 2, 3])
@pytest.mark.parametrize("pads", [0, 1])
def test_col2im_sums_blocks_in_any_number_of_dimensions(
    agree: Check, differentiate: Check, rank: int, pads: int
) -> None:
    image, block = (5, 6, 4)[:rank], (2, 3, 2)[:rank]
    blocks = [n + pads - size + 1 for n, size in zip(image, block, strict=True)]
    inputs = draw(x=(2, 2 * int(np.prod(block)), int(np.prod(blocks))))
    inputs |= {"image": np.array(image), "block": np.array(block)}
    nodes = f"y = Col2Im <pads = {[0] * rank + [pads] * rank}> (x, image, block)"
    agree(18, nodes, inputs)
    small = inputs | {"x": inputs["x"][:1]}
    if rank < 3:
        differentiate(18, nodes, small)


def test_blocks_of_known_size_that_overlap_are_summed_by_torch(agree: Check) -> None:
    stored = "int64[2] image = {6, 5}, int64[2] block = {2, 2}"
    nodes = "y = Col2Im <pads = [1, 1, 1, 1], strides = [2, 1], dilations = [1, 2]>"
    agree(18, f"{nodes} (x, image, block)", draw(x=(2, 12, 20)), stored)


def test_causal_conv_sees_the_past_and_hands_on_its_own_end(from_text: Make) -> None:
    model = from_text("""
        <ir_version: 10, opset_import: ["" : 27]>
        causal (float[2, 3, L] x, float[2, 3, 3] past) => (float[] y, float[] state)
        <float[3, 1, 4] k, float[3] c> {
            y, state = CausalConvWithState <activation = "silu"> (x, k, c, past)
        }""")
    twin = from_onnx(model)
    x, past = torch.randn(2, 3, 7), torch.randn(2, 3, 3)
    y, state = twin(x, past)
    first, between = twin(x[:, :, :2], past)
    second, end = twin(x[:, :, 2:], between)
    torch.testing.assert_close(torch.cat((first, second), dim=2), y)
    torch.testing.assert_close(end, state)
    k, c = twin.parameter("k"), twin.parameter("c")
    whole = torch.cat((past, x), dim=2)
    torch.testing.assert_close(y, F.silu(F.conv1d(whole, k, c, groups=3)))
    torch.testing.assert_close(state, x[:, :, -3:])


def test_causal_conv_without_a_past_sees_zeros_before_its_input(from_text: Make) -> None:
    model = from_text("""
        <ir_version: 10, opset_import: ["" : 27]>
        causal (float[2, 3, 2] x) => (float[] y, float[] state) <float[3, 1, 4] k> {
            y, state = CausalConvWithState (x, k)
        }""")
    twin = from_onnx(model)
    x = torch.randn(2, 3, 2)
    y, state = twin(x)
    torch.testing.assert_close(y[:, :, 0], twin.parameter("k")[:, 0, 3] * x[:, :, 0])
    torch.testing.assert_close(state, F.pad(x, (1, 0)))


DEFORMED = [
    ("", 1, 1),
    ("group = 2", 2, 1),
    ("group = 2, offset_group = 2", 2, 2),
    ("offset_group = 4", 1, 4),
]


@pytest.mark.parametrize(("options", "groups", "parts"), DEFORMED)
def test_deform_conv_computes_what_onnx_runtime_computes(
    agree: Check, options: str, groups: int, parts: int
) -> None:
    more = f"strides = [2, 1], pads = [1, 0, 1, 0], dilations = [1, 2]{', ' * bool(options)}"
    shapes = {"x": (2, 4, 7, 6), "w": (6, 4 // groups, 3, 2), "offset": (2, parts * 12, 4, 4)}
    inputs = draw(**shapes, b=(6,), mask=(2, parts * 6, 4, 4))
    agree(19, f"y = DeformConv <{more}{options}> (x, w, offset, b, mask)", inputs)


def test_a_convolution_that_is_not_deformed_is_a_plain_one(from_text: Make) -> None:
    for rank in (1, 2, 3):
        spatial, size = (5, 6, 4)[:rank], (3, 2, 2)[:rank]
        out = [n - k + 1 for n, k in zip(spatial, size, strict=True)]
        shapes = [[2, 2, *spatial], [4, 2, *size], [2, rank * int(np.prod(size)), *out]]
        given = ", ".join(f"float{s} {n}" for s, n in zip(shapes, "xwo", strict=True))
        model = from_text(f"""
            <ir_version: 10, opset_import: ["" : 22]>
            deformed ({given}) => (float[] y) {{ y = DeformConv (x, w, o) }}""")
        x, w = torch.randn(shapes[0]), torch.randn(shapes[1])
        convolution = (F.conv1d, F.conv2d, F.conv3d)[rank - 1]
        y = from_onnx(model)(x, w, torch.zeros(shapes[2]))
        torch.testing.assert_close(y, convolution(x, w), rtol=1e-4, atol=1e-5)


def test_deform_conv_has_gradients_for_its_offsets_and_its_mask(differentiate: Check) -> None:
    inputs = draw(x=(1, 2, 4, 3), w=(2, 1, 2, 2), o=(1, 16, 3, 2), b=(2,), m=(1, 8, 3, 2))
    # Away from whole numbers, where the slope of the interpolation jumps.
    inputs["o"] = (inputs["o"].round() + 0.4).astype(np.float32)
    differentiate(19, "y = DeformConv <group = 2, offset_group = 2> (x, w, o, b, m)", inputs)
