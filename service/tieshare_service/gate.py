"""Reads what strangers send, in a process of its own with limits on memory and time.

    TooCostly
    ├── ModelTooCostly
    └── DatasetTooCostly     reading it hit a limit
    Unreadable
    ├── ModelUnreadable
    └── DatasetUnreadable    the reader failed in a way that nobody foresaw
    GateBroken               the gate itself does not work

The reader's own errors (NotOnnx, BadArray, ...) come through as they are.
"""

import asyncio
import json
import logging
import sys
import tempfile
from asyncio.subprocess import PIPE
from pathlib import Path
from typing import Any

from tieshare.errors import TieshareError
from tieshare_service.blobs import Kind
from tieshare_service.errors import ServiceError
from tieshare_service.gate_child import UNFORESEEN

_log = logging.getLogger(__name__)

Card = dict[str, Any]

_PARALLEL = 2  # children at a time; each may take the whole memory limit
_START_S = 10.0  # interpreter and imports, on a busy machine

# One thread: each thread of OpenBLAS reserves address space, which the limit counts.
_ENVIRONMENT = {"OPENBLAS_NUM_THREADS": "1"}


class TooCostly(ServiceError):
    """Reading a file took more memory or time than one file may."""

    type = "upload-too-costly"


class ModelTooCostly(TooCostly):
    """Reading a model took more than one may."""

    type = "model-too-costly"


class DatasetTooCostly(TooCostly):
    """Reading a data set took more than one may."""

    type = "dataset-too-costly"


class Unreadable(ServiceError):
    """The reader failed on this file in a way that nobody foresaw."""

    type = "upload-unreadable"


class ModelUnreadable(Unreadable):
    """The reader of models failed on this one."""

    type = "model-unreadable"


class DatasetUnreadable(Unreadable):
    """The reader of data sets failed on this one."""

    type = "dataset-unreadable"


class GateBroken(ServiceError):
    """The process that reads uploads does not start or says nothing."""

    type = "gate-broken"


_TOO_COSTLY: dict[Kind, type[TooCostly]] = {"models": ModelTooCostly, "datasets": DatasetTooCostly}
_UNREADABLE: dict[Kind, type[Unreadable]] = {
    "models": ModelUnreadable,
    "datasets": DatasetUnreadable,
}


class Gate:
    """Reads one upload at a time, or two.

    ``memory_bytes`` bounds the child's address space, ``seconds`` its processor time and, with
    the time to start added, the time on the wall.
    """

    def __init__(self, memory_bytes: int, seconds: float) -> None:
        self._memory_bytes = memory_bytes
        self._seconds = seconds
        self._slots = asyncio.Semaphore(_PARALLEL)
        self._told = False

    async def read(self, kind: Kind, path: Path) -> Card:
        """What the file is, as plain data.

        Raises the error that ``read_model`` or ``read_npz`` raised, TooCostly, Unreadable, and
        GateBroken.
        """
        request = {
            "kind": kind,
            "path": str(path.absolute()),
            "memory_bytes": self._memory_bytes,
            "seconds": self._seconds,
        }
        async with self._slots:
            with tempfile.TemporaryDirectory(prefix="tieshare-gate-") as folder:
                code, out, err = await self._run(json.dumps(request).encode(), folder)
        return self._judge(kind, code, out, err)

    async def _run(self, request: bytes, folder: str) -> tuple[int | None, bytes, bytes]:
        """Exit code, output, complaints. The code is None where the time ran out."""
        child = await asyncio.create_subprocess_exec(
            *(sys.executable, "-I", "-m", "tieshare_service.gate_child"),
            cwd=folder,
            env=_ENVIRONMENT,
            stdin=PIPE,
            stdout=PIPE,
            stderr=PIPE,
        )
        try:
            async with asyncio.timeout(self._seconds + _START_S):
                out, err = await child.communicate(request)
        except TimeoutError:
            return None, b"", b""
        finally:
            if child.returncode is None:
                child.kill()
                await child.wait()
        return child.returncode, out, err

    def _judge(self, kind: Kind, code: int | None, out: bytes, err: bytes) -> Card:
        if code is None or code < 0:
            how = "time ran out" if code is None else f"signal {-code}"
            raise self._too_costly(kind, how)
        if code == UNFORESEEN:
            _log.error("a reader failed on an upload: %s", err.decode(errors="replace"))
            raise _UNREADABLE[kind]("the file can't be read", where="body")
        if code > 0:
            _log.error("the gate broke, exit code %d: %s", code, err.decode(errors="replace"))
            raise GateBroken("uploads can't be read at the moment")
        answer = json.loads(out)
        if answer.get("missing") and not self._told:
            self._told = True
            missing = " and ".join(answer["missing"])
            _log.warning("uploads are read without %s, which this system lacks", missing)
        if "costly" in answer:
            raise self._too_costly(kind, answer["costly"])
        if "error" in answer:
            raise _rebuilt(**answer["error"])
        return dict(answer["card"])

    def _too_costly(self, kind: Kind, how: str) -> TooCostly:
        return _TOO_COSTLY[kind](
            f"reading it took more than {self._memory_bytes} bytes of memory"
            f" or {self._seconds:g} s ({how})",
            where="body",
        )


def _rebuilt(type: str, message: str, where: str) -> TieshareError:  # noqa: A002 - a field's name
    """The error that the child met. Its own arguments are gone: type and text are what it is."""
    kinds = {kind.type: kind for kind in _all_kinds(TieshareError)}
    kind = kinds.get(type, TieshareError)
    error = kind.__new__(kind)
    TieshareError.__init__(error, message, where=where)
    return error


def _all_kinds(kind: type[TieshareError]) -> list[type[TieshareError]]:
    return [kind, *(deeper for child in kind.__subclasses__() for deeper in _all_kinds(child))]
