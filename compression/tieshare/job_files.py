"""A job in a folder, so that another process can open it: the model, the recipe, the data."""

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np
import onnx

from tieshare.checkpoint import Checkpoints
from tieshare.data import Goal, Samples, Splits
from tieshare.graph.tensors import Array
from tieshare.job import Job
from tieshare.progress import Narrator
from tieshare.recipe import Recipe

_MODEL, _RECIPE, _GOALS = "model.onnx", "recipe.json", "goals.json"


def store(job: Job, folder: Path) -> None:
    """Write what ``open_job`` reads; the test split stays out. Nothing to do if it is there."""
    whole = folder / _GOALS  # written last
    if whole.exists():
        return
    folder.mkdir(parents=True, exist_ok=True)
    onnx.save(job.model, folder / _MODEL)
    (folder / _RECIPE).write_text(json.dumps(job.recipe.to_dict()))
    for name, samples in (("train", job.splits.train), ("held_out", job.splits.held_out)):
        _store(folder, f"{name}.inputs", samples.inputs)
        _store(folder, f"{name}.targets", samples.targets)
    whole.write_text(json.dumps([asdict(goal) for goal in job.splits.goals]))


def open_job(folder: Path, checkpoints: Checkpoints, narrator: Narrator) -> Job:
    """The job of that folder. Its arrays are mapped, so that processes share their memory."""
    goals = tuple(Goal(**goal) for goal in json.loads((folder / _GOALS).read_text()))
    train, held_out = (
        Samples(_open(folder, f"{name}.inputs"), _open(folder, f"{name}.targets"))
        for name in ("train", "held_out")
    )
    none = Samples(
        tuple(array[:0] for array in train.inputs), tuple(array[:0] for array in train.targets)
    )
    recipe = Recipe.from_dict(json.loads((folder / _RECIPE).read_text()))
    model = onnx.load(folder / _MODEL)
    return Job(model, Splits(train, held_out, none, goals), recipe, checkpoints, narrator)


def _store(folder: Path, name: str, arrays: Sequence[Array]) -> None:
    for index, array in enumerate(arrays):
        np.save(folder / f"{name}.{index}.npy", array)


def _open(folder: Path, name: str) -> tuple[Array, ...]:
    # Copy on write: torch takes no array that can't be written to.
    paths = sorted(folder.glob(f"{name}.*.npy"), key=lambda path: int(path.suffixes[-2][1:]))
    return tuple(np.load(path, mmap_mode="c") for path in paths)
