import json
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from onnx import ModelProto

from tieshare.cluster import tie
from tieshare.data import Dataset
from tieshare.exports.count import count_shared, count_tied
from tieshare.exports.macs import macs
from tieshare.exports.packed import packed
from tieshare.exports.shared import Shared, shared
from tieshare.exports.tied import tied
from tieshare.files import Files
from tieshare.graph import structure_of, tensors
from tieshare.job import Job
from tieshare.measure import predict
from tieshare.recipe import Target
from tieshare.report import FrontPoint, Report
from tieshare.search import Candidate, Choice, Point
from tieshare.summary import summarise

DENSE_BYTES = 12_345
REGULARISED = ["Gemm_0", "Gemm_2"]
BITS = {"Gemm_0": 8}


def labels(n: int, dead: list[int], clusters: list[list[int]]) -> np.ndarray:
    numbers = np.arange(n)
    for members in clusters:
        numbers[members] = members[0]
    _, numbers = np.unique(numbers, return_inverse=True)
    numbers[dead] = -1
    return numbers.astype(np.int64)


@pytest.fixture(scope="session")
def small(mlp: ModelProto) -> ModelProto:
    """Of 64 inputs 61 are alive in 56 clusters, of 32 hidden units 29 are read, in 28."""
    values = tensors(mlp)
    new = {
        "w1": tie(values["w1"], labels(64, [0, 7, 8], [[1, 2, 3], [10, 20, 30, 40]])),
        "w2": tie(values["w2"], labels(32, [4, 5, 31], [[0, 1]])),
    }
    return tied(mlp, new, structure_of(mlp))


@pytest.fixture(scope="session")
def small_shared(small: ModelProto) -> Shared:
    return shared(small)


@pytest.fixture
def job(job_of: Callable[..., Job], mlp: ModelProto, digits: Dataset, tmp_path: Path) -> Job:
    return job_of(mlp, digits, tmp_path)


def choice(job: Job, *models: ModelProto, reached: bool = True) -> Choice:
    """The first of the models is chosen."""
    tried = []
    for epoch, model in enumerate(models):
        counts = count_tied(model, job.structure)
        right = job.trainer.right(job.twin(model))
        unique, ratio = counts.unique_parameters, counts.compression_ratio
        build = partial(ModelProto.FromString, model.SerializeToString())
        tried.append(Candidate(Point(epoch, 0.6), build, right, unique, ratio))
    return Choice(tried[0], tried, reached)


FRONT = (
    FrontPoint(1, 2_000, 1.2, 9_000, 3_000, 2_368, {1: 9.0}, accuracy=0.97),
    FrontPoint(2, 1_943, 1.24, 8_500, 2_600, 2_000, {1: 8.0}, accuracy=0.96, chosen=True),
)


def files(best: Choice, small: Shared, bits: Mapping[str, int] = BITS) -> Files:
    """Of the chosen model; nothing is timed."""
    small_packed = packed(small, bits)
    return Files(best.chosen, small, small_packed, bits, macs(small.model), {1: 5.0, 32: 9.0})


def summary(job: Job, model: ModelProto, small: Shared, *, reached: bool = True) -> Report:
    best = choice(job, model, reached=reached)
    return summarise(job, REGULARISED, best, files(best, small), FRONT, DENSE_BYTES)


@pytest.fixture
def report(job: Job, small: ModelProto, small_shared: Shared) -> Report:
    return summary(job, small, small_shared)


def accuracy(job: Job, model: ModelProto) -> float:
    test = job.splits.test
    return float((predict(model, "logits", test.inputs).argmax(1) == test.targets[0]).mean())


def test_accuracy_is_that_of_each_file_on_the_test_split(
    report: Report, job: Job, mlp: ModelProto, small: ModelProto, small_shared: Shared
) -> None:
    assert report.baseline.accuracy == accuracy(job, mlp)
    assert report.tied.accuracy == accuracy(job, small)
    assert report.shared.accuracy == accuracy(job, small_shared.model)
    assert report.packed.accuracy == accuracy(job, packed(small_shared, BITS))
    assert report.baseline.accuracy > report.tied.accuracy > 0.1


def test_bytes_are_those_of_the_files(
    report: Report, small: ModelProto, small_shared: Shared
) -> None:
    assert report.baseline.bytes == DENSE_BYTES
    assert report.tied.bytes == len(small.SerializeToString())
    assert report.shared.bytes == len(small_shared.model.SerializeToString())
    assert report.packed.bytes == len(packed(small_shared, BITS).SerializeToString())
    assert report.packed.bytes < report.shared.bytes


