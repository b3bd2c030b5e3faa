"""Patterns of layers behind which units can't be told apart: all of them stay."""

from collections.abc import Callable

from onnx import ModelProto

from tieshare.graph import structure_of

Make = Callable[[str], ModelProto]
OPSET = '<ir_version: 8, opset_import: ["" : 17]>'


def test_a_flatten_to_a_computed_number_of_features_is_a_barrier(from_text: Make) -> None:
    model = from_text(f"""{OPSET}
        glue (float[N, 3] x) => (float[N, 2] y)
        <float[3, 4] w1, int64 one = {{1}}, int64[1] axes = {{0}}, int64[1] first = {{-1}},
         float[4, 2] w2> {{
            h = MatMul (x, w1)
            shape = Shape (h)
            n = Gather (shape, one)
            n1 = Unsqueeze (n, axes)
            target = Concat <axis = 0> (first, n1)
            x2 = Reshape (h, target)
            y = MatMul (x2, w2)
        }}""")
    assert structure_of(model).links == ()


def test_a_carried_tensor_that_something_else_reads_is_a_barrier(from_text: Make) -> None:
    model = from_text(f"""{OPSET}
        shared (float[N, 3] x) => (float[N, 3] y)
        <float[3, 3] w1, float[3] s, float[3, 3] w2> {{
            h = MatMul (x, w1)
            a = Mul (h, s)
            m = MatMul (a, w2)
            y = Mul (m, s)
        }}""")
    assert structure_of(model).links == ()


def test_a_residual_sum_is_a_barrier(from_text: Make) -> None:
    model = from_text(f"""{OPSET}
        residual (float[N, 4] x) => (float[N, 2] y)
        <float[4, 4] w1, float[4, 4] w2, float[4, 2] w3> {{
            a = MatMul (x, w1)
            r = Relu (a)
            b = MatMul (r, w2)
            s = Add (a, b)
            y = MatMul (s, w3)
        }}""")
    assert structure_of(model).links == ()


def test_two_layers_that_read_the_same_units_are_a_barrier(from_text: Make) -> None:
    model = from_text(f"""{OPSET}
        branches (float[N, 3] x) => (float[N, 2] y)
        <float[3, 4] w1, float[4, 2] w2, float[4, 2] w3> {{
            h = MatMul (x, w1)
            a = MatMul (h, w2)
            b = MatMul (h, w3)
            y = Add (a, b)
        }}""")
    assert len(structure_of(model).layers) == 3
    assert structure_of(model).links == ()


def test_softmax_between_layers_is_a_barrier(from_text: Make) -> None:
    model = from_text(f"""{OPSET}
        softmax (float[N, 3] x) => (float[N, 2] y)
        <float[3, 4] w1, float[4, 2] w2> {{
            h = MatMul (x, w1)
            s = Softmax (h)
            y = MatMul (s, w2)
        }}""")
    assert structure_of(model).links == ()


def test_a_value_that_leaves_the_graph_is_a_barrier(from_text: Make) -> None:
    model = from_text(f"""{OPSET}
        output (float[N, 3] x) => (float[N, 2] y, float[N, 4] r)
        <float[3, 4] w1, float[4, 2] w2> {{
            h = MatMul (x, w1)
            r = Relu (h)
            y = MatMul (r, w2)
        }}""")
    assert structure_of(model).links == ()


def test_a_grouped_convolution_is_no_layer_and_a_barrier(from_text: Make) -> None:
    model = from_text(f"""{OPSET}
        grouped (float[N, 2, 5, 5] x) => (float[N, 2, 3, 3] y)
        <float[4, 2, 1, 1] k1, float[4, 1, 3, 3] k2, float[2, 4, 1, 1] k3> {{
            [first] a = Conv (x, k1)
            [depthwise] b = Conv <group = 4> (a, k2)
            [last] y = Conv (b, k3)
        }}""")
    structure = structure_of(model)
    assert [layer.name for layer in structure.layers] == ["first", "last"]
    assert structure.links == ()


def test_a_weight_used_twice_is_one_layer_without_links(from_text: Make) -> None:
    model = from_text(f"""{OPSET}
        recurrent (float[N, 4] x) => (float[N, 2] y)
        <float[4, 4] w, float[4, 2] last> {{
            a = MatMul (x, w)
            r = Relu (a)
            b = MatMul (r, w)
            y = MatMul (b, last)
        }}""")
    structure = structure_of(model)
    assert [(layer.weight, layer.uses) for layer in structure.layers] == [("w", 2), ("last", 1)]
    assert structure.links == ()


def test_a_bias_used_twice_keeps_its_units(from_text: Make) -> None:
    model = from_text(f"""{OPSET}
        bias (float[N, 4] x) => (float[N, 4] y)
        <float[4, 4] w1, float[4] b, float[4, 4] w2> {{
            h = Gemm (x, w1, b)
            r = Relu (h)
            y = Gemm (r, w2, b)
        }}""")
    assert structure_of(model).links == ()


def test_a_mean_over_the_units_is_a_barrier(from_text: Make) -> None:
    model = from_text(f"""{OPSET}
        pooled (float[N, 1, 5, 5] x) => (float[N, 1, 3, 2] y)
        <float[3, 1, 3, 3] k, float[3, 2] w> {{
            f = Conv (x, k)
            m = ReduceMean <axes = [1]> (f)
            y = MatMul (m, w)
        }}""")
    assert structure_of(model).links == ()


def test_a_reshape_that_mixes_channels_is_a_barrier(from_text: Make) -> None:
    model = from_text(f"""{OPSET}
        mixed (float[N, 1, 4, 4] x) => (float[N, 8, 2] y)
        <float[4, 1, 3, 3] k, int64[3] shape = {{0, 8, 2}}, float[2, 2] w> {{
            f = Conv (x, k)
            s = Reshape (f, shape)
            y = MatMul (s, w)
        }}""")
    assert structure_of(model).links == ()


def test_a_sequence_turned_on_its_side_is_a_barrier(from_text: Make) -> None:
    model = from_text(f"""{OPSET}
        turned (float[N, 4, 3] x) => (float[N, 4, 2] y)
        <float[3, 4] w1, float[4, 2] w2> {{
            m = MatMul (x, w1)
            t = Transpose <perm = [0, 2, 1]> (m)
            y = MatMul (t, w2)
        }}""")
    assert structure_of(model).links == ()


def test_the_unused_mask_of_dropout_does_not_matter_but_a_used_one_does(from_text: Make) -> None:
    text = f"""{OPSET}
        dropout (float[N, 3] x) => (float[N, 2] y)
        <float[3, 4] w1, float[4, 2] w2> {{{{
            h = MatMul (x, w1)
            d, mask = Dropout (h)
            {{}}
        }}}}"""
    unused = from_text(text.format("y = MatMul (d, w2)"))
    used = "m = Cast <to = 1> (mask) z = MatMul (m, w2) v = MatMul (d, w2) y = Add (v, z)"
    assert len(structure_of(unused).links) == 1
    assert structure_of(from_text(text.format(used))).links == ()
