"""Patterns of layers: which unit of one is which row of the next."""

from collections.abc import Callable

import numpy as np
import onnxruntime
from numpy.typing import NDArray
from onnx import ModelProto

from tieshare.graph import (
    Link,
    Structure,
    find_head,
    from_rows,
    structure_of,
    tensors,
    to_rows,
    with_tensors,
)

Make = Callable[[str], ModelProto]
OPSET = '<ir_version: 8, opset_import: ["" : 17]>'


def only_link(structure: Structure) -> Link:
    assert len(structure.links) == 1
    return structure.links[0]


def test_the_units_of_a_linear_layer_are_the_rows_of_the_next(from_text: Make) -> None:
    model = from_text(f"""{OPSET}
        chain (float[N, 3] x) => (float[N, 2] y)
        <float[4, 3] w1, float[4] b1, float[2, 4] w2, float[2] b2> {{
            [first] h = Gemm <transB = 1> (x, w1, b1)
            r = Relu (h)
            [second] y = Gemm <transB = 1> (r, w2, b2)
        }}""")
    link = only_link(structure_of(model))
    assert (link.producer, link.consumer) == ("first", "second")
    assert link.unit_of_row.tolist() == [0, 1, 2, 3]
    assert link.carried == ()
    assert link.reshapes == ()


def test_each_channel_of_a_convolution_is_height_times_width_rows_after_flatten(
    from_text: Make,
) -> None:
    model = from_text(f"""{OPSET}
        conv (float[N, 1, 6, 8] x) => (float[N, 2] y)
        <float[3, 1, 3, 3] k, float[3] c, float[18, 2] w> {{
            [conv] f = Conv (x, k, c)
            p = MaxPool <kernel_shape = [2, 2], strides = [2, 2]> (f)
            flat = Flatten (p)
            [dense] y = Gemm (flat, w)
        }}""")
    link = only_link(structure_of(model))
    assert link.unit_of_row.tolist() == [0] * 6 + [1] * 6 + [2] * 6


def test_channels_last_flatten_interleaves_the_channels(from_text: Make) -> None:
    model = from_text(f"""{OPSET}
        keras (float[N, 4, 4, 2] x) => (float[N, 2] y)
        <float[3, 2, 3, 3] k, int64[2] flat = {{-1, 12}}, float[12, 2] w, float[2] b> {{
            nchw = Transpose <perm = [0, 3, 1, 2]> (x)
            [conv] f = Conv (nchw, k)
            nhwc = Transpose <perm = [0, 2, 3, 1]> (f)
            x2 = Reshape (nhwc, flat)
            [dense] m = MatMul (x2, w)
            y = Add (m, b)
        }}""")
    link = only_link(structure_of(model))
    assert link.unit_of_row.tolist() == [0, 1, 2] * 4
    assert link.reshapes == (3,)


def test_a_reshape_that_leaves_the_count_open_needs_no_correction(from_text: Make) -> None:
    model = from_text(f"""{OPSET}
        open (float[N, 1, 4, 4] x) => (float[N, 2] y)
        <float[3, 1, 3, 3] k, int64[2] flat = {{0, -1}}, float[12, 2] w> {{
            f = Conv (x, k)
            x2 = Reshape (f, flat)
            y = MatMul (x2, w)
        }}""")
    link = only_link(structure_of(model))
    assert link.unit_of_row.tolist() == [0] * 4 + [1] * 4 + [2] * 4
    assert link.reshapes == ()


def test_a_flatten_by_the_size_of_the_batch_is_followed(from_text: Make) -> None:
    model = from_text(f"""{OPSET}
        glue (float[N, 1, 4, 4] x) => (float[N, 2] y)
        <float[3, 1, 3, 3] k, int64 zero = {{0}}, int64[1] axes = {{0}}, int64[1] rest = {{-1}},
         float[12, 2] w> {{
            f = Conv (x, k)
            shape = Shape (f)
            n = Gather (shape, zero)
            n1 = Unsqueeze (n, axes)
            target = Concat <axis = 0> (n1, rest)
            x2 = Reshape (f, target)
            y = MatMul (x2, w)
        }}""")
    link = only_link(structure_of(model))
    assert link.unit_of_row.tolist() == [0] * 4 + [1] * 4 + [2] * 4


def test_batch_norm_slopes_and_scales_in_between_are_carried(from_text: Make) -> None:
    model = from_text(f"""{OPSET}
        carried (float[N, 1, 5, 5] x) => (float[N, 2, 3, 3] y)
        <float[3, 1, 3, 3] k1, float[3] g, float[3] b, float[3] mean, float[3] var,
         float[3, 1, 1] slope, float[1, 3, 1, 1] scale, float half, float[3] outer,
         float[2, 3, 1, 1] k2> {{
            [first] f = Conv (x, k1)
            n = BatchNormalization (f, g, b, mean, var)
            p = PRelu (n, slope)
            s = Mul (scale, p)
            h = Mul (s, half)
            o = Sub (h, outer)
            [second] y = Conv (o, k2)
        }}""")
    link = only_link(structure_of(model))
    assert link.unit_of_row.tolist() == [0, 1, 2]
    assert link.carried == (
        ("g", 0),
        ("b", 0),
        ("mean", 0),
        ("var", 0),
        ("slope", 0),
        ("scale", 1),
    )


