from collections.abc import Callable

import numpy as np
import pytest
from onnx import ModelProto

from tieshare.exports.prune import remove_dead_units
from tieshare.graph.tensors import tensors

Build = Callable[..., ModelProto]
Run = Callable[..., np.ndarray]


def dead(weight: np.ndarray, rows: list[int], axis: int = 0) -> np.ndarray:
    """The weight with these rows, counted along ``axis``, set to zero."""
    copy = weight.copy()
    np.moveaxis(copy, axis, 0)[rows] = 0
    return copy


def f32(rng: np.random.Generator, *shape: int) -> np.ndarray:
    return rng.normal(size=shape).astype(np.float32)


def test_a_hidden_unit_that_nobody_reads_goes_with_column_bias_and_row(
    build: Build, run: Run, rng: np.random.Generator
) -> None:
    w1, w2, b1 = f32(rng, 3, 4), dead(f32(rng, 4, 2), [1, 3]), f32(rng, 4)
    model = build(
        "g (float[N,3] x) => (float[N,2] y) { h = Gemm(x, w1, b1) r = Relu(h) y = MatMul(r, w2) }",
        w1=w1,
        b1=b1,
        w2=w2,
    )
    slim = remove_dead_units(model)
    stored = tensors(slim)
    assert stored["w1"].tolist() == w1[:, [0, 2]].tolist()
    assert stored["b1"].tolist() == b1[[0, 2]].tolist()
    assert stored["w2"].tolist() == w2[[0, 2]].tolist()
    x = f32(rng, 5, 3)
    np.testing.assert_allclose(run(slim, x), run(model, x), rtol=1e-6)


def test_a_layer_keeps_one_unit_where_all_its_rows_are_dead(
    build: Build, run: Run, rng: np.random.Generator
) -> None:
    model = build(
        "g (float[N,3] x) => (float[N,2] y)"
        "{ h = MatMul(x, w1) r = Relu(h) z = MatMul(r, w2) y = Add(z, b) }",
        w1=f32(rng, 3, 4),
        w2=np.zeros((4, 2), dtype=np.float32),
        b=np.array([1, 2], dtype=np.float32),
    )
    slim = remove_dead_units(model)
    assert tensors(slim)["w1"].shape == (3, 1)
    assert run(slim, f32(rng, 2, 3)).tolist() == [[1, 2], [1, 2]]


def test_a_cut_in_one_layer_lets_units_further_up_go(
    build: Build, run: Run, rng: np.random.Generator
) -> None:
    w2 = f32(rng, 3, 2)
    w2[1] = [0, 5]  # read only by the unit that is about to go
    model = build(
        "g (float[N,2] x) => (float[N,2] y)"
        "{ h = MatMul(x, w1) r = Relu(h) i = MatMul(r, w2) s = Relu(i) y = MatMul(s, w3) }",
        w1=f32(rng, 2, 3),
        w2=w2,
        w3=dead(f32(rng, 2, 2), [1]),
    )
    slim = remove_dead_units(model)
    assert {name: array.shape for name, array in tensors(slim).items()} == {
        "w1": (2, 2),
        "w2": (2, 1),
        "w3": (1, 2),
    }
    x = f32(rng, 4, 2)
    np.testing.assert_allclose(run(slim, x), run(model, x), rtol=1e-5, atol=1e-7)


def test_batch_norm_prelu_and_channel_constants_in_between_lose_the_entry(
    build: Build, run: Run, rng: np.random.Generator
) -> None:
    per_unit = {name: f32(rng, 3) for name in ("gamma", "beta", "mean", "slope")}
    model = build(
        "g (float[N,1,6,6] x) => (float[N,2,6,6] y)"
        "{ h = Conv<pads = [1,1,1,1]>(x, w1) r = Relu(h)"
        "  n = BatchNormalization(r, gamma, beta, mean, variance) m = Mul(n, scale)"
        "  p = PRelu(m, slopes) y = Conv(p, w2) }",
        w1=f32(rng, 3, 1, 3, 3),
        w2=dead(f32(rng, 2, 3, 1, 1), [1], axis=1),
        variance=np.array([1, 2, 3], dtype=np.float32),
        scale=f32(rng, 3, 1, 1),
        slopes=per_unit.pop("slope").reshape(3, 1, 1),
        **per_unit,
    )
    slim = remove_dead_units(model)
    shapes = {name: array.shape for name, array in tensors(slim).items()}
    assert shapes.pop("w1") == (2, 1, 3, 3)
    assert shapes.pop("w2") == (2, 2, 1, 1)
    assert shapes.pop("scale") == shapes.pop("slopes") == (2, 1, 1)
    assert set(shapes.values()) == {(2,)}
    x = f32(rng, 2, 1, 6, 6)
    np.testing.assert_allclose(run(slim, x), run(model, x), rtol=1e-5, atol=1e-6)


