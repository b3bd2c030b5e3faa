from collections.abc import Callable

import numpy as np
import pytest
from onnx import ModelProto

from tieshare.exports.count import count_dense, count_shared, count_tied, paper_ratio
from tieshare.exports.shared import shared
from tieshare.exports.tied import tied
from tieshare.graph.structure import structure_of

Build = Callable[..., ModelProto]

NET = (
    "g (float[N,20] x) => (float[N,10] y)"
    "{ h = Gemm(x, w1, b1) r = Relu(h)"
    "  n = BatchNormalization(r, gamma, beta, mean, variance) y = Gemm(n, w2, b2) }"
)


def stored(rng: np.random.Generator) -> dict[str, np.ndarray]:
    shapes = {"w1": (20, 40), "w2": (40, 10), "b2": (10,)}
    per_unit = dict.fromkeys(("b1", "gamma", "beta", "mean"), (40,))
    made = {n: rng.normal(size=s).astype(np.float32) for n, s in (shapes | per_unit).items()}
    return {**made, "variance": np.ones(40, dtype=np.float32)}


def pruned(rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Eight rows of w1 are dead, the others are of three clusters; ten units are read, five alike.

    Kept: 3 x 10 + 10 (b1) + 2 x 10 (gamma, beta) + 6 x 10 + 10 (b2) = 130 numbers.
    """
    values = stored(rng)
    values["w1"] = values["w1"][np.arange(20) % 3].copy()
    values["w1"][12:] = 0
    values["w2"][10:] = 0
    values["w2"][1:5] = values["w2"][0]
    return values


def test_every_number_of_a_dense_network_is_its_own(build: Build, rng: np.random.Generator) -> None:
    counts = count_dense(build(NET, **stored(rng)))
    assert counts.parameters == counts.unique_parameters == 800 + 400 + 10 + 3 * 40
    assert counts.compression_ratio == 1
    assert counts.sparsity == 0
    assert counts.parameter_sharing == 1


def test_dead_units_and_tied_rows_are_counted_off(build: Build, rng: np.random.Generator) -> None:
    model = build(NET, **stored(rng))
    structure = structure_of(model)
    made = tied(model, pruned(rng), structure)
    counts = count_tied(made, structure)
    nonzero = 12 * 10 + 10 + 2 * 10 + 10 * 10 + 10
    assert counts.parameters == 1330
    assert counts.zeros == 1330 - nonzero
    assert counts.unique_parameters == 130
    assert counts.compression_ratio == pytest.approx(1330 / 130)
    assert counts.sparsity == pytest.approx(1 - nonzero / 1330)
    assert counts.parameter_sharing == pytest.approx(nonzero / 130)


def test_a_bias_that_happens_to_be_zero_is_stored_all_the_same(
    build: Build, rng: np.random.Generator
) -> None:
    values = stored(rng)
    values["b2"][:] = 0
    model = build(NET, **values)
    counts = count_tied(model, structure_of(model))
    assert counts.zeros == 10
    assert counts.unique_parameters == 1330


def test_a_tensor_that_equals_the_one_it_is_a_copy_of_is_not_counted(
    build: Build, rng: np.random.Generator
) -> None:
    values = stored(rng)
    values["beta"] = values["gamma"]
    model = build(NET, **values)
    structure = structure_of(model)
    copies = {"beta": "gamma", "b1": "gamma"}  # b1 differs
    assert count_tied(model, structure).unique_parameters == 1330
    counts = count_tied(model, structure, copies)
    assert (counts.parameters, counts.unique_parameters) == (1330, 1290)


def test_the_shared_file_stores_the_unique_numbers(build: Build, rng: np.random.Generator) -> None:
    model = build(NET, **stored(rng))
    structure = structure_of(model)
    made = shared(tied(model, pruned(rng), structure)).model
    counts = count_shared(made, dense_parameters=1330)
    assert counts.parameters == counts.unique_parameters == 130
    assert counts.zeros == 0
    assert counts.compression_ratio == pytest.approx(1330 / 130)


def test_channels_that_stay_for_speed_are_stored_but_not_unique(
    build: Build, rng: np.random.Generator
) -> None:
    """Channel 2 of three is of zeros: in both kernels, and in the bias, which may happen."""
    k1, k2 = (rng.normal(size=(3, 3, 2, 2)).astype(np.float32) for _ in range(2))
    k1[2], k2[:, 2] = 0, 0
    model = build(
        "g (float[N,3,5,5] x) => (float[N,3,3,3] y) { h = Conv(x, k1, b) y = Conv(h, k2) }",
        k1=k1,
        k2=k2,
        b=np.array([1, 2, 0], dtype=np.float32),
    )
    counts = count_shared(model, dense_parameters=150)
    assert (counts.parameters, counts.zeros) == (75, 25)
    assert counts.unique_parameters == 24 + 24 + 3
    assert counts.compression_ratio == pytest.approx(150 / 51)


KINDS: dict[str, tuple[str, dict[str, tuple[int, ...]], dict[str, tuple[int, list[int]]], int]] = {
    "embedding columns": (
        "g (int64[N,5] x) => (float[N,5,2] y) { e = Gather(table, x) y = MatMul(e, w) }",
        {"table": (7, 4), "w": (4, 2)},
        {"w": (0, [1])},
        7 * 3 + 3 * 2,
    ),
    "tokens": (
        "g (int64[N,5] x) => (float[N,5,2] y) { e = Gather(table, x) y = MatMul(e, w) }",
        {"table": (7, 4), "w": (4, 2)},
        {"table": (0, [2, 3])},
        5 * 4 + 4 * 2,
    ),
    "hidden units": (
        "g (float[T,N,3] x) => (float[T,1,N,2] y)"
        "{ h = LSTM<hidden_size = 3>(x, w, r, b) y = MatMul(h, v) }",
        {"w": (1, 12, 3), "r": (1, 12, 3), "b": (1, 24), "v": (3, 2)},
        {"v": (0, [1]), "r": (2, [1])},
        8 * 3 + 8 * 2 + 16 + 2 * 2,
    ),
    "depthwise filters": (
        "g (float[N,2,4,4] x) => (float[N,2,4,4] y)"
        "{ h = Conv(x, k1) d = Conv<group = 4, pads = [1,1,1,1]>(h, k2, b2) y = Conv(d, k3) }",
        {"k1": (4, 2, 1, 1), "k2": (4, 1, 3, 3), "b2": (4,), "k3": (2, 4, 1, 1)},
        {"k3": (1, [2])},
        3 * 2 + 3 * 9 + 3 + 2 * 3,
    ),
}


@pytest.mark.parametrize("kind", KINDS)
def test_of_every_kind_of_layer_only_what_is_read_is_unique(
    build: Build, rng: np.random.Generator, kind: str
) -> None:
    """``dead``: by tensor an axis, and the slices along it that are zero."""
    text, shapes, dead, unique = KINDS[kind]
    stored = {name: rng.normal(size=size).astype(np.float32) for name, size in shapes.items()}
    for name, (axis, slices) in dead.items():
        np.moveaxis(stored[name], axis, 0)[slices] = 0
    model = build(text, **stored)
    counts = count_tied(model, structure_of(model))
    assert counts.parameters == sum(array.size for array in stored.values())
    assert counts.unique_parameters == unique


def test_the_paper_counts_weights_of_regularised_layers_alone(
    build: Build, rng: np.random.Generator
) -> None:
    model = build(NET, **stored(rng))
    structure = structure_of(model)
    made = tied(model, pruned(rng), structure)
    first, second = (layer.name for layer in structure.layers)
    assert paper_ratio(made, structure, [first]) == pytest.approx(800 / 30)
    assert paper_ratio(made, structure, [first, second]) == pytest.approx(1200 / 90)
