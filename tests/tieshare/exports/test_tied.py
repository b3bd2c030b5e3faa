from collections.abc import Callable

import numpy as np
import pytest
from onnx import ModelProto

from tieshare.exports.tied import tied
from tieshare.exports.verify import differences
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


@pytest.mark.parametrize("behind", ["Log(h)", "Reciprocal(h)", "Div(one, h)", "Pow(h, minus)"])
def test_a_unit_that_would_send_no_number_at_zero_is_not_zeroed(
    build: Build, run: Run, rng: np.random.Generator, behind: str
) -> None:
    model = build(
        f"g (float[N,2] x) => (float[N,2] y){{ h = MatMul(x, w1) i = {behind} y = MatMul(i, w2) }}",
        w1=np.ones((2, 2), dtype=np.float32),
        w2=np.array([[1, 1], [0, 0]], dtype=np.float32),
        one=np.ones(1, dtype=np.float32),
        minus=np.full(1, -1, dtype=np.float32),
    )
    made = tied(model, {}, structure_of(model))
    assert tensors(made)["w1"].all()
    x = rng.uniform(1, 2, size=(3, 2)).astype(np.float32)
    assert run(made, x).tobytes() == run(model, x).tobytes()


Slices = dict[str, tuple[int, list[int]]]  # by tensor: an axis, and places along it

KINDS: dict[str, tuple[str, dict[str, tuple[int, ...]], Slices, Slices]] = {
    "residual": (
        "g (float[N,4] x) => (float[N,2] y)"
        "{ a = Gemm(x, w1, b1) r = Relu(a) h = MatMul(r, w2) s = Add(a, h) y = MatMul(s, w3) }",
        {"w1": (4, 5), "b1": (5,), "w2": (5, 5), "w3": (5, 2)},
        {"w2": (0, [1, 3]), "w3": (0, [1, 3])},
        {"w1": (1, [1, 3]), "b1": (0, [1, 3]), "w2": (1, [1, 3])},
    ),
    "concat": (
        "g (float[N,4] x) => (float[N,2] y)"
        "{ a = MatMul(x, w1) b = MatMul(x, w2) h = Concat<axis = 1>(a, b) y = MatMul(h, w3) }",
        {"w1": (4, 2), "w2": (4, 3), "w3": (5, 2)},
        {"w3": (0, [0, 3])},
        {"w1": (1, [0]), "w2": (1, [1])},
    ),
    "depthwise": (
        "g (float[N,2,4,4] x) => (float[N,2,4,4] y)"
        "{ h = Conv(x, k1) d = Conv<group = 4, pads = [1,1,1,1]>(h, k2, b2) y = Conv(d, k3) }",
        {"k1": (4, 2, 1, 1), "k2": (4, 1, 3, 3), "b2": (4,), "k3": (2, 4, 1, 1)},
        {"k3": (1, [2])},
        {"k1": (0, [2]), "k2": (0, [2]), "b2": (0, [2])},
    ),
    "convolution upwards": (
        "g (float[N,2,3,3] x) => (float[N,2,6,6] y)"
        "{ h = ConvTranspose<strides = [2,2]>(x, k1, b1) r = Relu(h) y = Conv(r, k2) }",
        {"k1": (2, 4, 2, 2), "b1": (4,), "k2": (2, 4, 1, 1)},
        {"k2": (1, [0, 2])},
        {"k1": (1, [0, 2]), "b1": (0, [0, 2])},
    ),
    "hidden units of a recurrent cell": (
        "g (float[T,N,3] x) => (float[T,1,N,2] y)"
        "{ h = GRU<hidden_size = 3, linear_before_reset = 1>(x, w, r, b) y = MatMul(h, v) }",
        {"w": (1, 9, 3), "r": (1, 9, 3), "b": (1, 18), "v": (3, 2)},
        {"v": (0, [1]), "r": (2, [1])},
        {"w": (1, [1, 4, 7]), "r": (1, [1, 4, 7]), "b": (1, [1, 4, 7, 10, 13, 16])},
    ),
    "columns of an embedding": (
        "g (int64[N,5] x) => (float[N,5,2] y) { e = Gather(table, x) y = MatMul(e, w) }",
        {"table": (7, 4), "w": (4, 2)},
        {"w": (0, [0, 2])},
        {"table": (1, [0, 2])},
    ),
}


@pytest.mark.parametrize("kind", KINDS)
def test_what_belongs_to_units_that_nobody_reads_is_zero(
    build: Build, rng: np.random.Generator, kind: str
) -> None:
    """``read``: the rows that are zero; ``zero``: what then is zero beside them."""
    text, shapes, read, zero = KINDS[kind]
    stored = {name: rng.uniform(1, 2, size).astype(np.float32) for name, size in shapes.items()}
    for name, (axis, rows) in read.items():
        np.moveaxis(stored[name], axis, 0)[rows] = 0
    model = build(text, **stored)
    made = tied(model, {}, structure_of(model))
    expected = dict(stored)
    for name, (axis, units) in zero.items():
        expected[name] = expected[name].copy()
        np.moveaxis(expected[name], axis, 0)[units] = 0
    after = tensors(made)
    assert {n: after[n].tolist() for n in stored} == {n: a.tolist() for n, a in expected.items()}
    assert differences(model, made) == {"y": 0.0}
