from collections.abc import Callable

import numpy as np
import pytest
from onnx import ModelProto

from tieshare.exports.prune import remove_dead_units
from tieshare.exports.tied import tied
from tieshare.exports.widen import widen
from tieshare.graph.structure import structure_of
from tieshare.graph.tensors import tensors, with_tensors

Build = Callable[..., ModelProto]
Run = Callable[..., np.ndarray]
Array = np.ndarray

CHAIN = (
    "g (float[N,3] x) => (float[N,2] y)"
    "{ h = MatMul(x, w1) i = Add(h, b1) r = Relu(i)"
    "  n = BatchNormalization(r, gamma, beta, mean, variance) y = MatMul(n, w2) }"
)
CHAIN_SHAPES = {"w1": (3, 4), "b1": (4,), "gamma": (4,), "beta": (4,), "mean": (4,), "w2": (4, 2)}
IMAGES = (
    "g (float[N,2,4,4] x) => (float[N,3] y)"
    "{ h = Conv(x, k1, c1) a = PRelu(h, slope) i = Conv(a, k2, c2) r = Relu(i)"
    "  f = Reshape(r, flat) y = Gemm<transB = 1>(f, w, b) }"
)
IMAGE_SHAPES = {
    "k1": (5, 2, 2, 2),
    "c1": (5,),
    "slope": (5, 1, 1),
    "k2": (4, 5, 2, 2),
    "c2": (4,),
    "w": (3, 16),
    "b": (3,),
}


def drawn(shapes: dict[str, tuple[int, ...]], rng: np.random.Generator) -> dict[str, Array]:
    return {name: rng.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}


def chain(build: Build, rng: np.random.Generator, dead: list[int]) -> ModelProto:
    """The hidden units ``dead`` are read by nobody."""
    stored = drawn(CHAIN_SHAPES, rng)
    stored["w2"][dead] = 0
    return build(CHAIN, variance=np.linspace(0.5, 2, 4, dtype=np.float32), **stored)


def images(build: Build, rng: np.random.Generator) -> ModelProto:
    """Channels 0 and 3 of the first, and 2 of the second are read by nobody."""
    stored = drawn(IMAGE_SHAPES, rng)
    stored["k2"][:, [0, 3]] = 0
    stored["w"][:, 8:12] = 0
    return build(IMAGES, flat=np.array([-1, 16]), **stored)


def retrained(model: ModelProto, rng: np.random.Generator) -> dict[str, Array]:
    """Other values for everything in the narrow model that training changes."""
    narrow = tensors(remove_dead_units(model))
    moved = {name: array for name, array in narrow.items() if array.dtype == np.float32}
    return {
        name: (array * rng.uniform(0.5, 2, size=array.shape)).astype(np.float32)
        for name, array in moved.items()
    }


def test_a_narrow_entry_goes_to_the_place_it_was_cut_from(
    build: Build, rng: np.random.Generator
) -> None:
    model = tied(chain(build, rng, [1, 2]), {}, structure_of(chain(build, rng, [1, 2])))
    narrow = {
        "w1": np.array([[1, 2], [3, 4], [5, 6]], dtype=np.float32),
        "b1": np.array([7, 8], dtype=np.float32),
        "w2": np.array([[9, 10], [11, 12]], dtype=np.float32),
        "gamma": np.array([13, 14], dtype=np.float32),
    }
    wide = widen(model, structure_of(model), narrow)
    assert wide.keys() == narrow.keys()
    assert wide["w1"][:, [0, 3]].tolist() == [[1, 2], [3, 4], [5, 6]]
    assert wide["b1"][[0, 3]].tolist() == [7, 8]
    assert wide["w2"].tolist() == [[9, 10], [0, 0], [0, 0], [11, 12]]
    assert wide["gamma"][[0, 3]].tolist() == [13, 14]


def test_what_was_cut_off_keeps_its_value(build: Build, rng: np.random.Generator) -> None:
    model = chain(build, rng, [1, 2])
    before = tensors(model)
    wide = widen(model, structure_of(model), retrained(model, rng))
    assert wide["w1"][:, [1, 2]].tolist() == before["w1"][:, [1, 2]].tolist()
    assert wide["mean"][[1, 2]].tolist() == before["mean"][[1, 2]].tolist()
    assert wide["mean"][[0, 3]].tolist() != before["mean"][[0, 3]].tolist()


@pytest.mark.parametrize("dead", [[], [0], [1, 2], [0, 1, 2, 3]])
def test_a_chain_computes_the_same_narrow_and_wide(
    build: Build, run: Run, rng: np.random.Generator, dead: list[int]
) -> None:
    model = chain(build, rng, dead)
    structure = structure_of(model)
    model = tied(model, {}, structure)
    new = retrained(model, rng)
    x = rng.normal(size=(9, 3)).astype(np.float32)
    narrow = run(with_tensors(remove_dead_units(model), new), x)
    wide = run(with_tensors(model, widen(model, structure, new)), x)
    assert wide == pytest.approx(narrow, abs=1e-5)
    assert np.abs(narrow).max() > 0 or len(dead) == 4


def test_channels_flattened_to_rows_come_back_too(
    build: Build, run: Run, rng: np.random.Generator
) -> None:
    model = images(build, rng)
    structure = structure_of(model)
    model = tied(model, {}, structure)
    new = retrained(model, rng)
    assert {name: array.shape for name, array in new.items()} == {
        "k1": (3, 2, 2, 2),
        "c1": (3,),
        "slope": (3, 1, 1),
        "k2": (3, 3, 2, 2),
        "c2": (3,),
        "w": (3, 12),
        "b": (3,),
    }
    x = rng.normal(size=(9, 2, 4, 4)).astype(np.float32)
    narrow = run(with_tensors(remove_dead_units(model), new), x)
    wide = run(with_tensors(model, widen(model, structure, new)), x)
    assert wide == pytest.approx(narrow, abs=1e-5)
    assert np.abs(narrow - run(model, x)).max() > 0.1


def test_the_narrow_values_of_the_model_itself_change_nothing(
    build: Build, rng: np.random.Generator
) -> None:
    model = tied(images(build, rng), {}, structure_of(images(build, rng)))
    whole, narrow = tensors(model), tensors(remove_dead_units(model))
    same = {name: array for name, array in narrow.items() if array.dtype == np.float32}
    wide = widen(model, structure_of(model), same)
    assert wide.keys() == same.keys()
    assert all(wide[name].tobytes() == whole[name].tobytes() for name in wide)


def test_nothing_given_is_changed(build: Build, rng: np.random.Generator) -> None:
    model = chain(build, rng, [1])
    new = retrained(model, rng)
    before = model.SerializeToString(), {name: array.tobytes() for name, array in new.items()}
    widen(model, structure_of(model), new)
    after = model.SerializeToString(), {name: array.tobytes() for name, array in new.items()}
    assert after == before
