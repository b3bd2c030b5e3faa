from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
from onnx import ModelProto

from tieshare.bits import choose_bits, fewest_bits
from tieshare.data import Dataset
from tieshare.job import Job
from tieshare.stage2 import Retraining

SIZES = {"first": 100, "large": 10_000, "last": 100}


def losing(**each: float) -> Callable[[Mapping[str, int]], float]:
    """A loss of so much for each weight in 4 bits, a hundredth of it in 8, none in 16."""
    part = {4: 1.0, 8: 0.01, 16: 0.0}
    return lambda bits: sum(each[name] * part[width] for name, width in bits.items())


def test_all_get_the_fewest_where_that_loses_little_enough() -> None:
    lost = losing(first=0.1, large=0.1, last=0.1)
    assert fewest_bits(SIZES, lost, 4, 0.5) == {"first": 4, "large": 4, "last": 4}
    assert fewest_bits(SIZES, lost, 8, 0.5) == {"first": 8, "large": 8, "last": 8}


def test_the_weight_that_loses_most_for_its_bytes_gets_more_first() -> None:
    lost = losing(first=0.1, large=2.0, last=0.3)
    assert fewest_bits(SIZES, lost, 4, 2.15) == {"first": 4, "large": 4, "last": 8}
    assert fewest_bits(SIZES, lost, 4, 2.02) == {"first": 8, "large": 4, "last": 8}
    assert fewest_bits(SIZES, lost, 4, 0.5) == {"first": 8, "large": 8, "last": 8}


def test_what_8_bits_do_not_help_gets_16() -> None:
    lost = losing(first=0.1, large=2.0, last=30)
    assert fewest_bits(SIZES, lost, 4, 0.1) == {"first": 8, "large": 8, "last": 16}
    assert fewest_bits(SIZES, lost, 4, -1.0) == dict.fromkeys(SIZES, 16)


def test_each_weight_is_measured_once_a_width_and_the_whole_after_each_change() -> None:
    asked = []

    def lost(bits: Mapping[str, int]) -> float:
        asked.append(dict(bits))
        return 1.0

    fewest_bits(SIZES, lost, 4, 0.0)
    assert len(asked) == 2 * (1 + len(SIZES) + len(SIZES))


@pytest.mark.parametrize("fewest", [4, 8, 16])
def test_the_bits_of_a_trained_network_are_chosen_without_training_it(
    job_of: Callable[..., Job], mlp: ModelProto, digits: Dataset, tmp_path: Path, fewest: int
) -> None:
    job = job_of(mlp, digits, tmp_path)
    training = Retraining(mlp, job.values, job.trainer, job.recipe, 1)
    before = {name: array.tobytes() for name, array in training.network.tensors().items()}
    bits = choose_bits(training, fewest)
    assert bits.keys() == {"w1", "w2"}
    assert min(bits.values()) >= fewest
    assert {n: array.tobytes() for n, array in training.network.tensors().items()} == before
    assert training.bits == {}
