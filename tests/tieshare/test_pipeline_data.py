"""Whole jobs on tokens, several outputs, and a label for every pixel or step."""

from collections.abc import Callable

import numpy as np
import onnx
import pytest
from onnx import ModelProto

from tieshare.data import Dataset
from tieshare.errors import DataMismatch
from tieshare.measure import predict, predictions
from tieshare.pipeline import Result, compress
from tieshare.recipe import Recipe
from tieshare.report import FileReport

Array = np.ndarray
Make = Callable[..., ModelProto]
Short = Callable[..., Recipe]

N, STEPS, WORDS = 600, 6, 12
TWO = (
    "g (float[N, 12] x) => (float[N, 3] kind, float[N, 2] size) {"
    "  h = Gemm (x, w1, b1) r = Tanh (h)"
    "  k = Gemm (r, w2, b2) kind = Softmax (k) size = Gemm (r, w3, b3) }"
)
TWO_SHAPES = {"w1": (12, 16), "b1": (16,), "w2": (16, 3), "b2": (3,), "w3": (16, 2), "b3": (2,)}


def table(outputs: int, seed: int) -> tuple[Array, Array]:
    """Inputs (N, 12), the same for every seed, and numbers (N, outputs) that they tell."""
    x = np.random.default_rng(0).normal(size=(N, 12)).astype(np.float32)
    direction = np.random.default_rng(seed).normal(size=(4, outputs))
    return x, np.tanh(x[:, :4] @ direction).astype(np.float32)


def check(model: ModelProto, result: Result, inputs: list[Array]) -> FileReport:
    """The files are valid and answer alike, in all outputs that the data has targets for."""
    for made in (result.tied, result.shared, result.packed):
        onnx.checker.check_model(made, full_check=True)
        assert [item.name for item in made.graph.output] == [o.name for o in model.graph.output]
    names = [item.name for item in model.graph.output]
    for tied, shared in zip(
        predictions(result.tied, names, inputs),
        predictions(result.shared, names, inputs),
        strict=True,
    ):
        for one, other in zip(tied, shared, strict=True):
            assert other == pytest.approx(one, abs=1e-4 * max(1, float(np.abs(one).max())))
    assert result.report.tied.compression_ratio > 1.05
    return result.report.shared


@pytest.mark.slow
def test_two_outputs_learn_their_own_targets(fresh: Make, taught: Make, short: Short) -> None:
    x, kind = table(3, seed=1)
    size = 3 * table(2, seed=2)[1]
    data = Dataset({"x": x, "y_kind": kind.argmax(1), "y_size": size})
    model = taught(fresh(TWO, **TWO_SHAPES), data, 50)
    result = compress(model, data, short(path_epochs=8, retrain_epochs=8))
    shared = check(model, result, [x])
    assert result.report.recipe["task"] == "auto"
    assert shared.loss is None
    assert shared.accuracy is not None
    assert shared.accuracy > 0.7
    kinds, sizes = (predict(result.shared, name, [x]) for name in ("kind", "size"))
    assert (kinds.argmax(1) == kind.argmax(1)).mean() > 0.7
    assert ((sizes - size) ** 2).mean() < 0.5 * size.var()
    assert "has no target" not in " ".join(result.report.notes)


@pytest.mark.slow
def test_an_output_without_a_target_is_noted(fresh: Make, taught: Make, short: Short) -> None:
    x, kind = table(3, seed=1)
    data = Dataset({"x": x, "y_kind": kind.argmax(1)})
    model = taught(fresh(TWO, **TWO_SHAPES), data, 30)
    result = compress(model, data, short())
    shared = check(model, result, [x])
    assert result.report.recipe["task"] == "classes"
    assert shared.accuracy is not None
    assert "output 'size' has no target: nothing keeps it as it was" in result.report.notes


