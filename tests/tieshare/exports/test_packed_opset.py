from collections.abc import Callable

import numpy as np
import pytest
from onnx import ModelProto

from tieshare.exports.packed.opset import can_raise

Build = Callable[..., ModelProto]


def one(build: Build, node: str, opset: int) -> ModelProto:
    text = f"g (float[N,4,4,4] x) => (float[N,A,B,C] y) {{ {node} }}"
    return build(text, opset=opset, two=np.array([2, 2]), k=np.ones((4, 4, 1, 1), np.float32))


@pytest.mark.parametrize(
    ("node", "opset"),
    [
        ("y = Conv(x, k)", 7),
        ("y = Relu(x)", 7),
        ("y = Softmax(x)", 13),
        ("y = AveragePool<kernel_shape = [2, 2]>(x)", 18),
        ("y = Cast<to = 1>(x)", 17),
        ("y = Softmax(x)", 21),
    ],
)
def test_operators_that_only_learnt_more_types_keep_their_meaning(
    build: Build, node: str, opset: int
) -> None:
    assert can_raise(one(build, node, opset), 21)


@pytest.mark.parametrize(
    ("node", "opset"),
    [
        ("y = Softmax(x)", 12),  # over the last axis, no more over all from the second on
        ("y = Dropout<ratio = 0.5>(x)", 11),  # the ratio has become an input
        ("y = ReduceMean<axes = [3], keepdims = 1>(x)", 17),  # and so have the axes
        ("y, z = Split<axis = 1>(x)", 13),  # it must say into how many
    ],
)
def test_operators_that_mean_something_else_are_found(build: Build, node: str, opset: int) -> None:
    assert not can_raise(one(build, node, opset), 21)


def test_the_bodies_of_control_flow_are_searched_too(build: Build) -> None:
    text = (
        "g (float[N,4] x, bool c) => (float[N,4] y) { y = If(c) <"
        "  then_branch = a () => (float[N,4] p) { p = Softmax(x) },"
        "  else_branch = b () => (float[N,4] q) { q = Relu(x) }> }"
    )
    assert not can_raise(build(text, opset=12), 21)
    assert can_raise(build(text, opset=13), 21)


def test_a_model_with_functions_of_its_own_is_left_alone(build: Build) -> None:
    model = one(build, "y = Relu(x)", 18)
    model.functions.add(name="f", domain="mine")
    assert not can_raise(model, 21)
