"""One short job on every architecture: what holds for the files of all of them."""

from collections.abc import Callable
from functools import cache

import numpy as np
import onnx
import pytest
import torch
from examples.networks import ARCHITECTURES, export, train
from examples.networks.data import parted
from onnx import ModelProto

from tieshare.data import Dataset
from tieshare.measure import session
from tieshare.pipeline import Result, compress
from tieshare.recipe import Recipe, Target

Array = np.ndarray
Samples = Callable[[ModelProto, int], dict[str, Array]]

pytestmark = pytest.mark.slow

SAMPLES = 480
EPOCHS = 6
RECIPE = Recipe(
    Target(min_ratio=1.2), path_epochs=5, retrain_epochs=1, batch_size=32, learning_rate=0.02
)
# Wide enough for every network to have rows that it can lose.
WIDTHS = {
    "mlp": 32,
    "vgg16": 4,
    "resnet18": 4,
    "mobilenet": 4,
    "densenet": 4,
    "encoder": 16,
    "vit": 16,
    "gpt": 16,
}
WIDTH = 8


@cache
def job(name: str) -> tuple[ModelProto, Result]:
    """The dense model, as torch's default exporter writes it, and what a job made of it."""
    made = ARCHITECTURES[name]
    arrays = parted({key: array[:SAMPLES] for key, array in made.data().items()})
    inputs, targets = ([arrays[key] for key in keys] for keys in (made.inputs, made.targets))
    torch.manual_seed(0)
    module = train(made.make(WIDTHS.get(name, WIDTH)), inputs, targets, epochs=EPOCHS)
    dense = export(module, made.example(2), made.outputs)
    return dense, compress(dense, Dataset(arrays), RECIPE)


def answers(model: ModelProto, inputs: dict[str, Array]) -> list[Array]:
    return [np.asarray(output) for output in session(model).run(None, inputs)]


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_all_files_are_valid_and_look_as_before(name: str) -> None:
    dense, result = job(name)
    for made in (result.tied, result.shared, result.packed):
        onnx.checker.check_model(made, full_check=True)
        for kept, given in (
            (made.graph.input, dense.graph.input),
            (made.graph.output, dense.graph.output),
        ):
            assert [(it.name, it.type) for it in kept] == [(it.name, it.type) for it in given]


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_both_files_give_the_same_answers_at_any_batch(name: str, samples: Samples) -> None:
    dense, result = job(name)
    for batch in (1, 7):
        inputs = samples(dense, batch)
        tied, shared = answers(result.tied, inputs), answers(result.shared, inputs)
        for expected, found in zip(tied, shared, strict=True):
            assert found.shape == expected.shape
            assert np.abs(found - expected).max() <= 1e-4 * np.abs(expected).max()


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_the_shared_file_is_smaller(name: str) -> None:
    dense, result = job(name)
    report = result.report
    assert report.packed.bytes < report.shared.bytes < len(dense.SerializeToString())
    assert report.tied.compression_ratio >= 1.2
    assert report.shared.unique_parameters < report.baseline.parameters


def test_a_compressed_gpt_looks_at_no_later_token() -> None:
    _, result = job("gpt")
    tokens = np.tile(np.arange(12), (2, 1))
    tokens[1, -1] = 15
    for made in (result.tied, result.shared):
        (logits,) = answers(made, {"tokens": tokens})
        np.testing.assert_allclose(logits[0, :-1], logits[1, :-1], atol=1e-5)
