from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from onnx import ModelProto

from tieshare.data import Dataset
from tieshare.exports.shared import Shared
from tieshare.files import Files
from tieshare.front import front_points
from tieshare.job import Job
from tieshare.report import FrontPoint
from tieshare.search import Candidate, Point


def files(epoch: int, score: float, unique: int) -> Files:
    """Files of 40 and 20 bytes."""
    right = np.array([score, score])
    candidate = Candidate(Point(epoch, 0.6), ModelProto, right, unique, 900 / unique)
    shared, packed = ModelProto(doc_string="-" * 38), ModelProto(doc_string="-" * 18)
    return Files(candidate, Shared(shared, ()), packed, {}, 77, {1: 8.0, 32: 50.0})


LARGE, SMALL = files(3, 0.75, 300), files(9, 0.5, 100)


@pytest.fixture
def job(job_of: Callable[..., Job], mlp: ModelProto, digits: Dataset, tmp_path: Path) -> Job:
    return job_of(mlp, digits, tmp_path)


def test_points_are_numbered_from_one_with_what_was_measured(job: Job) -> None:
    latency_us = {1: 8.0, 32: 50.0}
    assert front_points(job, [LARGE, SMALL], SMALL.candidate) == (
        FrontPoint(1, 300, 3.0, 40, 20, 77, latency_us, accuracy=0.75, chosen=False),
        FrontPoint(2, 100, 9.0, 40, 20, 77, latency_us, accuracy=0.5, chosen=True),
    )


def test_before_the_choice_none_is_chosen(job: Job) -> None:
    assert [point.chosen for point in front_points(job, [LARGE, SMALL], None)] == [False, False]
    assert front_points(job, [], None) == ()


def test_another_candidate_of_the_same_numbers_is_not_the_chosen_one(job: Job) -> None:
    twin = files(9, 0.5, 100)
    points = front_points(job, [SMALL, twin], twin.candidate)
    assert [point.chosen for point in points] == [False, True]


def test_numbers_are_scored_by_their_loss(
    job_of: Callable[..., Job], fresh: Callable[..., ModelProto], tmp_path: Path
) -> None:
    model = fresh("g (float[N, 9] x) => (float[N, 2] y) { y = Gemm (x, w) }", w=(9, 2))
    rng = np.random.default_rng(0)
    data = Dataset({"x": rng.normal(size=(90, 9)), "y": rng.normal(size=(90, 2))})
    job = job_of(model, data, tmp_path)
    (point,) = front_points(job, [files(1, -0.25, 300)], None)
    assert (point.loss, point.accuracy) == (0.25, None)