FLAT = (
    "g (float[N,1,4,4] x) => (float[N,2] y){ h = Conv(x, w1) r = Relu(h) f = %s y = MatMul(f, w2) }"
)


@pytest.mark.parametrize(
    ("flattening", "shape", "left"),
    [
        ("Flatten(r)", [], []),
        ("Reshape(r, shape)", [-1, 12], [-1, 8]),
        ("Reshape(r, shape)", [0, -1], [0, -1]),
        ("Reshape(r, shape)", [0, 12], [0, 8]),
    ],
)
def test_a_channel_goes_when_all_its_flattened_rows_are_dead(
    build: Build,
    run: Run,
    rng: np.random.Generator,
    flattening: str,
    shape: list[int],
    left: list[int],
) -> None:
    stored = {"shape": np.array(shape)} if shape else {}
    model = build(
        FLAT % flattening,
        w1=f32(rng, 3, 1, 3, 3),
        w2=dead(f32(rng, 12, 2), [0, 4, 5, 6, 7, 9]),
        **stored,
    )
    slim = remove_dead_units(model)
    assert tensors(slim)["w1"].shape == (2, 1, 3, 3)
    assert tensors(slim)["w2"].shape == (8, 2)
    assert [tensors(slim)[name].tolist() for name in slim.graph.node[2].input[1:]] == [left][
        : len(stored)
    ]
    x = f32(rng, 3, 1, 4, 4)
    np.testing.assert_allclose(run(slim, x), run(model, x), rtol=1e-5, atol=1e-6)


def test_a_fixed_batch_in_the_reshape_is_no_obstacle(
    build: Build, run: Run, rng: np.random.Generator
) -> None:
    model = build(
        "g (float[3,1,4,4] x) => (float[3,2] y)"
        "{ h = Conv(x, w1) f = Reshape(h, shape) y = MatMul(f, w2) }",
        w1=f32(rng, 3, 1, 3, 3),
        w2=dead(f32(rng, 12, 2), [0, 1, 2, 3]),
        shape=np.array([3, 12]),
    )
    slim = remove_dead_units(model)
    assert tensors(slim)["w2"].shape == (8, 2)
    x = f32(rng, 3, 1, 4, 4)
    np.testing.assert_allclose(run(slim, x), run(model, x), rtol=1e-5, atol=1e-6)


def test_a_reshape_that_keeps_channels_is_told_how_many_are_left(
    build: Build, run: Run, rng: np.random.Generator
) -> None:
    model = build(
        "g (float[N,1,4,4] x) => (float[N,2,4] y)"
        "{ h = Conv(x, w1) f = Reshape(h, shape) y = Conv(f, w2) }",
        w1=f32(rng, 3, 1, 3, 3),
        w2=dead(f32(rng, 2, 3, 1), [2], axis=1),
        shape=np.array([-1, 3, 4]),
    )
    slim = remove_dead_units(model)
    assert tensors(slim)[slim.graph.node[1].input[1]].tolist() == [-1, 2, 4]
    x = f32(rng, 3, 1, 4, 4)
    np.testing.assert_allclose(run(slim, x), run(model, x), rtol=1e-5, atol=1e-6)


def test_channels_last_rows_are_flattened_the_other_way_round(
    build: Build, run: Run, rng: np.random.Generator
) -> None:
    model = build(
        "g (float[N,1,4,4] x) => (float[N,2] y)"
        "{ h = Conv(x, w1) t = Transpose<perm = [0,2,3,1]>(h) f = Reshape(t, shape)"
        "  y = MatMul(f, w2) }",
        w1=f32(rng, 3, 1, 3, 3),
        w2=dead(f32(rng, 12, 2), [1, 4, 7, 10]),
        shape=np.array([-1, 12]),
    )
    slim = remove_dead_units(model)
    assert tensors(slim)["w1"].shape == (2, 1, 3, 3)
    x = f32(rng, 3, 1, 4, 4)
    np.testing.assert_allclose(run(slim, x), run(model, x), rtol=1e-5, atol=1e-6)


def test_units_that_something_else_reads_stay(build: Build, rng: np.random.Generator) -> None:
    model = build(
        "g (float[N,3] x) => (float[N,2] y, float[N,4] h){ h = MatMul(x, w1) y = MatMul(h, w2) }",
        w1=f32(rng, 3, 4),
        w2=dead(f32(rng, 4, 2), [1]),
    )
    assert tensors(remove_dead_units(model))["w1"].shape == (3, 4)
