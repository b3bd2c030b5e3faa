"""One short job on every architecture: what holds for the files of all of them."""

from collections.abc import Callable

import numpy as np
import onnx
import pytest
from examples.networks import ARCHITECTURES, export, train
from examples.networks.data import parted
from onnx import ModelProto

from tieshare.data import Dataset
from tieshare.measure import session
from tieshare.pipeline import Result, compress
from tieshare.recipe import Recipe

Array = np.ndarray
Samples = Callable[[ModelProto, int], dict[str, Array]]
Short = Callable[..., Recipe]

SAMPLES = 480
EPOCHS = 6
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


@pytest.fixture(scope="module", params=ARCHITECTURES)
def job(request: pytest.FixtureRequest, short: Short) -> tuple[ModelProto, Result]:
    """The dense model, as torch's default exporter writes it, and what a job made of it."""
    name = request.param
    made = ARCHITECTURES[name]
    arrays = parted({key: array[:SAMPLES] for key, array in made.data().items()})
    inputs, targets = ([arrays[key] for key in keys] for keys in (made.inputs, made.targets))
    module = train(made.make(WIDTHS.get(name, WIDTH)), inputs, targets, epochs=EPOCHS)
    dense = export(module, made.example(2), made.outputs)
    return dense, compress(dense, Dataset(arrays), short(learning_rate=0.02, batch_size=32))


def answers(model: ModelProto, inputs: dict[str, Array]) -> list[Array]:
    return [np.asarray(output) for output in session(model).run(None, inputs)]


@pytest.mark.slow
def test_both_files_are_valid_and_look_as_before(job: tuple[ModelProto, Result]) -> None:
    dense, result = job
    for made in (result.tied, result.shared):
        onnx.checker.check_model(made, full_check=True)
        assert list(made.graph.input) == list(dense.graph.input)
        assert list(made.graph.output) == list(dense.graph.output)


@pytest.mark.slow
def test_both_files_give_the_same_answers_at_any_batch(
    job: tuple[ModelProto, Result], samples: Samples
) -> None:
    dense, result = job
    for batch in (1, 7):
        inputs = samples(dense, batch)
        tied, shared = answers(result.tied, inputs), answers(result.shared, inputs)
        for expected, found in zip(tied, shared, strict=True):
            assert found.shape == expected.shape
            assert np.abs(found - expected).max() <= 1e-4 * np.abs(expected).max()


@pytest.mark.slow
def test_the_shared_file_is_smaller(job: tuple[ModelProto, Result]) -> None:
    dense, result = job
    report = result.report
    assert len(result.shared.SerializeToString()) < len(dense.SerializeToString())
    assert report.tied.compression_ratio >= 1.2
    assert report.shared.unique_parameters < report.baseline.parameters
