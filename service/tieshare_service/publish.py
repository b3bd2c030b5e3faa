"""Puts a finished model where the inference endpoint, or Triton, finds it.

    models/NAME/config.pbtxt
    models/NAME/VERSION/model.onnx

A version's folder appears at once and whole: it is filled under a hidden name, synced, renamed.
A job has one version however often it is published.
"""

import re
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import Engine, func, insert, select

from tieshare_service.durable import rename_synced, sync, write_synced
from tieshare_service.records import versions

MODEL_FILE = "model.onnx"
LONGEST_NAME = 100


@dataclass(frozen=True)
class Served:
    """Under which name and version a model answers."""

    name: str
    version: int


def served_name(text: str) -> str:
    """``text`` as a name for a folder and a URL: letters, digits, ``.``, ``_`` and ``-``."""
    name = re.sub(r"[^A-Za-z0-9._-]+", "-", text).lstrip(".-")[:LONGEST_NAME].rstrip(".-")
    return name or "model"


class Publisher:
    """The served models of one folder, numbered by the ``versions`` table."""

    def __init__(self, engine: Engine, models_dir: Path) -> None:
        self._engine = engine
        self._models_dir = models_dir

    def publish(self, job_id: str, name: str, model: bytes) -> Served:
        """Serve ``model`` as the next version of ``name``, or as the one this job has already."""
        served = self._reserve(job_id, served_name(name))
        folder = self._models_dir / served.name
        if not folder.is_dir():
            folder.mkdir(parents=True, exist_ok=True)
            sync(self._models_dir)
        _put_config(folder)
        _put_version(folder / str(served.version), model)
        return served

    def _reserve(self, job_id: str, name: str) -> Served:
        mine = select(versions.c.name, versions.c.version).where(versions.c.job_id == job_id)
        last = select(func.coalesce(func.max(versions.c.version), 0)).where(versions.c.name == name)
        with self._engine.begin() as connection:
            row = connection.execute(mine).one_or_none()
            if row is not None:
                return Served(row.name, row.version)
            version = connection.scalars(last).one() + 1
            entry = {"name": name, "version": version, "job_id": job_id}
            connection.execute(insert(versions).values(entry))
            return Served(name, version)


def _put_config(folder: Path) -> None:
    """What Triton has to be told; the rest it reads in the model."""
    path = folder / "config.pbtxt"
    lines = [f'name: "{folder.name}"', 'backend: "onnxruntime"', "version_policy: { all { } }"]
    text = "\n".join([*lines, ""]).encode("ascii")
    if path.is_file() and path.read_bytes() == text:
        return
    with tempfile.NamedTemporaryFile(dir=folder, prefix=".config.", delete=False) as temporary:
        temporary.write(text)
    written = Path(temporary.name)
    written.chmod(0o644)
    sync(written)
    written.replace(path)
    sync(folder)


def _put_version(target: Path, model: bytes) -> None:
    if target.is_dir() and _holds(target, model):
        return
    hidden = f".{target.name}."
    for left in target.parent.glob(f"{hidden}*"):
        shutil.rmtree(left, ignore_errors=True)
    new = Path(tempfile.mkdtemp(dir=target.parent, prefix=hidden, suffix=".tmp"))
    new.chmod(0o755)
    write_synced(new / MODEL_FILE, model)
    sync(new)
    if target.is_dir():
        target.rename(target.parent / f"{hidden}old")
    rename_synced(new, target)
    shutil.rmtree(target.parent / f"{hidden}old", ignore_errors=True)


def _holds(target: Path, model: bytes) -> bool:
    path = target / MODEL_FILE
    return path.is_file() and path.read_bytes() == model
