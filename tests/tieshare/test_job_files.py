from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import ModelProto

from tieshare.checkpoint import Checkpoints
from tieshare.data import Dataset, Samples, Splits
from tieshare.job import Job
from tieshare.job_files import open_job, store
from tieshare.progress import Narrator, silent
from tieshare.recipe import Recipe, Target
from tieshare.tie_groups import TiedRows, TiedTensors

Make = Callable[..., Job]
TEXT = (
    "g (float[N, 9] x) => (float[N, 3] kind, float[N, 2] size)"
    "{ h = Gemm (x, w, b) r = Relu (h) kind = MatMul (r, u) size = MatMul (r, v) }"
)


def opened(job: Job, folder: Path) -> Job:
    return open_job(folder, job.checkpoints, job.narrator)


def raw(samples: Samples) -> list[tuple[str, tuple[int, ...], bytes]]:
    arrays = (*samples.inputs, *samples.targets)
    return [(array.dtype.name, array.shape, array.tobytes()) for array in arrays]


@pytest.fixture
def two(fresh: Callable[..., ModelProto]) -> ModelProto:
    return fresh(TEXT, w=(9, 8), b=(8,), u=(8, 3), v=(8, 2))


@pytest.fixture
def data() -> Dataset:
    rng = np.random.default_rng(0)
    arrays = {"x": rng.normal(size=(120, 9)), "y_size": rng.normal(size=(120, 2))}
    return Dataset(arrays | {"y_kind": np.arange(120) % 3})


def test_what_is_opened_is_what_was_stored(
    job_of: Make, two: ModelProto, data: Dataset, tmp_path: Path
) -> None:
    job = job_of(two, data, tmp_path / "job")
    store(job, tmp_path / "stored")
    found = opened(job, tmp_path / "stored")
    assert found.model.SerializeToString() == job.model.SerializeToString()
    assert found.recipe == job.recipe
    assert found.splits.goals == job.splits.goals
    assert raw(found.splits.train) == raw(job.splits.train)
    assert raw(found.splits.held_out) == raw(job.splits.held_out)
    assert found.dense.tobytes() == job.dense.tobytes()
    assert found.plan == job.plan


@pytest.mark.parametrize(
    "options",
    [
        {"target": Target(front=True), "bits": 4, "tie_by": "path"},
        {"target": Target(max_bytes=700), "penalty": "slope", "penalties": {"Gemm_0": "l1"}},
        {"tie_groups": (TiedRows("Gemm_0", (0, 3)), TiedTensors(("u", "v")))},
        {"preference": 0.1 + 0.2, "l2": 1e-300, "tie": False, "seed": 2**60},
    ],
)
def test_a_recipe_comes_back_whole(
    two: ModelProto, job_of: Make, data: Dataset, tmp_path: Path, options: dict[str, Any]
) -> None:
    given = job_of(two, data, tmp_path)
    job = Job(two, given.splits, Recipe(**options), given.checkpoints, given.narrator)
    store(job, tmp_path / "stored")
    assert opened(job, tmp_path / "stored").recipe == job.recipe


def test_the_test_split_stays_out(
    job_of: Make, two: ModelProto, data: Dataset, tmp_path: Path
) -> None:
    job = job_of(two, data, tmp_path / "job")
    store(job, tmp_path / "stored")
    found = opened(job, tmp_path / "stored").splits.test
    assert [array.shape for array in found.inputs] == [(0, 9)]
    assert [array.shape for array in found.targets] == [(0,), (0, 2)]
    test = job.splits.test.inputs[0].tobytes()
    assert not any(test in path.read_bytes() for path in (tmp_path / "stored").iterdir())


def test_many_inputs_keep_their_order(two: ModelProto, tmp_path: Path) -> None:
    inputs = tuple(np.full((4, 1), number, dtype=np.int64) for number in range(12))
    samples = Samples(inputs, (np.zeros(4),))
    job = Job(
        two,
        Splits(samples, samples, samples, ()),
        Recipe(),
        Checkpoints(tmp_path / "job"),
        Narrator(silent),
    )
    store(job, tmp_path / "stored")
    train = opened(job, tmp_path / "stored").splits.train
    assert [int(array[0, 0]) for array in train.inputs] == [*range(12)]


def test_arrays_are_mapped_and_writing_to_them_does_not_reach_the_file(
    job_of: Make, two: ModelProto, data: Dataset, tmp_path: Path
) -> None:
    job = job_of(two, data, tmp_path / "job")
    store(job, tmp_path / "stored")
    (mapped,) = opened(job, tmp_path / "stored").splits.train.inputs
    assert isinstance(mapped, np.memmap)
    mapped[:] = 0
    assert raw(opened(job, tmp_path / "stored").splits.train) == raw(job.splits.train)


def test_a_job_is_stored_once_and_again_where_it_was_cut_off(
    job_of: Make, two: ModelProto, data: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job, stored = job_of(two, data, tmp_path / "job"), tmp_path / "stored"

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr("tieshare.job_files.np.save", killed)
        with pytest.raises(KeyboardInterrupt):
            store(job, stored)
    assert not (stored / "goals.json").exists()
    store(job, stored)
    assert raw(opened(job, stored).splits.train) == raw(job.splits.train)
    written = {path.name: path.stat().st_mtime_ns for path in stored.iterdir()}
    store(job, stored)
    assert {path.name: path.stat().st_mtime_ns for path in stored.iterdir()} == written
