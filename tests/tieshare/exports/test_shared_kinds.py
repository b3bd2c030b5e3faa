"""Tied and dead rows of every kind of layer, and what is stored of them."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import onnx
import pytest
from onnx import ModelProto, helper

from tieshare.exports.count import count_shared, count_tied
from tieshare.exports.shared import Shared, shared
from tieshare.exports.tied import tied
from tieshare.exports.verify import differences
from tieshare.graph import from_rows, structure_of, tensors, to_rows
from tieshare.measure import inputs_of

Build = Callable[..., ModelProto]
Shape = tuple[int, ...]


@dataclass(frozen=True)
class Kind:
    """A network, its float tensors, and how many layers of it stay in place."""

    text: str
    shapes: Mapping[str, Shape]
    in_place: int = 1


KINDS = {
    "product": Kind(
        "g (float[N,60] x) => (float[N,20] y) { y = Gemm(x, w, b) }",
        {"w": (60, 20), "b": (20,)},
        in_place=0,
    ),
    "turned input": Kind(
        "g (float[N,60] x) => (float[N,20] y) { t = Transpose(x) y = Gemm<transA = 1>(t, w) }",
        {"w": (60, 20)},
    ),
    "turned weight": Kind(
        "g (float[N,60] x) => (float[N,20] y) { t = Transpose(w) y = MatMul(x, t) }",
        {"w": (20, 60)},
    ),
    "weight on the left": Kind(
        "g (float[N,60,3] x) => (float[N,20,3] y) { y = MatMul(w, x) }", {"w": (20, 60)}
    ),
    "weight on the left of a Gemm": Kind(
        "g (float[N,60] x) => (float[20,N] y) { y = Gemm<transB = 1>(w, x) }", {"w": (20, 60)}
    ),
    "one matrix a head": Kind(
        "g (float[N,2,5,60] x) => (float[N,2,5,8] y) { y = MatMul(x, w) }",
        {"w": (2, 60, 8)},
        in_place=0,
    ),
    "convolution": Kind(
        "g (float[N,30,6,6] x) => (float[N,8,4,4] y) { y = Conv(x, k) }",
        {"k": (8, 30, 3, 3)},
        in_place=0,
    ),
    "grouped convolution": Kind(
        "g (float[N,60,4,4] x) => (float[N,16,4,4] y) { y = Conv<group = 2>(x, k) }",
        {"k": (16, 30, 1, 1)},
    ),
    "convolution upwards": Kind(
        "g (float[N,30,3,3] x) => (float[N,4,6,6] y) { y = ConvTranspose<strides = [2,2]>(x, k) }",
        {"k": (30, 4, 2, 2)},
    ),
    "LSTM": Kind(
        "g (float[T,N,40] x) => (float[T,1,N,30] y) { y = LSTM<hidden_size = 30>(x, w, r, b) }",
        {"w": (1, 120, 40), "r": (1, 120, 30), "b": (1, 240)},
        in_place=2,
    ),
    "GRU in both directions": Kind(
        "g (float[T,N,40] x) => (float[T,2,N,30] y)"
        '{ y = GRU<hidden_size = 30, direction = "bidirectional">(x, w, r) }',
        {"w": (2, 90, 40), "r": (2, 90, 30)},
        in_place=2,
    ),
    "embedding": Kind(
        "g (int64[N,5] x) => (float[N,5,20] y) { y = Gather(table, x) }", {"table": (60, 20)}
    ),
    "embedding that is the head too": Kind(
        "g (int64[N,5] x) => (float[N,5,60] y)"
        "{ e = Gather(table, x) h = MatMul(e, w) t = Transpose(table) y = MatMul(h, t) }",
        {"table": (60, 20), "w": (20, 20)},
    ),
}


def tied_rows(model: ModelProto, rng: np.random.Generator) -> ModelProto:
    """Of each layer a fourth of the rows is dead; the others are copies of a sixth of them."""
    values = tensors(model)
    new = {}
    for layer in structure_of(model).layers:
        rows = np.arange(layer.rows)
        W = to_rows(layer, values[layer.weight])[rows % max(layer.rows // 6, 1)]
        W[rows % 4 == 3] = 0
        new[layer.weight] = from_rows(layer, W)
    return tied(model, new, structure_of(model))


def checked(model: ModelProto) -> Shared:
    """Sound, smaller, equal at batch 1, 7 and 32, and the same from outside."""
    made = shared(model)
    onnx.checker.check_model(made.model, full_check=True)
    assert inputs_of(made.model) == inputs_of(model)
    assert made.model.graph.output == model.graph.output
    assert max(differences(model, made.model).values()) <= 1e-4
    assert made.model.ByteSize() < model.ByteSize()
    assert not any("refused" in choice.reason for choice in made.choices)
    return made


@pytest.mark.parametrize("name", KINDS)
def test_each_unique_number_is_stored_once(
    build: Build, rng: np.random.Generator, name: str
) -> None:
    kind = KINDS[name]
    stored = {n: rng.normal(size=size).astype(np.float32) for n, size in kind.shapes.items()}
    model = tied_rows(build(kind.text, **stored), rng)
    made = checked(model)
    structure = structure_of(model)
    counts = count_tied(model, structure)
    assert counts.unique_parameters < counts.parameters / 2
    assert count_shared(made.model, 0).unique_parameters == counts.unique_parameters
    assert sum(choice.form == "table" for choice in made.choices) >= kind.in_place


def test_weights_in_constant_nodes_are_stored_once_too(
    build: Build, rng: np.random.Generator
) -> None:
    text = "g (float[N,60] x) => (float[N,60] y) { h = MatMul(x, w) r = Relu(h) y = MatMul(r, w) }"
    model = tied_rows(build(text, w=rng.normal(size=(60, 60)).astype(np.float32)), rng)
    (weight,) = model.graph.initializer
    model.graph.node.insert(0, helper.make_node("Constant", [], ["w"], value=weight))
    del model.graph.initializer[:]
    made = checked(model)
    floats = [array for array in tensors(made.model).values() if array.dtype == np.float32]
    assert [array.shape for array in floats] == [(10, 60)]
    assert [choice.form for choice in made.choices] == ["table"]


def test_a_constant_that_a_dead_unit_sends_on_is_in_the_next_bias(
    build: Build, rng: np.random.Generator
) -> None:
    """A user's own pruning zeroed filters: their biases go on through batch norm and ReLU."""
    k1 = rng.normal(size=(12, 3, 3, 3)).astype(np.float32)
    k1[4:] = 0
    model = build(
        "g (float[N,3,8,8] x) => (float[N,5,4,4] y)"
        "{ h = Conv(x, k1, b1) n = BatchNormalization(h, s, s, s, s) r = Relu(n)"
        "  y = Conv(r, k2) }",
        k1=k1,
        b1=rng.normal(size=12).astype(np.float32),
        s=rng.uniform(1, 2, 12).astype(np.float32),
        k2=rng.normal(size=(5, 12, 3, 3)).astype(np.float32),
    )
    made = checked(model)
    found = {name: array.shape for name, array in tensors(made.model).items()}
    assert (found["k1"], found["k2"], found["k2.bias"]) == ((4, 3, 3, 3), (5, 4, 3, 3), (5,))


def test_a_layer_whose_input_is_one_number_has_a_form(
    build: Build, rng: np.random.Generator
) -> None:
    """The index is a number: its shape has no batch in it."""
    table = rng.normal(size=(40, 30)).astype(np.float32)[np.arange(40) % 5]
    model = build(
        "g (int64 i, float[N,30] x) => (float[N,30] y) { e = Gather(table, i) y = Mul(x, e) }",
        table=table,
    )
    made = shared(model)
    assert [choice.form for choice in made.choices] == ["table"]
