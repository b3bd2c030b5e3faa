"""The process that does one job, so that its memory comes back and its crash is no one else's.

It reads a Spec as one line of JSON from standard input, writes what happens as lines of JSON to
standard output, {"progress": ...}, {"front": [...]} where a point came to it, and at most one
{"failed": {type, message}}, and leaves the finished result as the folder ``out``, which appears
whole or not at all. Standard input stays open as long as the worker lives; when it closes, this
process ends.
"""

import ctypes
import importlib
import json
import logging
import os
import shutil
import signal
import sys
import threading
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

from tieshare.channel import take_standard_output
from tieshare.errors import TieshareError
from tieshare.progress import Listener, Progress
from tieshare.recipe import Recipe
from tieshare_service.blobs import Blobs
from tieshare_service.durable import rename_synced, sync
from tieshare_service.settings import Settings

_PR_SET_PDEATHSIG = 1
_log = logging.getLogger("tieshare.child")


class Result(Protocol):
    """What a runner gives back."""

    def save(self, folder: Path) -> object:
        """Write the artifacts into a folder that exists."""


Runner = Callable[[Path, Path, Recipe, Listener, Path], Result]


@dataclass(frozen=True)
class Spec:
    """One attempt at one job. ``folder`` is the job's own; checkpoints and result lie there.

    ``model``, ``dataset``: their keys in the store, that of ``data_dir`` or of ``blobs``.
    """

    runner: str
    model: str
    dataset: str
    recipe: dict[str, Any]
    folder: str
    attempt: int
    data_dir: str
    blobs: str = ""
    niceness: int = 5

    def uploads(self) -> tuple[Path, Path]:
        """Model and data set, on this machine."""
        store = Blobs.of(Settings(data_dir=Path(self.data_dir), blobs=self.blobs)).store
        folder = Path(self.folder) / "uploads"
        return store.fetch(self.model, folder), store.fetch(self.dataset, folder)

    @property
    def out(self) -> Path:
        """The finished artifacts."""
        return Path(self.folder) / "out"

    @property
    def unfinished(self) -> Path:
        """The artifacts while this attempt writes them."""
        return Path(self.folder) / f"unfinished.{self.attempt}"

    @property
    def checkpoints(self) -> Path:
        """Where the runner keeps what the next attempt goes on from."""
        return Path(self.folder) / "checkpoints"


def main() -> None:
    """Do the job on standard input."""
    channel = take_standard_output()
    spec = Spec(**json.loads(_first_line(sys.stdin.fileno())))
    _die_with_the_worker()
    os.nice(spec.niceness)
    logging.basicConfig(format="%(asctime)s %(levelname)s %(name)s %(message)s")

    def send(message: dict[str, Any]) -> None:
        channel.write(json.dumps(message).encode() + b"\n")

    def tell(progress: Progress) -> None:
        step = asdict(progress)
        front = step.pop("front")
        send({"progress": step})
        if front is not None:
            send({"front": [_scored(point) for point in front]})

    try:
        _run(spec, tell)
    except Exception as error:
        _log.exception("attempt %d failed", spec.attempt)
        send({"failed": _failure(error)})


def _run(spec: Spec, listener: Callable[[Progress], None]) -> None:
    module, _, name = spec.runner.partition(":")
    runner: Runner = getattr(importlib.import_module(module), name)
    recipe = Recipe.from_dict(spec.recipe)
    result = runner(*spec.uploads(), recipe, listener, spec.checkpoints)
    spec.unfinished.mkdir()
    result.save(spec.unfinished)
    for path in spec.unfinished.iterdir():
        sync(path)
    sync(spec.unfinished)
    try:
        rename_synced(spec.unfinished, spec.out)
    except OSError:
        if not spec.out.is_dir():
            raise
        # Another attempt was first: there is one result, and it is that one.
        shutil.rmtree(spec.unfinished, ignore_errors=True)


def _scored(point: dict[str, Any]) -> dict[str, Any]:
    """A point as report.json has it: without the score that was not taken."""
    return {name: value for name, value in point.items() if value is not None}


def _failure(error: Exception) -> dict[str, str]:
    """What the owner of the job may read: no traceback and no path."""
    if isinstance(error, TieshareError):
        told = error.where and error.where not in error.message
        message = f"{error.where}: {error.message}" if told else error.message
        return {"type": error.type, "message": message}
    if isinstance(error, MemoryError):
        return {"type": "job-crashed", "message": "the training process ran out of memory"}
    text = error.strerror or "" if isinstance(error, OSError) else str(error)
    return {"type": "job-error", "message": f"{type(error).__name__}: {text}".rstrip(": ")}


def _first_line(handle: int) -> bytes:
    line = b""
    while not line.endswith(b"\n"):
        # One byte at a time: the watching thread reads on from here without a buffer.
        byte = os.read(handle, 1)
        if not byte:
            raise EOFError("the worker ended before it told what to do")
        line += byte
    return line


def _die_with_the_worker() -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    threading.Thread(target=_watch, args=(sys.stdin.fileno(),), daemon=True).start()


def _watch(handle: int) -> None:
    while os.read(handle, 1):
        pass
    os.killpg(0, signal.SIGKILL)


if __name__ == "__main__":
    main()