@pytest.mark.slow
@pytest.mark.parametrize("end", ["y = Identity (z)", "y = Softmax <axis = 1> (z)"])
def test_every_pixel_has_a_class(fresh: Make, taught: Make, short: Short, end: str) -> None:
    text = (
        "g (float[N, 2, 6, 6] x) => (float[N, 3, 6, 6] y) {"
        "  h = Conv <pads = [1, 1, 1, 1]> (x, k1, c1) r = Relu (h)"
        f"  z = Conv (r, k2, c2) {end} }}"
    )
    shapes = {"k1": (12, 2, 3, 3), "c1": (12,), "k2": (3, 12, 1, 1), "c2": (3,)}
    x = np.random.default_rng(0).normal(size=(N, 2, 6, 6)).astype(np.float32)
    y = np.stack([x[:, 0], x[:, 1], np.zeros_like(x[:, 0])], axis=1).argmax(axis=1)
    y[:, 0] = -1  # the first line of every picture has no label
    data = Dataset({"x": x, "y": y})
    model = taught(fresh(text, **shapes), data, 20)
    result = compress(model, data, short(path_epochs=40, retrain_epochs=12))
    shared = check(model, result, [x])
    assert shared.accuracy is not None
    assert shared.accuracy > 0.75  # a third of the channels is gone; by chance it would be 0.37
    answers = predict(result.shared, "y", [x]).argmax(axis=1)
    assert (answers == y)[:, 1:].mean() == pytest.approx(shared.accuracy, abs=0.05)


@pytest.mark.slow
def test_every_step_has_a_class(fresh: Make, taught: Make, short: Short) -> None:
    text = (
        "g (float[N, T, 12] x) => (float[N, T, 4] y) {"
        "  m1 = MatMul (x, w1) h = Add (m1, b1) r = Relu (h) m2 = MatMul (r, w2) y = Add (m2, b2) }"
    )
    shapes = {"w1": (12, 16), "b1": (16,), "w2": (16, 4), "b2": (4,)}
    x = np.random.default_rng(0).normal(size=(N, STEPS, 12)).astype(np.float32)
    y = x[:, :, :4].argmax(axis=2)
    y[::3, 4:] = -100  # every third sequence is shorter
    y[5] = -100
    data = Dataset({"x": x, "y": y})
    model = taught(fresh(text, **shapes), data, 20)
    result = compress(model, data, short(path_epochs=6, retrain_epochs=2))
    shared = check(model, result, [x])
    assert shared.accuracy is not None
    assert shared.accuracy > 0.8


TOKENS = (
    "g (int64[N, T] ids, float[N, T, 1] mask) => (float[N, 3] y) <int64[1] axis = {1}> {"
    "  e = Gather (words, ids) k = Mul (e, mask) s = ReduceSum <keepdims = 0> (k, axis)"
    "  h = Gemm (s, w1, b1) r = Relu (h) y = Gemm (r, w2, b2) }"
)
TOKEN_SHAPES = {"words": (WORDS, 8), "w1": (8, 16), "b1": (16,), "w2": (16, 3), "b2": (3,)}


def sentences(seed: int, n: int, length: int) -> dict[str, Array]:
    """Which of three words comes most often, counted where the mask is 1."""
    rng = np.random.default_rng(seed)
    ids = rng.integers(0, WORDS, (n, length))
    mask = (np.arange(length) < rng.integers(3, length + 1, (n, 1))).astype(np.float32)
    counts = [((ids == word) * mask).sum(axis=1) for word in range(3)]
    return {"ids": ids.astype(np.int32), "mask": mask, "y": np.argmax(counts, axis=0)}


@pytest.mark.slow
def test_tokens_and_their_mask_are_two_inputs(fresh: Make, taught: Make, short: Short) -> None:
    train, held_out, test = sentences(0, 600, 8), sentences(1, 80, 8), sentences(2, 90, 13)
    arrays = dict(train)
    for ending, part in (("_val", held_out), ("_test", test)):
        arrays |= {name + ending: array for name, array in part.items()}
    data = Dataset(arrays)
    model = taught(fresh(TOKENS, **TOKEN_SHAPES), data, 30)
    result = compress(model, data, short(path_epochs=6, retrain_epochs=2))
    inputs = [test["ids"].astype(np.int64), test["mask"][:, :, None]]
    shared = check(model, result, inputs)
    right = float((predict(result.shared, "y", inputs).argmax(axis=1) == test["y"]).mean())
    assert shared.accuracy == pytest.approx(right)
    assert right > 0.7
    assert result.report.held_out is not None
    assert result.report.held_out.samples == 80


def test_a_token_that_is_in_no_table_is_refused_before_any_work(fresh: Make, short: Short) -> None:
    arrays = sentences(0, N, 8)
    arrays["ids"][7, 3] = WORDS
    with pytest.raises(DataMismatch, match="table of 12") as caught:
        compress(fresh(TOKENS, **TOKEN_SHAPES), Dataset(arrays), short())
    assert caught.value.where == "ids"