def test_unique_parameters_are_what_one_counts_by_hand(report: Report) -> None:
    unique = 56 * 29 + 29 + 28 * 10 + 10
    assert report.baseline.unique_parameters == report.baseline.parameters == 2_410
    assert report.tied.unique_parameters == unique
    assert report.tied.compression_ratio == pytest.approx(2_410 / unique)
    zeros = 3 * 32 + 61 * 3 + 3 + 3 * 10
    assert report.tied.sparsity == pytest.approx(zeros / 2_410)
    assert report.tied.parameter_sharing == pytest.approx((2_410 - zeros) / unique)
    assert report.paper_ratio == pytest.approx((64 * 32 + 32 * 10) / (56 * 29 + 28 * 10))


def test_the_shared_file_is_counted_as_it_is_stored(report: Report, small_shared: Shared) -> None:
    stored = count_shared(small_shared.model, 2_410)
    assert report.shared.parameters == stored.parameters < 2_410
    assert report.shared.compression_ratio == pytest.approx(2_410 / stored.unique_parameters)


def test_the_packed_file_has_the_parameters_of_the_shared_one(report: Report) -> None:
    assert report.packed.parameters == report.shared.parameters
    assert report.packed.unique_parameters == report.shared.unique_parameters
    assert report.packed.compression_ratio == report.shared.compression_ratio


def test_every_file_is_timed_at_batch_one_and_thirty_two(report: Report) -> None:
    for file in (report.baseline, report.tied, report.shared, report.packed):
        assert list(file.latency_us) == [1, 32]
        assert min(file.latency_us.values()) > 0


def test_every_layer_is_listed_with_its_rows_and_its_form(
    report: Report, small_shared: Shared
) -> None:
    listed = [
        (item.name, item.operator, item.rows, item.columns, item.alive, item.clusters)
        for item in report.layers
    ]
    assert listed == [("Gemm_0", "Gemm", 64, 32, 61, 56), ("Gemm_2", "Gemm", 32, 10, 29, 28)]
    assert [item.form for item in report.layers] == [item.form for item in small_shared.choices]
    assert [item.bits for item in report.layers] == [8, 32]


def test_the_front_is_the_one_that_was_found(report: Report) -> None:
    assert report.front == FRONT


def test_the_loss_on_the_held_out_samples_has_its_standard_error(
    report: Report, job: Job, small: ModelProto
) -> None:
    held_out = job.splits.held_out

    def right(model: ModelProto) -> np.ndarray:
        answers = predict(model, "logits", held_out.inputs).argmax(1)
        return np.where(answers == held_out.targets[0], 1.0, 0.0)

    lost = right(job.model) - right(small)
    assert report.held_out is not None
    assert report.held_out.samples == len(held_out) == 179
    assert report.held_out.drop == pytest.approx(lost.mean())
    assert report.held_out.standard_error == pytest.approx(lost.std() / np.sqrt(179))
    assert report.held_out.accuracy == pytest.approx(right(small).mean())


def test_the_recipe_is_there_with_every_default_filled_in(
    job_of: Callable[..., Job],
    mlp: ModelProto,
    small: ModelProto,
    small_shared: Shared,
    digits: Dataset,
    tmp_path: Path,
) -> None:
    free = {"path_epochs": None, "retrain_epochs": None, "batch_size": None, "seed": 5}
    job = job_of(mlp, digits, tmp_path, **free)
    report = summary(job, small, small_shared)
    assert report.recipe["target"]["min_ratio"] == 4.0
    assert [it for it in report.recipe["target"].values() if it is not None] == [4.0]
    assert (report.recipe["path_epochs"], report.recipe["retrain_epochs"]) == (150, 38)
    assert (report.recipe["batch_size"], report.recipe["task"]) == (32, "classes")
    assert None not in [report.recipe[name] for name in free]
    assert report.seeds == {"recipe": 5}
    assert set(report.versions) >= {"tieshare", "torch", "onnx", "onnxruntime", "numpy", "python"}


def test_the_report_is_plain_json_and_back(report: Report) -> None:
    assert Report.from_dict(json.loads(report.to_json())) == report


def test_nothing_is_noted_where_all_is_well(report: Report) -> None:
    assert report.notes == ()


@pytest.mark.parametrize(
    "missed",
    [
        (Target(max_drop=0.01), "this is the uploaded network"),
        (Target(min_ratio=50.0), "its smallest point"),
        (Target(max_bytes=100), "its smallest point"),
        (Target(max_latency_us=0.1), "its smallest point"),
        (Target(front=True), "this is the uploaded network"),
    ],
)
def test_a_target_that_was_missed_is_noted(
    job_of: Callable[..., Job],
    mlp: ModelProto,
    small: ModelProto,
    small_shared: Shared,
    digits: Dataset,
    tmp_path: Path,
    missed: tuple[Target, str],
) -> None:
    target, said = missed
    job = job_of(mlp, digits, tmp_path, target=target)
    (note,) = summary(job, small, small_shared, reached=False).notes
    assert said in note


