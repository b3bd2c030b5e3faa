"""The outputs that training works on, what comes before their activation, and their classes."""

from collections.abc import Callable

import pytest
from onnx import ModelProto

from tieshare.errors import UnsupportedModel
from tieshare.graph import Head, describe, find_head, find_heads

Make = Callable[[str], ModelProto]


def head_of(from_text: Make, nodes: str, output: str = "float[N, 3] y", opset: int = 17) -> Head:
    return find_head(
        from_text(f"""
            <ir_version: 8, opset_import: ["" : {opset}]>
            head (float[N, 3] x) => ({output}) <float one = {{1.0}}> {{ z = Neg (x) {nodes} }}""")
    )


def test_a_plain_output_is_its_own_logits(from_text: Make) -> None:
    assert head_of(from_text, "y = Relu (z)") == Head("y", "y", None, (3,), None)


@pytest.mark.parametrize(
    ("nodes", "activation"),
    [
        ("y = Softmax (z)", "softmax"),
        ("y = LogSoftmax <axis = 1> (z)", "log_softmax"),
        ("y = Sigmoid (z)", "sigmoid"),
        ("s = Softmax (z) t = Identity (s) y = Identity (t)", "softmax"),
    ],
)
def test_the_last_activation_is_looked_through(
    from_text: Make, nodes: str, activation: str
) -> None:
    head = head_of(from_text, nodes)
    assert (head.output, head.logits, head.activation) == ("y", "z", activation)


def test_before_opset_13_softmax_means_axis_1_and_all_behind_it(from_text: Make) -> None:
    assert head_of(from_text, "y = Softmax (z)", opset=12).activation == "softmax"
    picture = "u = Unsqueeze <axes = [2]> (z) y = Softmax (u)"
    assert head_of(from_text, picture, "float[N, 3, 1] y", opset=12).activation is None


def test_softmax_over_the_batch_is_no_activation_of_classes(from_text: Make) -> None:
    assert head_of(from_text, "y = Softmax <axis = 0> (z)").activation is None


def test_two_classes_from_one_sigmoid_have_one_logit(zoo: Make) -> None:
    head = find_head(zoo("sklearn-binary"))
    assert head == Head("probabilities", "add_result2", "sigmoid_pair", (2,), 1)


def test_a_pair_that_does_not_add_up_to_one_is_no_sigmoid_pair(from_text: Make) -> None:
    nodes = "s = Sigmoid (z) t = Sub (one, z) y = Concat <axis = 1> (t, s)"
    assert head_of(from_text, nodes, "float[N, 6] y").activation is None


def test_labels_beside_the_probabilities_are_left_alone(zoo: Make) -> None:
    assert find_head(zoo("sklearn-multilabel")).output == "probabilities"
    assert find_head(zoo("sklearn-multilabel")).activation == "sigmoid"


def test_the_shape_follows_from_the_nodes_where_the_file_is_wrong(from_text: Make) -> None:
    assert head_of(from_text, "y = Neg (z)", "float[N, 7] y").shape == (3,)


def test_no_float_output_or_several_are_refused(from_text: Make) -> None:
    with pytest.raises(UnsupportedModel, match="zipmap"):
        head_of(from_text, "y = ArgMax (z)", "int64[1, 3] y")
    with pytest.raises(UnsupportedModel, match="several"):
        head_of(from_text, "y = Neg (z) v = Neg (y)", "float[N, 3] y, float[N, 3] v")


def heads_of(from_text: Make, nodes: str, outputs: str, stored: str = "") -> tuple[Head, ...]:
    return find_heads(
        from_text(f"""
            <ir_version: 8, opset_import: ["" : 17]>
            heads (float[N, T, 4, 4] x) => ({outputs}) <{stored}> {{ {nodes} }}""")
    )


def test_every_output_of_floats_has_a_head_in_the_order_of_the_graph(from_text: Make) -> None:
    nodes = "a = Neg (x) b = Sigmoid (x) k = ArgMax (x)"
    shape = "[N, T, 4, 4]"
    heads = heads_of(from_text, nodes, f"float{shape} b, int64[N, 1, 4, 4] k, float{shape} a")
    assert [(head.output, head.logits) for head in heads] == [("b", "x"), ("a", "a")]


def test_among_several_outputs_one_of_unknown_shape_is_left_alone(from_text: Make) -> None:
    model = from_text("""
        <ir_version: 8, opset_import: ["" : 17]>
        g (float[N, 3] x, int64[K] shape) => (float[N, 3] a, float b) {
            a = Neg (x) b = Reshape (x, shape)
        }""")
    del model.graph.output[1].type.tensor_type.shape.dim[:]
    model.graph.output[1].type.tensor_type.ClearField("shape")
    assert [head.output for head in find_heads(model)] == ["a"]
    del model.graph.output[0]
    with pytest.raises(UnsupportedModel, match="the shape of output 'b' is not known"):
        find_heads(model)


@pytest.mark.parametrize("axis", [1, 2, 3, -1])
def test_the_softmax_tells_the_axis_of_the_classes(from_text: Make, axis: int) -> None:
    nodes = f"y = Softmax <axis = {axis}> (x)"
    (head,) = heads_of(from_text, nodes, "float[N, T, 4, 4] y")
    assert (head.logits, head.axis) == ("x", axis % 4)


@pytest.mark.parametrize(
    ("nodes", "stored", "axis"),
    [
        ("y = MatMul (x, w)", "float[4, 4] w", 3),
        ("m = MatMul (x, w) y = Add (b, m)", "float[4, 4] w, float[4] b", 3),
        ("m = MatMul (x, w) a = Add (m, b) y = Sigmoid (a)", "float[4, 4] w, float[4] b", 3),
        ("y = Conv (x, w)", "float[4, 4, 1, 1] w", 1),
        ("c = Conv (x, w) a = Add (c, b) y = Identity (a)", "float[4, 4, 1, 1] w, float b", 1),
        ("y = ConvTranspose (x, w)", "float[4, 4, 1, 1] w", 1),
        ("c = Conv (x, w) y = Transpose <perm = [0, 2, 3, 1]> (c)", "float[4, 4, 1, 1] w", None),
        ("c = Conv (x, w) y = Add (c, x)", "float[4, 4, 1, 1] w", None),
        ("y = Relu (x)", "", None),
    ],
)
def test_the_layer_behind_the_output_tells_it_where_no_softmax_does(
    from_text: Make, nodes: str, stored: str, axis: int | None
) -> None:
    (head,) = heads_of(from_text, nodes, "float[N, T, 4, 4] y", stored)
    assert head.axis == axis


def test_free_axes_have_the_names_that_the_file_declares(from_text: Make) -> None:
    (head,) = heads_of(from_text, "y = Neg (x)", "float[N, T, 4, 4] y")
    assert head.shape == ("T", 4, 4)


def test_the_card_says_where_the_classes_of_each_output_lie(from_text: Make) -> None:
    model = from_text("""
        <ir_version: 8, opset_import: ["" : 17]>
        g (float[N, T, 4] x) => (float[N, 9, 9] a, float[N, T, 3] b) <float[4, 3] w> {
            b = MatMul (x, w)
            a = Relu (x)
        }""")
    card = describe(model)
    assert card.axes == {"b": 2}
    assert [spec.shape for spec in card.outputs] == [("N", None, 4), ("N", "T", 3)]
