from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pytest
from onnx import ModelProto

from tieshare.data import Dataset
from tieshare.exports.macs import macs
from tieshare.exports.packed import packed
from tieshare.exports.shared import Shared
from tieshare.files import Files, front_of, make_files
from tieshare.graph import tensors
from tieshare.job import Job
from tieshare.measure import predict
from tieshare.points import Points
from tieshare.search import Candidate, Point
from tieshare.tie_groups import TiedTensors

LAYERS = ("Gemm_0", "Gemm_2")
SLOW = {1: 10.0, 32: 100.0}


def model_of(size: int) -> ModelProto:
    """A file of so many bytes."""
    model = ModelProto(doc_string="-" * (size - 2))
    return model if model.ByteSize() == size else ModelProto(doc_string="-" * (size - 3))


def files(
    score: float, size: int, packed_size: int, us: Mapping[int, float] = SLOW, unique: int = 1
) -> Files:
    candidate = Candidate(Point(1, 0.6), ModelProto, np.array([score]), unique, 1.0)
    return Files(candidate, Shared(model_of(size), ()), model_of(packed_size), {}, 1, us)


BEST = files(0.9, 1_000, 300)


@pytest.mark.parametrize(
    "worse",
    [
        files(0.8, 1_000, 300),
        files(0.9, 1_001, 300),
        files(0.9, 1_000, 301),
        files(0.8, 2_000, 400, {1: 20.0, 32: 200.0}),
        files(0.8, 1_000, 300, {1: 9.6, 32: 96.0}),  # faster by less than the noise
    ],
)
def test_what_is_nowhere_better_and_somewhere_worse_is_beaten(worse: Files) -> None:
    assert BEST.beats(worse)
    assert not worse.beats(BEST)


@pytest.mark.parametrize(
    "other",
    [
        BEST,
        files(0.9, 1_000, 300),
        files(0.9, 1_000, 300, {1: 20.0, 32: 200.0}),  # no better than the others by time alone
        files(0.91, 2_000, 400),
        files(0.8, 999, 400),
        files(0.8, 2_000, 299),
        files(0.8, 2_000, 400, {1: 9.0, 32: 100.0}),
        files(0.8, 2_000, 400, {1: 10.0, 32: 90.0}),
    ],
)
def test_what_is_as_good_or_somewhere_better_is_not_beaten(other: Files) -> None:
    assert not BEST.beats(other)


def test_the_front_holds_no_beaten_one_and_leaves_out_no_other() -> None:
    rng = np.random.default_rng(0)
    for _ in range(30):
        found = [
            files(
                rng.integers(90, 95) / 100,
                int(rng.integers(500, 505)),
                int(rng.integers(200, 205)),
                {1: rng.uniform(9, 11), 32: rng.uniform(90, 110)},
                int(rng.integers(100, 110)),
            )
            for _ in range(12)
        ]
        front = front_of(found)
        for one in found:
            assert (one in front) != any(other.beats(one) for other in found)
        unique = [one.candidate.unique for one in front]
        assert unique == sorted(unique, reverse=True)


def test_of_one_network_in_two_widths_the_larger_file_comes_first() -> None:
    narrow, wide = files(0.8, 1_000, 200, unique=5), files(0.9, 1_000, 300, unique=5)
    assert front_of([narrow, wide]) == [wide, narrow]


@pytest.fixture
def made(ready: Callable[..., Job]) -> tuple[Job, Files]:
    job = ready()
    return job, make_files(job, Points(job, LAYERS).retrain(Point(3, 0.6)))


def test_all_three_files_answer_alike(made: tuple[Job, Files]) -> None:
    job, found = made
    inputs = job.splits.test.inputs
    answers = [
        predict(model, "logits", inputs) for model in (found.tied, found.shared.model, found.packed)
    ]
    largest = float(np.abs(answers[0]).max())
    assert answers[1] == pytest.approx(answers[0], abs=1e-4 * largest)
    # Biases alone are rounded further, to float16: weights were trained on their grids.
    assert answers[2] == pytest.approx(answers[0], abs=1e-2 * largest)


def test_bytes_are_those_of_the_serialised_files(made: tuple[Job, Files]) -> None:
    job, found = made
    assert found.bytes == len(found.shared.model.SerializeToString())
    assert found.packed_bytes == len(found.packed.SerializeToString())
    assert found.packed_bytes < found.bytes < job.model.ByteSize()


def test_what_was_rounded_is_packed_in_so_many_bits_and_measured(made: tuple[Job, Files]) -> None:
    job, found = made
    by_weight = dict(found.candidate.bits)
    assert found.bits == {"Gemm_0": by_weight["w1"], "Gemm_2": by_weight["w2"]}
    again = packed(found.shared, found.bits, job.samples)
    assert found.packed.SerializeToString() == again.SerializeToString()
    assert found.macs == macs(found.shared.model, job.samples)
    assert list(found.latency_us) == [1, 32]
    assert min(found.latency_us.values()) > 0


def test_a_network_that_was_not_rounded_keeps_its_weights(ready: Callable[..., Job]) -> None:
    job = ready()
    found = make_files(job, Points(job, LAYERS).dense())
    assert found.bits == {}
    assert found.tied.SerializeToString() == job.model.SerializeToString()
    assert found.macs == 64 * 32 + 32 * 10
    inputs = job.splits.test.inputs
    expected = predict(job.model, "logits", inputs)
    largest = float(np.abs(expected).max())
    assert predict(found.packed, "logits", inputs) == pytest.approx(expected, abs=1e-2 * largest)


def test_tensors_that_are_tied_equal_are_stored_once(
    job_of: Callable[..., Job], fresh: Callable[..., ModelProto], digits: Dataset, tmp_path: Path
) -> None:
    text = (
        "g (float[N, 64] x) => (float[N, 10] y) { h = Gemm (x, w1) r = Relu (h)"
        "  i = Gemm (r, w2) s = Relu (i) j = Gemm (s, w3) t = Relu (j) y = Gemm (t, w4) }"
    )
    model = fresh(text, w1=(64, 24), w2=(24, 24), w3=(24, 24), w4=(24, 10))

    def found(name: str, *groups: TiedTensors) -> Files:
        job = job_of(model, digits, tmp_path / name, tie_groups=groups, learning_rate=0.05)
        return make_files(job, Points(job, ()).retrain(Point(1, 1.0, bits=8)))

    tied, free = found("tied", TiedTensors(("w2", "w3"))), found("free")
    values = tensors(tied.tied)
    assert values["w2"].tobytes() == values["w3"].tobytes()
    assert free.bytes - tied.bytes == pytest.approx(4 * 24 * 24, abs=100)
    assert free.packed_bytes - tied.packed_bytes == pytest.approx(24 * 24, abs=200)
    assert set(free.bits) == {"Gemm_0", "Gemm_2", "Gemm_4", "Gemm_6"}
    assert set(tied.bits) == {"Gemm_0", "Gemm_2", "Gemm_6"}
