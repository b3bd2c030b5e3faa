"""Layers, and their weights as rows."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from onnx import ModelProto

from tieshare.graph import Layer, from_rows, structure_of, tensors, to_rows

Make = Callable[[str], ModelProto]
OPSET = '<ir_version: 8, opset_import: ["" : 17]>'


def only_layer(model: ModelProto) -> Layer:
    layers = structure_of(model).layers
    assert len(layers) == 1
    return layers[0]


@pytest.mark.parametrize(
    ("attributes", "shape", "axes"), [("<transB = 1>", "2, 3", (1, 0)), ("", "3, 2", (0, 1))]
)
def test_gemm_counts_its_inputs_along_the_right_axis(
    from_text: Make, attributes: str, shape: str, axes: tuple[int, int]
) -> None:
    model = from_text(f"""{OPSET}
        gemm (float[N, 3] x) => (float[N, 2] y) <float[{shape}] w, float[2] b> {{
            y = Gemm {attributes} (x, w, b)
        }}""")
    layer = only_layer(model)
    assert (layer.row_axis, layer.unit_axis) == axes
    assert (layer.rows, layer.units, layer.columns) == (3, 2, 2)
    assert (layer.input, layer.bias, layer.output) == ("x", "b", "y")
    W = to_rows(layer, tensors(model)["w"])
    x = np.array([[1, 2, 3]], np.float32)
    dense = tensors(model)["w"].T if attributes else tensors(model)["w"]
    np.testing.assert_array_equal(x @ W, x @ dense)


@pytest.mark.parametrize("attributes", ["<transA = 1>", "<alpha = 0.5>", "<beta = 2.0>"])
def test_gemm_that_does_more_than_a_product_is_no_layer(from_text: Make, attributes: str) -> None:
    model = from_text(f"""{OPSET}
        gemm (float[3, 3] x) => (float[3, 2] y) <float[3, 2] w, float[2] b> {{
            y = Gemm {attributes} (x, w, b)
        }}""")
    assert structure_of(model).layers == ()


def test_the_bias_of_a_matmul_is_the_add_behind_it(from_text: Make) -> None:
    model = from_text(f"""{OPSET}
        matmul (float[N, 3] x) => (float[N, 2] y) <float[3, 2] w, float[1, 2] b> {{
            m = MatMul (x, w)
            y = Add (b, m)
        }}""")
    layer = only_layer(model)
    assert (layer.bias, layer.output) == ("b", "y")
    assert (layer.node, layer.bias_node) == (0, 1)


def test_an_add_of_a_whole_picture_is_no_bias(from_text: Make) -> None:
    model = from_text(f"""{OPSET}
        matmul (float[N, 4, 3] x) => (float[N, 4, 2] y) <float[3, 2] w, float[4, 2] positions> {{
            m = MatMul (x, w)
            y = Add (m, positions)
        }}""")
    layer = only_layer(model)
    assert (layer.bias, layer.output) == (None, "m")


def test_a_row_of_a_convolution_is_what_leaves_one_input_channel(from_text: Make) -> None:
    model = from_text(f"""{OPSET}
        conv (float[N, 3, 5, 5] x) => (float[N, 4, 4, 3] y) <float[4, 3, 2, 3] k> {{
            y = Conv (x, k)
        }}""")
    layer, k = only_layer(model), tensors(model)["k"]
    assert (layer.rows, layer.units, layer.columns, layer.kernel) == (3, 4, 24, (2, 3))
    W = to_rows(layer, k)
    np.testing.assert_array_equal(W[1], k[:, 1].ravel())
    np.testing.assert_array_equal(W.reshape(3, 4, -1)[:, 2], k[2].reshape(3, -1))
    np.testing.assert_array_equal(from_rows(layer, W), k)


def test_rows_can_be_put_back_into_a_narrower_layer(from_text: Make) -> None:
    model = from_text(f"""{OPSET}
        conv (float[N, 3, 5, 5] x) => (float[N, 4, 4, 3] y) <float[4, 3, 2, 3] k> {{
            y = Conv (x, k)
        }}""")
    layer, k = only_layer(model), tensors(model)["k"]
    narrow = replace(layer, rows=2, columns=24)
    np.testing.assert_array_equal(from_rows(narrow, to_rows(layer, k)[[0, 2]]), k[:, [0, 2]])


def test_a_weight_that_a_transpose_turns_keeps_its_rows(from_text: Make) -> None:
    model = from_text(f"""{OPSET}
        turned (float[N, 3] x) => (float[N, 2] y) <float[2, 3] w> {{
            t = Transpose <perm = [1, 0]> (w)
            same = Identity (t)
            y = MatMul (x, same)
        }}""")
    layer = only_layer(model)
    assert (layer.weight, layer.row_axis, layer.unit_axis) == ("w", 1, 0)
    np.testing.assert_array_equal(to_rows(layer, tensors(model)["w"]), tensors(model)["w"].T)


def test_a_kernel_that_keras_stores_with_its_units_last_keeps_its_rows(from_text: Make) -> None:
    model = from_text(f"""{OPSET}
        hwio (float[N, 2, 5, 5] x) => (float[N, 4, 3, 3] y) <float[3, 3, 2, 4] k> {{
            oihw = Transpose <perm = [3, 2, 0, 1]> (k)
            y = Conv <kernel_shape = [3, 3]> (x, oihw)
        }}""")
    layer, k = only_layer(model), tensors(model)["k"]
    assert (layer.row_axis, layer.unit_axis, layer.kernel) == (2, 3, (3, 3))
    W = to_rows(layer, k)
    np.testing.assert_array_equal(W[1].reshape(4, 3, 3)[2], k[:, :, 1, 2])
    np.testing.assert_array_equal(from_rows(layer, W), k)


def test_layers_without_names_get_one_each(from_text: Make) -> None:
    model = from_text(f"""{OPSET}
        names (float[N, 3] x) => (float[N, 3] y) <float[3, 3] a, float[3, 3] b, float[3, 3] c> {{
            h = MatMul (x, a)
            [MatMul_0] i = MatMul (h, b)
            [MatMul_0] y = MatMul (i, c)
        }}""")
    names = [layer.name for layer in structure_of(model).layers]
    assert names[1] == "MatMul_0"
    assert len(set(names)) == 3
