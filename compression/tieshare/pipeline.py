"""The whole job: train along a path, tie, retrain, choose, export, measure."""

import hashlib
import json
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from onnx import ModelProto

from tieshare.checkpoint import Checkpoints
from tieshare.data import Dataset, fit, read_npz
from tieshare.exports.shared import shared
from tieshare.graph import describe, read_model
from tieshare.job import Job, check_outputs, check_twin
from tieshare.plan import plan
from tieshare.points import Points
from tieshare.progress import Listener, Narrator, silent
from tieshare.recipe import Recipe
from tieshare.report import Report
from tieshare.search import Search
from tieshare.summary import summarise
from tieshare.walk import walk


@dataclass(frozen=True, eq=False)
class Result:
    """The two files, and what was measured on them."""

    tied: ModelProto
    shared: ModelProto
    report: Report

    def save(self, folder: Path) -> None:
        """Write tied.onnx, shared.onnx and report.json."""
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "tied.onnx").write_bytes(self.tied.SerializeToString())
        (folder / "shared.onnx").write_bytes(self.shared.SerializeToString())
        (folder / "report.json").write_text(self.report.to_json())


def compress(
    model: ModelProto | bytes | Path,
    data: Dataset | Path,
    recipe: Recipe | None = None,
    listener: Listener = silent,
    checkpoint_dir: Path | None = None,
) -> Result:
    """Make ``model`` smaller and faster on ``data``.

    With ``checkpoint_dir`` a call that was cut off goes on from there when it is made again with
    the same arguments. Raises a TieshareError that names what is wrong with what was given.
    """
    recipe = recipe or Recipe()
    raw = _bytes_of(model)
    read = read_model(raw)
    dataset = data if isinstance(data, Dataset) else read_npz(data)
    splits = fit(dataset, asdict(describe(read)), recipe)
    planned = plan(recipe, len(splits.train))
    narrator = Narrator(listener, planned.path_epochs, planned.retrain_epochs)
    with _workspace(checkpoint_dir) as folder:
        checkpoints = Checkpoints(folder / _key(raw, dataset, recipe))
        return _run(Job(read, splits, recipe, checkpoints, narrator), len(raw))


def _run(job: Job, dense_bytes: int) -> Result:
    with job.narrator.step("check"):
        check_outputs(job)
        check_twin(job)
    walked = walk(job)
    points = Points(job, walked.layers)
    search = Search(
        epochs=[snapshot.epoch for snapshot in walked.snapshots],
        retrain=points.retrain,
        ratio=points.ratio,
        dense=points.dense(),
        relative=job.relative,
        preference=job.recipe.preference,
        tie=job.recipe.tie,
    )
    choice = search.run(job.recipe.target)
    chosen = choice.chosen
    metrics = points.known(chosen.tied) | job.trainer.named(chosen.score)
    with job.narrator.step("export", metrics):
        small = shared(chosen.tied, job.samples)
    with job.narrator.step("measure", metrics):
        report = summarise(job, walked.layers, choice, small, dense_bytes)
    return Result(chosen.tied, small.model, report)


def _key(model: bytes, dataset: Dataset, recipe: Recipe) -> str:
    """Names what a checkpoint is of: other arguments do not go on from it."""
    digest = hashlib.sha256(model)
    digest.update(json.dumps(recipe.to_dict(), sort_keys=True).encode())
    for name, array in sorted(dataset.arrays.items()):
        digest.update(f"{name} {array.dtype} {array.shape}".encode())
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()[:16]


def _bytes_of(model: ModelProto | bytes | Path) -> bytes:
    if isinstance(model, Path):
        return model.read_bytes()
    return model if isinstance(model, bytes) else model.SerializeToString()


@contextmanager
def _workspace(folder: Path | None) -> Iterator[Path]:
    if folder is not None:
        yield folder
        return
    with tempfile.TemporaryDirectory(prefix="tieshare-") as temporary:
        yield Path(temporary)
