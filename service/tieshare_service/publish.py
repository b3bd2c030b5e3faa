"""Puts a finished model where the inference endpoint, or Triton, finds it.

    models/NAME/config.pbtxt
    models/NAME/VERSION/model.onnx

A version's folder appears at once and whole: it is filled under a hidden name, synced, renamed.
A job has one version however often its result is published; every other point of its front that
is put into service after that is one more.
"""

import re
import shutil
import tempfile
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import Literal

from sqlalchemy import Engine, func, insert, select, update

from tieshare_service.database import alone
from tieshare_service.durable import rename_synced, sync, write_synced
from tieshare_service.records import versions
from tieshare_service.tenants import owned_name

ServedFile = Literal["shared", "packed"]

MODEL_FILE = "model.onnx"
LONGEST_NAME = 100


@dataclass(frozen=True)
class Point:
    """A result of a job: its number in the front, None where there is no front, and its file."""

    point: int | None
    file: ServedFile = "shared"


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
        # Of two threads with the same version one would sweep away what the other is writing.
        self._writing = Lock()

    def publish(
        self, job_id: str, name: str, model: bytes, point: Point, tenant: str = ""
    ) -> Served:
        """Serve a job's result as the next version of ``name``, or as the one it has already."""
        served = owned_name(tenant, served_name(name))
        return self._put(self._reserve(job_id, served, point, again=True), model)

    def publish_other(
        self, job_id: str, name: str, model: bytes, point: Point, tenant: str = ""
    ) -> Served:
        """Serve another point as the next version; the job's newest where it is this point."""
        served = owned_name(tenant, served_name(name))
        return self._put(self._reserve(job_id, served, point, again=False), model)

    def withdraw(self, served: Served) -> None:
        """Take a version out of service; no error if it is not there."""
        folder = self._models_dir / served.name
        hidden = folder / f".{served.version}.old"
        with self._writing, suppress(FileNotFoundError):
            shutil.rmtree(hidden, ignore_errors=True)
            rename_synced(folder / str(served.version), hidden)
            shutil.rmtree(hidden)

    def _reserve(self, job_id: str, name: str, point: Point, *, again: bool) -> Served:
        newest = select(versions).where(versions.c.job_id == job_id)
        newest = newest.order_by(versions.c.version.desc()).limit(1)
        last = select(func.coalesce(func.max(versions.c.version), 0)).where(versions.c.name == name)
        held = {"point": point.point, "file": point.file}
        with self._engine.begin() as connection:
            alone(connection, name)
            row = connection.execute(newest).one_or_none()
            if row is not None and (again or Point(row.point, row.file) == point):
                mine = (versions.c.name == row.name) & (versions.c.version == row.version)
                connection.execute(update(versions).where(mine).values(held))
                return Served(row.name, row.version)
            version = connection.scalars(last).one() + 1
            entry = {"name": name, "version": version, "job_id": job_id, **held}
            connection.execute(insert(versions).values(entry))
            return Served(name, version)

    def _put(self, served: Served, model: bytes) -> Served:
        folder = self._models_dir / served.name
        with self._writing:
            if not folder.is_dir():
                folder.mkdir(parents=True, exist_ok=True)
                sync(self._models_dir)
            _put_config(folder)
            _put_version(folder / str(served.version), model)
        return served


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
