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


def test_the_shared_file_stores_the_unique_numbers(build: Build, rng: np.random.Generator) -> None:
    model = build(NET, **stored(rng))
    structure = structure_of(model)
    made = shared(tied(model, pruned(rng), structure)).model
    counts = count_shared(made, dense_parameters=1330)
    assert counts.parameters == counts.unique_parameters == 130
    assert counts.zeros == 0
    assert counts.compression_ratio == pytest.approx(1330 / 130)


def test_the_paper_counts_weights_of_regularised_layers_alone(
    build: Build, rng: np.random.Generator
) -> None:
    model = build(NET, **stored(rng))
    structure = structure_of(model)
    made = tied(model, pruned(rng), structure)
    first, second = (layer.name for layer in structure.layers)
    assert paper_ratio(made, structure, [first]) == pytest.approx(800 / 30)
    assert paper_ratio(made, structure, [first, second]) == pytest.approx(1200 / 90)
