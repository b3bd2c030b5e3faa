"""The output that training works on, and what comes before its activation."""

from collections.abc import Callable

import pytest
from onnx import ModelProto

from tieshare.errors import UnsupportedModel
from tieshare.graph import Head, find_head

Make = Callable[[str], ModelProto]


def head_of(from_text: Make, nodes: str, output: str = "float[N, 3] y", opset: int = 17) -> Head:
    return find_head(
        from_text(f"""
            <ir_version: 8, opset_import: ["" : {opset}]>
            head (float[N, 3] x) => ({output}) <float one = {{1.0}}> {{ z = Neg (x) {nodes} }}""")
    )


def test_a_plain_output_is_its_own_logits(from_text: Make) -> None:
    assert head_of(from_text, "y = Relu (z)") == Head("y", "y", None, (3,))


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
    assert head == Head("probabilities", "add_result2", "sigmoid_pair", (2,))


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
