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
def test_gemm_that_does_more_than_a_product_is_a_layer_too(
    from_text: Make, attributes: str
) -> None:
    model = from_text(f"""{OPSET}
        gemm (float[3, 3] x) => (float[3, 2] y) <float[3, 2] w, float[2] b> {{
            y = Gemm {attributes} (x, w, b)
        }}""")
    layer = only_layer(model)
    assert (layer.rows, layer.units, layer.row_axis, layer.bias) == (3, 2, 0, "b")


def test_a_weight_may_stand_on_the_left_of_a_product(from_text: Make) -> None:
    model = from_text(f"""{OPSET}
        left (float[3, 5] x) => (float[5, 2] y) <float[4, 3] w1, float[4, 2] w2, float[4, 2] b> {{
            h = MatMul (w1, x)
            y = Gemm <transA = 1> (h, w2)
        }}""")
    first, second = structure_of(model).layers
    assert (first.slot, first.row_axis, first.unit_axis, first.input) == (0, 1, 0, "x")
    assert (first.rows, first.units) == (3, 4)
    assert (second.slot, second.row_axis, second.unit_axis) == (1, 0, 1)


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


@pytest.mark.parametrize(
    ("node", "shape", "layer"),
    [
        ("Conv <group = 2> (x, w)", "6, 2, 3, 3", (1, 0, 2, 6, (3, 3))),
        ("ConvTranspose (x, w)", "4, 6, 2, 2", (0, 1, 4, 6, (2, 2))),
        ("ConvTranspose <group = 2> (x, w)", "4, 3, 2, 2", (0, 1, 4, 3, (2, 2))),
        ("MatMul (x, w)", "3, 5, 7", (1, 2, 5, 7, (3,))),
        ('Einsum <equation = "nchw,wk->nchk"> (x, w)', "5, 7", (0, 1, 5, 7, ())),
        ('Einsum <equation = "nchw,wkm->nchkm"> (x, w)', "5, 7, 2", (0, 2, 5, 2, (7,))),
        ('Einsum <equation = "nchw,chm->nmw"> (x, w)', "4, 5, 2", (0, 2, 4, 2, (5,))),
    ],
)
def test_rows_lie_along_the_axis_that_a_node_sums_over(
    from_text: Make, node: str, shape: str, layer: tuple[int, int, int, int, tuple[int, ...]]
) -> None:
    places = "3" if "MatMul" in node else "4"
    model = from_text(f"""{OPSET}
        kinds (float[N, {places}, 5, 5] x) => (float[A, B, C, D] y) <float[{shape}] w> {{
            y = {node}
        }}""")
    found = only_layer(model)
    assert layer == (found.row_axis, found.unit_axis, found.rows, found.units, found.kernel)
    assert found.columns == tensors(model)["w"].size // found.rows
    W = to_rows(found, tensors(model)["w"])
    np.testing.assert_array_equal(from_rows(found, W), tensors(model)["w"])


def test_the_entries_of_a_table_are_rows(from_text: Make) -> None:
    model = from_text(f"""{OPSET}
        table (int64[N, T] tokens) => (float[N, T, 3] y) <float[7, 3] w> {{
            y = Gather (w, tokens)
        }}""")
    layer = only_layer(model)
    assert (layer.rows, layer.units, layer.input) == (7, 3, "tokens")


def test_a_recurrent_cell_is_two_layers(from_text: Make) -> None:
    model = from_text(f"""{OPSET}
        cell (float[T, N, 5] x) => (float[T, 2, N, 3] y)
        <float[2, 12, 5] w, float[2, 12, 3] r> {{
            [lstm] y = LSTM <hidden_size = 3, direction = "bidirectional"> (x, w, r)
        }}""")
    first, second = structure_of(model).layers
    assert (first.name, first.rows, first.units, first.kernel) == ("lstm", 5, 12, (2,))
    assert (second.name, second.rows, second.units) == ("lstm.recurrent", 3, 12)
    assert (second.slot, second.row_axis, second.unit_axis) == (2, 2, 1)


def test_a_weight_that_several_nodes_read_is_one_layer(from_text: Make) -> None:
    model = from_text(f"""{OPSET}
        twice (float[N, 4] x) => (float[N, 2] y) <float[4, 4] w, float[4, 2] last> {{
            a = MatMul (x, w)
            r = Relu (a)
            b = MatMul (r, w)
            y = MatMul (b, last)
        }}""")
    layers = structure_of(model).layers
    assert [(layer.weight, layer.uses) for layer in layers] == [("w", 2), ("last", 1)]


def test_a_product_of_two_stored_tensors_is_no_layer(from_text: Make) -> None:
    model = from_text(f"""{OPSET}
        stored (float[N, 4] x) => (float[N, 2] y) <float[4, 3] a, float[3, 2] b> {{
            w = MatMul (a, b)
            y = MatMul (x, w)
        }}""")
    assert structure_of(model).layers == ()
