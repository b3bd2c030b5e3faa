"""Multiplications of small graphs, counted by hand."""

from collections.abc import Callable

import numpy as np
import pytest
from onnx import ModelProto

from tieshare.exports.macs import COUNTS, macs

Array = np.ndarray
Build = Callable[..., ModelProto]


def ones(*shape: int) -> Array:
    return np.ones(shape, dtype=np.float32)


def of(
    build: Build, inputs: str, body: str, *, axes: int = 2, opset: int = 17, **stored: Array
) -> int:
    """Of the graph ``y = body`` on these inputs; its output has so many ``axes``."""
    shape = ", ".join("ABCDE"[:axes])
    return macs(build(f"g ({inputs}) => (float[{shape}] y) {{ {body} }}", opset, 11, **stored))


def test_a_product_takes_inputs_times_units(build: Build) -> None:
    assert of(build, "float[N, 6] x", "y = MatMul (x, w)", w=ones(6, 4)) == 6 * 4
    assert of(build, "float[N, 6] x", "y = Gemm (x, w, b)", w=ones(6, 4), b=ones(4)) == 6 * 4
    assert of(build, "float[N, 6] x", "y = Gemm <transB = 1> (x, w)", w=ones(4, 6)) == 6 * 4


def test_a_transposed_left_side_is_summed_over_its_first_axis(build: Build) -> None:
    body = "t = Transpose <perm = [1, 0]> (x) y = Gemm <transA = 1> (t, w)"
    assert of(build, "float[N, 6] x", body, w=ones(6, 4)) == 6 * 4


def test_a_product_is_taken_at_every_step(build: Build) -> None:
    assert of(build, "float[N, 5, 6] x", "y = MatMul (x, w)", axes=3, w=ones(6, 4)) == 5 * 6 * 4


def test_a_product_of_two_activations_counts_as_well(build: Build) -> None:
    body = "t = Transpose <perm = [0, 2, 1]> (x) y = MatMul (x, t)"
    assert of(build, "float[N, 5, 6] x", body, axes=3) == 5 * 5 * 6


def test_a_product_with_a_vector_has_one_unit(build: Build) -> None:
    assert of(build, "float[N, 6] x", "y = MatMul (x, w)", axes=1, w=ones(6)) == 6


@pytest.mark.parametrize(
    ("settings", "kernel", "expected"),
    [
        ("", (8, 3, 3, 3), 8 * (5 * 5) * 3 * (3 * 3)),  # 7 x 7 without padding: 5 x 5 places
        ("<pads = [1, 1, 1, 1]>", (8, 3, 3, 3), 8 * (7 * 7) * 3 * (3 * 3)),
        ("<strides = [2, 2]>", (8, 3, 3, 3), 8 * (3 * 3) * 3 * (3 * 3)),
        ("<dilations = [2, 2]>", (8, 3, 3, 3), 8 * (3 * 3) * 3 * (3 * 3)),
        ("<group = 3>", (6, 1, 3, 3), 6 * (5 * 5) * (3 * 3)),
    ],
)
def test_a_convolution_takes_its_kernel_at_every_place(
    build: Build, settings: str, kernel: tuple[int, ...], expected: int
) -> None:
    body = f"y = Conv {settings} (x, w)"
    assert of(build, "float[N, 3, 7, 7] x", body, axes=4, w=ones(*kernel)) == expected


@pytest.mark.parametrize(
    ("settings", "kernel", "expected"),
    [
        ("<strides = [2, 2]>", (3, 8, 2, 2), 3 * (7 * 7) * 8 * (2 * 2)),
        ("<group = 3>", (3, 4, 2, 2), 3 * (7 * 7) * 4 * (2 * 2)),
    ],
)
def test_a_transposed_convolution_spreads_every_input(
    build: Build, settings: str, kernel: tuple[int, ...], expected: int
) -> None:
    body = f"y = ConvTranspose {settings} (x, w)"
    assert of(build, "float[N, 3, 7, 7] x", body, axes=4, w=ones(*kernel)) == expected


@pytest.mark.parametrize(
    ("equation", "left", "right", "expected"),
    [
        ("nk,ku->nu", "N, 6", (6, 4), 6 * 4),
        ("n t k, k u -> n t u", "N, 5, 6", (6, 4), 5 * 6 * 4),
        ("...k,ku->...u", "N, 5, 6", (6, 4), 5 * 6 * 4),
        ("nk,k->nk", "N, 6", (6,), 6),
    ],
)
def test_an_einsum_multiplies_once_for_all_letters_together(
    build: Build, equation: str, left: str, right: tuple[int, ...], expected: int
) -> None:
    body = f'y = Einsum <equation = "{equation}"> (x, w)'
    axes = left.count(",") + 1
    assert of(build, f"float[{left}] x", body, axes=axes, w=ones(*right)) == expected


