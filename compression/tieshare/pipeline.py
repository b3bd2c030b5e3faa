"""The whole job: train along a path, tie, retrain, choose, export, measure."""

import hashlib
import json
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from onnx import ModelProto

from tieshare.checkpoint import FORMAT, Checkpoints
from tieshare.crew import Crew, Processes
from tieshare.data import Dataset, fit, read_npz
from tieshare.files import Files
from tieshare.front import front_points
from tieshare.front_chart import png, svg
from tieshare.graph import describe, read_model
from tieshare.job import Job, check_outputs, check_twin
from tieshare.maker import Maker
from tieshare.named import check_card
from tieshare.progress import Listener, Narrator, silent
from tieshare.recipe import Recipe
from tieshare.report import Report
from tieshare.search import Search
from tieshare.summary import summarise


@dataclass(frozen=True, eq=False)
class Result:
    """The files of the point that the target picks, those of the whole front, and the report.

    ``front``: in the order, and with the numbers from 1, that the report has.
    """

    chosen: Files
    front: Sequence[Files]
    report: Report

    @property
    def tied(self) -> ModelProto:
        """The uploaded graph, with zeros and ties."""
        return self.chosen.tied

    @property
    def shared(self) -> ModelProto:
        """The small graph."""
        return self.chosen.shared.model

    @property
    def packed(self) -> ModelProto:
        """The small graph in few bits."""
        return self.chosen.packed

    def save(self, folder: Path) -> None:
        """Write tied.onnx, shared.onnx, packed.onnx, report.json and the front as a picture.

        Those of the front's point K are point-K.tied.onnx and so on.
        """
        folder.mkdir(parents=True, exist_ok=True)
        _save(self.chosen, folder, "")
        for number, files in enumerate(self.front, start=1):
            _save(files, folder, f"point-{number}.")
        (folder / "report.json").write_text(self.report.to_json())
        (folder / "front.svg").write_text(svg(self.report))
        (folder / "front.png").write_bytes(png(self.report))


def compress(
    model: ModelProto | bytes | Path,
    data: Dataset | Path,
    recipe: Recipe | None = None,
    listener: Listener = silent,
    checkpoint_dir: Path | None = None,
    crew: Crew | None = None,
) -> Result:
    """Make ``model`` smaller and faster on ``data``.

    With ``checkpoint_dir`` a call that was cut off goes on from there when it is made again with
    the same arguments. ``crew`` is where it trains: in this process and others that it starts, if
    none is given. Raises a TieshareError that names what is wrong with what was given.
    """
    recipe = recipe or Recipe()
    raw = _bytes_of(model)
    read = read_model(raw)
    dataset = data if isinstance(data, Dataset) else read_npz(data)
    card = asdict(describe(read))
    check_card(card, recipe)
    splits = fit(dataset, card, recipe)
    with _workspace(checkpoint_dir) as folder:
        checkpoints = Checkpoints(folder / _key(raw, dataset, recipe))
        job = Job(read, splits, recipe, checkpoints, Narrator(listener))
        return _run(job, crew or Processes(), len(raw))


def _run(job: Job, crew: Crew, dense_bytes: int) -> Result:
    with job.narrator.step("check"):
        check_outputs(job)
        check_twin(job)
    walked = crew.walk(job)
    maker = Maker(job, walked.layers, crew)
    search = Search(
        path={snapshot.epoch: snapshot.ratio for snapshot in walked.snapshots},
        make=maker.make,
        ratio=maker.points.ratio,
        fits=maker.fits,
        dense=maker.points.dense(),
        relative=job.relative,
        recipe=job.recipe,
        at_once=maker.at_once,
    )
    choice = search.run()
    chosen = choice.chosen
    metrics = maker.points.known(chosen.tied) | job.trainer.named(chosen.score)
    with job.narrator.step("export", metrics):
        made = maker.files_of(chosen)
    front = maker.front()
    points = front_points(job, front, chosen)
    with job.narrator.step("measure", metrics):
        report = summarise(job, walked.layers, choice, made, points, dense_bytes)
    return Result(made, front, report)


def _save(files: Files, folder: Path, prefix: str) -> None:
    models = {"tied": files.tied, "shared": files.shared.model, "packed": files.packed}
    for name, model in models.items():
        (folder / f"{prefix}{name}.onnx").write_bytes(model.SerializeToString())


def _key(model: bytes, dataset: Dataset, recipe: Recipe) -> str:
    """Names what a checkpoint is of: other arguments, and formats, do not go on from it."""
    digest = hashlib.sha256(model)
    digest.update(f"{FORMAT} ".encode())
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
