"""Which nodes stand in the way of training."""

from collections.abc import Callable

import pytest
from onnx import ModelProto, defs

from tieshare.errors import UnsupportedOperator
from tieshare.graph import OPERATORS, check_operators

Make = Callable[[str], ModelProto]


def test_the_oldest_opset_of_each_operator_has_that_operator() -> None:
    for name, rule in OPERATORS.items():
        domain, _, operator = name.rpartition(".")
        assert defs.has(operator, domain=domain, max_inclusive_version=rule.since), name


def test_every_refusal_names_the_node_and_says_why(from_text: Make) -> None:
    cases = {
        "[bad] y = Sin (x)": "not known",
        "[bad] y = Dropout (x, half, yes)": "training mode",
        '[bad] y = Pad <mode = "wrap"> (x, pads)': "mode is 'wrap'",
        "z = Cast <to = 7> (x) [bad] y = Pad (x, z)": "not a constant",
        "[bad] z, y = MaxPool <kernel_shape = [1]> (x)": "output 'y' is used",
        "[bad] y = Add (x, four_bits)": "int4",
    }
    for node, reason in cases.items():
        model = from_text(f"""
            <ir_version: 10, opset_import: ["" : 21]>
            refused (float[2, 3, 4] x) => (float[2, 3, 4] y)
            <float half = {{0.5}}, bool yes = {{1}}, int64[6] pads = {{0, 0, 0, 0, 0, 1}},
             int4[4] four_bits = {{1, 2, 3, 4}}> {{ {node} }}""")
        with pytest.raises(UnsupportedOperator, match=reason) as caught:
            check_operators(model)
        assert caught.value.where == "bad"
        assert caught.value.opset == 21


def test_an_opset_older_than_the_operator_is_refused(from_text: Make) -> None:
    model = from_text("""
        <ir_version: 3, opset_import: ["" : 6]>
        old (float[2] x) => (float[2] y) { [relu] y = Relu (x) }""")
    with pytest.raises(UnsupportedOperator, match="from opset 7"):
        check_operators(model)


def test_batch_norm_that_was_exported_in_training_mode_is_refused(from_text: Make) -> None:
    model = from_text("""
        <ir_version: 8, opset_import: ["" : 15]>
        train (float[2, 3] x) => (float[2, 3] y)
        <float[3] g, float[3] b, float[3] mean, float[3] var> {
            [norm] y, m, v = BatchNormalization <training_mode = 1> (x, g, b, mean, var)
        }""")
    with pytest.raises(UnsupportedOperator, match="evaluation mode"):
        check_operators(model)


def test_nodes_that_only_serve_other_outputs_are_left_alone(zoo: Make) -> None:
    model = zoo("sklearn-classifier")
    check_operators(model, ["probabilities"])
    with pytest.raises(UnsupportedOperator, match="ArgMax"):
        check_operators(model)


def test_a_setting_that_nodes_compute_from_constants_is_known(from_text: Make) -> None:
    model = from_text("""
        <ir_version: 8, opset_import: ["" : 17]>
        folded (float[2, 3] x) => (float[2, 5] y)
        <int64[2] front = {0, 2}, int64[1] two = {2}> {
            back = ConstantOfShape <value = int64[1] {0}> (two)
            pads = Concat <axis = 0> (front, back)
            y = Pad (x, pads)
        }""")
    check_operators(model)
