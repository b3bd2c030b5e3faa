from collections.abc import Callable

import numpy as np
from onnx import ModelProto

from tieshare.exports.tied import tied
from tieshare.graph.structure import structure_of
from tieshare.graph.tensors import tensors, with_tensors

Build = Callable[..., ModelProto]
Run = Callable[..., np.ndarray]

CHAIN = (
    "g (float[N,3] x) => (float[N,2] y)"
    "{ h = MatMul(x, w1) i = Add(h, b1) r = Relu(i)"
    "  n = BatchNormalization(r, gamma, beta, mean, variance) y = MatMul(n, w2) }"
)


def chain(build: Build, rng: np.random.Generator) -> ModelProto:
    shapes = {"w1": (3, 4), "b1": (4,), "gamma": (4,), "beta": (4,), "mean": (4,), "w2": (4, 2)}
    stored = {name: rng.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}
    return build(CHAIN, variance=np.ones(4, dtype=np.float32), **stored)


def test_the_graph_is_the_uploaded_one_and_the_values_are_new(
    build: Build, rng: np.random.Generator
) -> None:
    model = chain(build, rng)
    new = {"w2": np.ones((4, 2), dtype=np.float32)}
    made = tied(model, new, structure_of(model))
    assert list(made.graph.node) == list(model.graph.node)
    assert made.graph.input == model.graph.input
    assert made.graph.output == model.graph.output
    before, after = tensors(model), tensors(made)
    assert after["w2"].tolist() == np.ones((4, 2)).tolist()
    assert {n for n in before if before[n].tobytes() != after[n].tobytes()} == {"w2"}


def test_a_unit_that_nobody_reads_is_zero_everywhere_and_no_output_changes(
    build: Build, run: Run, rng: np.random.Generator
) -> None:
    model = chain(build, rng)
    w2 = tensors(model)["w2"].copy()
    w2[[1, 2]] = 0
    made = tied(model, {"w2": w2}, structure_of(model))
    stored = tensors(made)
    assert not stored["w1"][:, [1, 2]].any()
    assert stored["w1"][:, [0, 3]].all()
    for name in ("b1", "gamma", "beta"):
        assert np.flatnonzero(stored[name] == 0).tolist() == [1, 2]
    assert stored["mean"].all()
    assert stored["variance"].all()
    reference = with_tensors(model, {"w2": w2})
    x = rng.normal(size=(5, 3)).astype(np.float32)
    assert run(made, x).tobytes() == run(reference, x).tobytes()


def test_tied_rows_leave_as_they_came(build: Build, rng: np.random.Generator) -> None:
    model = chain(build, rng)
    w1 = tensors(model)["w1"].copy()
    w1[2] = w1[0]
    stored = tensors(tied(model, {"w1": w1}, structure_of(model)))
    assert stored["w1"][0].tobytes() == stored["w1"][2].tobytes()


def test_a_constant_that_divides_is_not_zeroed(
    build: Build, run: Run, rng: np.random.Generator
) -> None:
    model = build(
        "g (float[N,2] x) => (float[N,2] y) { h = MatMul(x, w1) d = Div(h, c) y = MatMul(d, w2) }",
        w1=np.ones((2, 2), dtype=np.float32),
        c=np.full(2, 2, dtype=np.float32),
        w2=np.array([[1, 1], [0, 0]], dtype=np.float32),
    )
    made = tied(model, {}, structure_of(model))
    assert tensors(made)["c"].tolist() == [2, 2]
    assert tensors(made)["w1"].tolist() == [[1, 0], [1, 0]]
    assert np.isfinite(run(made, rng.normal(size=(3, 2)).astype(np.float32))).all()
