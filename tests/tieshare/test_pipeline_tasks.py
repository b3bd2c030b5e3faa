from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import ModelProto

from tieshare.data import Dataset
from tieshare.graph import find_head
from tieshare.measure import predict
from tieshare.pipeline import Result, compress
from tieshare.progress import Progress
from tieshare.recipe import Recipe, Target
from tieshare.report import FileReport

Array = np.ndarray
Make = Callable[..., ModelProto]
Short = Callable[..., Recipe]
Listen = Callable[[Progress], None]


def table(outputs: int, *, seed: int = 0, samples: int = 400) -> tuple[Array, Array]:
    """Inputs (samples, 12), of which the first four tell the targets (samples, outputs)."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(samples, 12)).astype(np.float32)
    return x, np.tanh(x[:, :4] @ rng.normal(size=(4, outputs))).astype(np.float32)


HIDDEN = "h = Gemm (x, w1, b1) r = Tanh (h) z = Gemm (r, w2, b2)"


def network(fresh: Make, outputs: int, end: str, declared: str = "") -> ModelProto:
    shape = declared or f"float[N, {outputs}]"
    text = f"g (float[N, 12] x) => ({shape} y) <int64[1] flat = {{-1}}> {{ {HIDDEN} {end} }}"
    return fresh(text, w1=(12, 16), b1=(16,), w2=(16, outputs), b2=(outputs,))


def check(model: ModelProto, result: Result) -> FileReport:
    """What holds for every job."""
    for made in (result.tied, result.shared, result.packed):
        onnx.checker.check_model(made, full_check=True)
    assert find_head(result.shared).output == find_head(model).output
    assert result.report.tied.compression_ratio >= 1.2
    assert result.report.shared.unique_parameters <= result.report.baseline.parameters
    assert result.report.packed.bytes <= result.report.shared.bytes
    return result.report.shared


def test_numbers_are_fitted(fresh: Make, taught: Make, short: Short) -> None:
    x, y = table(2)
    model = taught(network(fresh, 2, "y = Identity (z)"), Dataset({"x": x, "y": y}), 60)
    result = compress(model, Dataset({"x": x, "y": y}), short(path_epochs=15, retrain_epochs=20))
    shared = check(model, result)
    assert result.report.recipe["task"] == "regression"
    assert shared.accuracy is None
    assert shared.loss is not None
    assert shared.loss < 0.5 * y.var()


def test_a_bare_number_a_sample_is_fitted(fresh: Make, taught: Make, short: Short) -> None:
    x, y = table(1)
    model = network(fresh, 1, "y = Reshape (z, flat)", declared="float[N]")
    data = Dataset({"x": x, "y": y[:, 0]})
    result = compress(taught(model, data, 60), data, short())
    assert check(model, result).loss is not None


def test_two_classes_by_one_sigmoid_are_fitted(fresh: Make, taught: Make, short: Short) -> None:
    x, y = table(1)
    data = Dataset({"x": x, "y": (y[:, 0] > 0).astype(np.int64)})
    model = taught(network(fresh, 1, "y = Sigmoid (z)"), data, 60)
    result = compress(model, data, short())
    shared = check(model, result)
    assert result.report.recipe["task"] == "classes"
    assert shared.accuracy is not None
    assert shared.accuracy > 0.7
    output = predict(result.shared, "y", [x])
    assert (output.min() >= 0) & (output.max() <= 1)


def test_several_labels_are_fitted(fresh: Make, taught: Make, short: Short) -> None:
    x, y = table(3)
    data = Dataset({"x": x, "y": (y > 0).astype(np.float32)})
    model = taught(network(fresh, 3, "y = Sigmoid (z)"), data, 60, task="multilabel")
    result = compress(model, data, short(task="multilabel"))
    shared = check(model, result)
    assert result.report.recipe["task"] == "multilabel"
    assert shared.accuracy is not None
    assert shared.accuracy > 0.7


@pytest.mark.slow
def test_images_are_classified_by_a_convolution(
    fresh: Make, taught: Make, digits: Dataset, short: Short
) -> None:
    text = (
        "g (float[N, 1, 8, 8] x) => (float[N, 10] y) {"
        "  h1 = Conv <pads = [1, 1, 1, 1]> (x, k1, c1) r1 = Relu (h1)"
        "  p1 = MaxPool <kernel_shape = [2, 2], strides = [2, 2]> (r1)"
        "  h2 = Conv (p1, k2, c2) r2 = Relu (h2) f = Flatten (r2)"
        "  h3 = Gemm (f, w1, b1) r3 = Relu (h3) y = Gemm (r3, w2, b2) }"
    )
    kernels = {"k1": (8, 1, 3, 3), "c1": (8,), "k2": (12, 8, 3, 3), "c2": (12,)}
    model = fresh(text, **kernels, w1=(48, 24), b1=(24,), w2=(24, 10), b2=(10,))
    model = taught(model, digits, 8)
    recipe = short(Target(min_ratio=1.5), path_epochs=25, retrain_epochs=6, learning_rate=None)
    result = compress(model, digits, recipe)
    shared = check(model, result)
    assert [layer.operator for layer in result.report.layers] == ["Conv", "Conv", "Gemm", "Gemm"]
    assert result.report.tied.compression_ratio >= 1.5
    assert shared.accuracy is not None
    assert shared.accuracy > 0.7
    images = digits.arrays["x"][:100].reshape(100, 1, 8, 8)
    tied = predict(result.tied, "y", [images])
    assert predict(result.shared, "y", [images]) == pytest.approx(
        tied, abs=1e-4 * float(np.abs(tied).max())
    )


@pytest.mark.parametrize("kind", ["classifier", "binary", "regressor", "multilabel"])
def test_networks_of_scikit_learn_are_compressed(
    zoo: Callable[[str], ModelProto], kind: str, short: Short
) -> None:
    model = zoo(f"sklearn-{kind}")
    rng = np.random.default_rng(0)
    x = rng.normal(size=(200, 5)).astype(np.float32)
    targets: dict[str, Array] = {
        "classifier": rng.integers(0, 3, 200),
        "binary": rng.integers(0, 2, 200),
        "regressor": rng.normal(size=(200, 1)),
        "multilabel": rng.integers(0, 2, (200, 3)).astype(np.float32),
    }
    task = "multilabel" if kind == "multilabel" else "auto"
    recipe = short(Target(min_ratio=1.05), task=task, preference=0.3)
    result = compress(model, Dataset({"x": x, "y": targets[kind]}), recipe)
    assert [value.name for value in result.shared.graph.output] == [
        value.name for value in model.graph.output
    ]
    assert result.report.tied.compression_ratio >= 1.05
    for given, made in zip(*(outputs(m, x) for m in (result.tied, result.shared)), strict=True):
        assert made == pytest.approx(given, abs=1e-4)


def outputs(model: ModelProto, x: Array) -> list[Array]:
    return [predict(model, value.name, [x]) for value in model.graph.output]


def test_a_graph_for_one_batch_size_keeps_it(
    fresh: Make, taught: Make, digits: Dataset, short: Short
) -> None:
    text = (
        "g (float[4, 8, 8] x) => (float[4, 10] y) <int64[2] flat = {4, 64}>"
        "{ f = Reshape (x, flat) h = Gemm (f, w1, b1) r = Relu (h) y = Gemm (r, w2, b2) }"
    )
    model = fresh(text, w1=(64, 16), b1=(16,), w2=(16, 10), b2=(10,))
    result = compress(taught(model, digits, 8), digits, short(path_epochs=15, retrain_epochs=3))
    shared = check(model, result)
    assert list(shared.latency_us) == [4]
    assert shared.accuracy is not None
    assert shared.accuracy > 0.7


def test_two_inputs_are_fed_by_their_names(fresh: Make, taught: Make, short: Short) -> None:
    x, y = table(3)
    text = (
        "g (float[N, 8] left, float[N, 4] right) => (float[N, 3] y)"
        "{ x = Concat <axis = 1> (left, right) h = Gemm (x, w1, b1) r = Tanh (h)"
        "  y = Gemm (r, w2, b2) }"
    )
    model = fresh(text, w1=(12, 16), b1=(16,), w2=(16, 3), b2=(3,))
    data = Dataset({"y": y.argmax(1), "right": x[:, 8:], "left": x[:, :8]})
    result = compress(taught(model, data, 40), data, short())
    shared = check(model, result)
    assert shared.accuracy is not None
    assert shared.accuracy > 0.5


@pytest.mark.parametrize("penalty", ["oscar", "slope", "group_lasso", "l1", "weight_decay"])
def test_every_penalty_gives_a_result(
    mlp: ModelProto, digits: Dataset, penalty: Any, short: Short
) -> None:
    result = compress(mlp, digits, short(penalty=penalty, path_epochs=2))
    assert result.report.recipe["penalty"] == penalty
    check(mlp, result)


@pytest.mark.parametrize(
    "target", [Target(min_ratio=1e6), Target(max_bytes=10), Target(max_latency_us=1e-3)]
)
def test_where_the_target_cannot_be_reached_the_report_says_so(
    mlp: ModelProto, digits: Dataset, short: Short, target: Target
) -> None:
    result = compress(mlp, digits, short(target, path_epochs=2))
    (note,) = result.report.notes
    assert "smallest" in note
    assert 1 < result.report.tied.compression_ratio < 1e6


def test_a_latency_that_any_network_has_is_reached_by_the_most_accurate(
    mlp: ModelProto, digits: Dataset, short: Short
) -> None:
    result = compress(mlp, digits, short(Target(max_latency_us=1e6)))
    assert result.report.notes == ()
    (chosen,) = [point for point in result.report.front if point.chosen]
    assert chosen.accuracy == max(point.accuracy or 0.0 for point in result.report.front)
