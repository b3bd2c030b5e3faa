from collections.abc import Callable
from itertools import islice

import numpy as np
import onnx
from onnx import ModelProto, helper

from tieshare.exports.packed.strip import _short_names, stripped
from tieshare.exports.verify import differences
from tieshare.graph.tensors import tensors

Build = Callable[..., ModelProto]

CONV = (
    "pool (float[N,3,8,8] picture) => (float[N,5,2,2] result)"
    '{ convolved = Conv<auto_pad = "NOTSET", dilations = [1, 1], group = 1, kernel_shape = [3, 3],'
    "   pads = [0, 0, 0, 0], strides = [1, 1]>(picture, weight)"
    "  result = MaxPool<kernel_shape = [3, 3], strides = [2, 2], ceil_mode = 0>(convolved) }"
)


def conv(build: Build) -> ModelProto:
    weight = np.random.default_rng(0).normal(size=(5, 3, 3, 3)).astype(np.float32)
    return build(CONV, weight=weight)


def test_only_attributes_that_change_something_are_kept(build: Build) -> None:
    made = stripped(conv(build))
    kept = [[item.name for item in node.attribute] for node in made.graph.node]
    assert kept == [[], ["kernel_shape", "strides"]]
    assert max(differences(conv(build), made).values()) == 0


def test_inner_names_are_letters_and_outer_ones_stay(build: Build) -> None:
    made = stripped(conv(build))
    first, second = made.graph.node
    assert first.input[0] == "picture"
    assert second.output[0] == "result"
    assert {first.input[1], first.output[0]} == {"a", "b"}
    assert not first.name
    onnx.checker.check_model(made, full_check=True)


def test_an_inner_name_is_never_that_of_an_input(build: Build) -> None:
    text = "g (float[N] a, float[N] c) => (float[N] b) { s = Add(a, c) b = Relu(s) }"
    made = stripped(build(text))
    assert made.graph.node[0].output[0] == "d"


def test_names_are_the_shortest_identifiers() -> None:
    names = list(islice(_short_names(), 4000))
    assert len(set(names)) == 4000
    assert [len(names[i]) for i in (0, 52, 53, 53 + 53 * 63 - 1, 53 + 53 * 63)] == [1, 1, 2, 2, 3]
    assert all(name.isidentifier() for name in names)


def test_documentation_metadata_and_unused_domains_go(build: Build) -> None:
    model = conv(build)
    bare = stripped(model).ByteSize()
    model.doc_string = model.graph.doc_string = model.graph.node[0].doc_string = "text"
    model.producer_name, model.producer_version, model.domain = "maker", "1", "somewhere"
    model.graph.node[0].name = "convolution"
    model.graph.input[0].doc_string = "a picture"
    model.opset_import.append(helper.make_opsetid("ai.onnx.ml", 3))
    model.metadata_props.add(key="author", value="nobody")
    model.graph.value_info.append(helper.make_tensor_value_info("convolved", 1, None))
    model.graph.initializer[0].doc_string = "weights"
    assert stripped(model).ByteSize() == bare


def test_names_change_alike_inside_and_outside_of_control_flow(build: Build) -> None:
    text = (
        "g (float[N,4] input, bool flag) => (float[N,4] output)"
        "{ outer = Relu(input) output = If(flag) <"
        "  then_branch = yes () => (float[N,4] first) { first = Add(outer, weight) },"
        "  else_branch = no () => (float[N,4] second) { second = Neg(outer) }> }"
    )
    model = build(text, weight=np.arange(4, dtype=np.float32))
    made = stripped(model)
    onnx.checker.check_model(made, full_check=True)
    assert max(differences(model, made).values()) == 0
    assert made.ByteSize() < model.ByteSize() - 40


def test_whole_numbers_take_a_byte_each_where_they_are_small(build: Build) -> None:
    text = "g (float[N,6] x) => (float[A,B,C] y) { y = Reshape(x, shape) }"
    small, large = np.array([100, 3, 2]), np.array([-1, 3, 2])
    sizes = [stripped(build(text, shape=shape)).ByteSize() for shape in (small, large)]
    assert sizes[1] - sizes[0] == 9  # -1 is written as 64 bits all of which are set
    assert tensors(stripped(build(text, shape=large))).popitem()[1].tolist() == [-1, 3, 2]


def test_initializers_of_old_files_are_inputs_no_more(build: Build) -> None:
    text = "g (float[N,6] x) => (float[N,4] y) { y = MatMul(x, w) }"
    model = build(text, opset=8, ir_version=3, w=np.ones((6, 4), np.float32))
    made = stripped(model)
    assert [value.name for value in made.graph.input] == ["x"]
    assert made.ir_version == 4
    onnx.checker.check_model(made, full_check=True)
    assert max(differences(model, made).values()) == 0