def test_a_model_that_knows_the_held_out_samples_by_heart_is_noted(
    job_of: Callable[..., Job],
    mlp: ModelProto,
    small: ModelProto,
    small_shared: Shared,
    digits: Dataset,
    tmp_path: Path,
) -> None:
    """As if it had been trained on all but the test split, which it has not learned at all."""
    x, y = digits.arrays["x"], digits.arrays["y"]
    strange = np.random.default_rng(0).permutation(y[:300])
    data = Dataset({"x": x, "y": y, "x_test": x[:300], "y_test": strange})
    job = job_of(mlp, data, tmp_path)
    report = summary(job, small, small_shared)
    (note,) = report.notes
    assert "x_val" in note
    assert report.baseline.accuracy == accuracy(job, mlp) < 0.3


def test_a_model_that_is_no_better_than_a_guess_is_noted(
    job_of: Callable[..., Job],
    mlp: ModelProto,
    small: ModelProto,
    small_shared: Shared,
    digits: Dataset,
    tmp_path: Path,
) -> None:
    """As where its inputs are scaled by 1/255 and it was trained on others."""
    x, y = digits.arrays["x"], digits.arrays["y"]
    job = job_of(mlp, Dataset({"x": x * np.float32(0), "y": y}), tmp_path)
    (note,) = summary(job, small, small_shared).notes
    assert f"right on {100 * job.dense.mean():.1f} % of the held-out samples, no better" in note


def test_numbers_are_reported_with_their_squared_error(
    job_of: Callable[..., Job],
    fresh: Callable[..., ModelProto],
    tmp_path: Path,
) -> None:
    text = (
        "g (float[N, 9] x) => (float[N, 2] y) { h = Gemm (x, w, b) r = Tanh (h) y = Gemm (r, v) }"
    )
    model = fresh(text, w=(9, 8), b=(8,), v=(8, 2))
    rng = np.random.default_rng(0)
    data = Dataset({"x": rng.normal(size=(90, 9)), "y": rng.normal(size=(90, 2))})
    job = job_of(model, data, tmp_path)
    best = choice(job, model)
    made = files(best, shared(model), bits={})
    report = summarise(job, ["Gemm_0"], best, made, (), DENSE_BYTES)
    test = job.splits.test
    error = np.mean((predict(model, "y", test.inputs) - test.targets[0]) ** 2)
    assert report.baseline.loss == pytest.approx(error, rel=1e-6)
    assert report.baseline.accuracy is None
    assert report.held_out is not None
    assert (report.held_out.drop, report.held_out.accuracy) == (0, None)
    assert report.held_out.loss == pytest.approx(-job.dense.mean())
    assert "accuracy" not in report.to_json()


TEXT = "g (float[N, 9] x) => (float[N, 4] y) { h = Gemm (x, w) r = Tanh (h) y = MatMul (r, v) }"
STEPS = TEXT.replace("[N, ", "[N, T, ").replace("Gemm", "MatMul")


def notes(job: Job, model: ModelProto) -> str:
    best = choice(job, model)
    made = files(best, shared(model), bits={})
    report = summarise(job, ["Gemm_0"], best, made, (), DENSE_BYTES)
    return " ".join(report.notes)


def test_classes_one_hot_as_floats_are_noted(
    job_of: Callable[..., Job], fresh: Callable[..., ModelProto], tmp_path: Path
) -> None:
    model = fresh(TEXT, w=(9, 8), v=(8, 4))
    x = np.random.default_rng(0).normal(size=(90, 9))
    job = job_of(model, Dataset({"x": x, "y": np.eye(4)[np.arange(90) % 4]}), tmp_path)
    assert "output 'y' looks like classes, one-hot as floats" in notes(job, model)


@pytest.mark.parametrize(("labels_of_a_sample", "noted"), [(1, True), (50, False)])
def test_held_out_labels_that_can_not_tell_the_loss_are_noted(
    job_of: Callable[..., Job],
    fresh: Callable[..., ModelProto],
    tmp_path: Path,
    labels_of_a_sample: int,
    noted: bool,
) -> None:
    """Of 9 sequences: what counts is how many labels they have together."""
    model = fresh(STEPS, w=(9, 8), v=(8, 4))
    rng = np.random.default_rng(0)
    y = rng.integers(0, 4, (90, 60))
    y[:, labels_of_a_sample:] = -1
    data = Dataset({"x": rng.normal(size=(90, 60, 9)), "y": y})
    job = job_of(model, data, tmp_path, target=Target(max_drop=0.01))
    assert ("9 held-out samples can't tell" in notes(job, model)) == noted
