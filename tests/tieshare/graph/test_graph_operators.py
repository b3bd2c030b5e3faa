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
        "[bad] y = Bernoulli (x)": "not known",
        "[bad] y = Mish (x)": "from opset 18",
        "[bad] y = BatchNormalization <spatial = 0> (x, s, s, s, s)": "statistics for every",
    }
    for node, reason in cases.items():
        model = from_text(f"""
            <ir_version: 8, opset_import: ["" : 15]>
            refused (float[2, 3, 4] x) => (float[2, 3, 4] y) <float[3] s> {{ {node} }}""")
        with pytest.raises(UnsupportedOperator, match=reason) as caught:
            check_operators(model)
        assert caught.value.where == "bad"
        assert caught.value.opset == 15


def test_an_opset_older_than_the_operator_is_refused(from_text: Make) -> None:
    model = from_text("""
        <ir_version: 3, opset_import: ["" : 5]>
        old (float[2] x) => (float[2] y) { [relu] y = Relu (x) }""")
    with pytest.raises(UnsupportedOperator, match="from opset 6"):
        check_operators(model)


def test_nodes_that_only_serve_other_outputs_are_left_alone(zoo: Make) -> None:
    model = zoo("sklearn-classifier")
    check_operators(model, ["probabilities"])
    check_operators(model, ["probabilities"])
    with pytest.raises(UnsupportedOperator, match="ArrayFeatureExtractor"):
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