def test_an_activation_written_as_two_nodes_joins_again(from_text: Make) -> None:
    model = from_text(f"""{OPSET}
        silu (float[N, 3] x) => (float[N, 2] y)
        <float[3, 4] w1, float[4] b1, float[4, 2] w2> {{
            m = MatMul (x, w1)
            a = Add (m, b1)
            s = Sigmoid (a)
            h = Mul (a, s)
            y = MatMul (h, w2)
        }}""")
    structure = structure_of(model)
    assert only_link(structure).unit_of_row.tolist() == [0, 1, 2, 3]
    assert [layer.bias for layer in structure.layers] == ["b1", None]


def test_padding_beside_the_picture_belongs_to_its_channel(from_text: Make) -> None:
    model = from_text(f"""{OPSET}
        pad (float[N, 1, 3, 3] x) => (float[N, 2] y)
        <float[2, 1, 3, 3] k, int64[8] pads = {{0, 0, 0, 1, 0, 0, 0, 0}}, float[4, 2] w> {{
            f = Conv (x, k)
            p = Pad (f, pads)
            flat = Flatten (p)
            y = MatMul (flat, w)
        }}""")
    assert only_link(structure_of(model)).unit_of_row.tolist() == [0, 0, 1, 1]


def test_padding_beside_the_channels_belongs_to_nobody(from_text: Make) -> None:
    model = from_text(f"""{OPSET}
        pad (float[N, 1, 3, 3] x) => (float[N, 2] y)
        <float[2, 1, 3, 3] k, int64[8] pads = {{0, 1, 0, 0, 0, 2, 0, 0}}, float[5, 2] w> {{
            f = Conv (x, k)
            p = Pad (f, pads)
            flat = Flatten (p)
            y = MatMul (flat, w)
        }}""")
    assert only_link(structure_of(model)).unit_of_row.tolist() == [-1, 0, 1, -1, -1]


def test_global_pooling_by_reduce_mean_leaves_one_row_a_channel(from_text: Make) -> None:
    model = from_text(f"""{OPSET}
        pooled (float[N, 1, 5, 5] x) => (float[N, 2] y)
        <float[3, 1, 3, 3] k, float[3, 2] w> {{
            f = Conv (x, k)
            m = ReduceMean <axes = [2, 3], keepdims = 0> (f)
            y = MatMul (m, w)
        }}""")
    assert only_link(structure_of(model)).unit_of_row.tolist() == [0, 1, 2]


def test_a_sequence_is_linked_along_its_last_axis(from_text: Make) -> None:
    model = from_text(f"""{OPSET}
        sequence (float[N, 5, 3] x) => (float[N, 5, 2] y)
        <float[3, 4] w1, float[4] b, float[4, 2] w2> {{
            m = MatMul (x, w1)
            a = Add (b, m)
            t = Tanh (a)
            y = MatMul (t, w2)
        }}""")
    structure = structure_of(model)
    assert structure.layers[0].bias == "b"
    assert only_link(structure).unit_of_row.tolist() == [0, 1, 2, 3]


def test_every_layer_of_lenet5_is_linked_to_the_next(zoo: Make) -> None:
    for name in ("lenet5-dynamo-free", "lenet5-script-fixed"):
        structure = structure_of(zoo(name))
        sizes = [(layer.rows, layer.columns) for layer in structure.layers]
        assert sizes == [(1, 500), (20, 1250), (800, 500), (500, 10)]
        assert [len(link.unit_of_row) for link in structure.links] == [20, 800, 500]
        counts = np.bincount(structure.links[1].unit_of_row)
        assert counts.tolist() == [16] * 50


def test_batch_norm_kept_by_the_exporter_is_carried(zoo: Make) -> None:
    structure = structure_of(zoo("vgg-script-unfolded"))
    assert [len(link.carried) for link in structure.links] == [4, 4, 4, 0]
    assert structure.links[2].carried[0] == ("8.weight", 0)


def test_a_unit_whose_rows_are_dead_does_not_matter(network: ModelProto) -> None:
    """The meaning of a link, in ONNX Runtime: whatever the unit computes, nobody sees it."""
    structure = structure_of(network)
    layers = {layer.name: layer for layer in structure.layers}
    rng = np.random.default_rng(0)
    dims = [dim.dim_value or 50 for dim in network.graph.input[0].type.tensor_type.shape.dim]
    x = rng.normal(size=dims).astype(np.float32)
    assert len(structure.links) == len(structure.layers) - 1
    moved = 0.0
    for link in structure.links:
        producer, consumer = layers[link.producer], layers[link.consumer]
        stored = tensors(network)
        rows = to_rows(consumer, stored[consumer.weight]).copy()
        rows[link.unit_of_row == 0] = 0
        dead = {consumer.weight: from_rows(consumer, rows)}
        columns = to_rows(producer, stored[producer.weight]).copy()
        unit = columns.reshape(producer.rows, producer.units, -1)
        unit[:, 0] = rng.normal(size=unit[:, 0].shape)
        changed = {**dead, producer.weight: from_rows(producer, columns)}
        outputs = [run(with_tensors(network, values), x) for values in (dead, changed, {})]
        np.testing.assert_array_equal(outputs[0], outputs[1])
        moved = max(moved, float(np.abs(outputs[0] - outputs[2]).max()))
    assert moved > 0


def run(model: ModelProto, x: NDArray[np.float32]) -> NDArray[np.float32]:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(model.SerializeToString(), options)
    feeds = {session.get_inputs()[0].name: x}
    return np.asarray(session.run([find_head(model).output], feeds)[0])