def test_an_einsum_of_three_multiplies_twice_and_of_one_never(build: Build) -> None:
    three = 'y = Einsum <equation = "nk,k,ku->nu"> (x, v, w)'
    assert of(build, "float[N, 6] x", three, v=ones(6), w=ones(6, 4)) == 2 * 6 * 4
    assert of(build, "float[N, 6] x", 'y = Einsum <equation = "nk->kn"> (x)') == 0


@pytest.mark.parametrize(("operator", "gates"), [("RNN", 1), ("GRU", 3), ("LSTM", 4)])
@pytest.mark.parametrize(("direction", "ways"), [("forward", 1), ("bidirectional", 2)])
def test_a_recurrent_layer_multiplies_its_inputs_and_its_state_at_every_step(
    build: Build, operator: str, gates: int, direction: str, ways: int
) -> None:
    body = (
        "s = Transpose <perm = [1, 0, 2]> (x)"  # (steps, N, 6)
        f'y = {operator} <hidden_size = 4, direction = "{direction}"> (s, w, r)'
    )
    w, r = ones(ways, gates * 4, 6), ones(ways, gates * 4, 4)
    expected = 5 * ways * gates * (4 * 6 + 4 * 4)
    assert of(build, "float[N, 5, 6] x", body, axes=4, w=w, r=r) == expected


# Queries of 5 steps in 4 heads of 6, keys of 7 steps, values of 3 a head.
HEADS = 4 * 5 * 7 * (6 + 3)


@pytest.mark.parametrize("heads", [4, 2, 1])
def test_attention_weighs_every_key_for_every_query(build: Build, heads: int) -> None:
    """Where queries share the heads of keys and values it takes as many multiplications."""
    k, v = ones(1, heads, 7, 6), ones(1, heads, 7, 3)
    body = "y = Attention (x, k, v)"
    assert of(build, "float[1, 4, 5, 6] x", body, axes=4, opset=23, k=k, v=v) == HEADS


@pytest.mark.parametrize("heads", [4, 2])
def test_attention_may_have_its_heads_side_by_side(build: Build, heads: int) -> None:
    k, v = ones(1, 7, heads * 6), ones(1, 7, heads * 3)
    body = f"y = Attention <q_num_heads = 4, kv_num_heads = {heads}> (x, k, v)"
    assert of(build, "float[1, 5, 24] x", body, axes=3, opset=23, k=k, v=v) == HEADS


def test_layers_add_up_and_what_multiplies_no_matrix_is_free(build: Build) -> None:
    body = (
        "h = Gemm (x, w1, b1) r = Relu (h) n = Mul (r, g) z = MatMul (n, w2)"
        " y = Softmax <axis = 1> (z)"
    )
    w1, w2 = ones(6, 9), ones(9, 4)
    found = of(build, "float[N, 6] x", body, w1=w1, b1=ones(9), g=ones(9), w2=w2)
    assert found == 6 * 9 + 9 * 4


def test_what_is_constant_is_computed_when_the_file_is_loaded(build: Build) -> None:
    body = "w = MatMul (table, mix) y = MatMul (x, w)"
    assert of(build, "float[N, 6] x", body, table=ones(6, 50), mix=ones(50, 4)) == 6 * 4


def test_a_fixed_batch_is_counted_for_one_sample(build: Build) -> None:
    assert of(build, "float[8, 6] x", "y = MatMul (x, w)", w=ones(6, 4)) == 6 * 4


def test_free_axes_have_the_lengths_of_the_samples(build: Build) -> None:
    model = build("g (float[N, T, 6] x) => (float[N, T, 4] y) { y = MatMul (x, w) }", w=ones(6, 4))
    assert macs(model, [ones(10, 3, 6)]) == 3 * 6 * 4
    assert macs(model, [ones(10, 11, 6)]) == 11 * 6 * 4


def test_every_operator_has_been_counted_here() -> None:
    counted = "Attention Conv ConvTranspose Einsum GRU Gemm LSTM MatMul RNN"
    assert sorted(COUNTS) == counted.split()
