"""ONNX Runtime sessions that load when they are needed, within a budget of memory."""

import ctypes
import math
import os
import re
import threading
import time
from collections.abc import Collection
from pathlib import Path
from typing import Any
from weakref import WeakSet

import onnxruntime

from tieshare_service.inference.errors import LoadFailed

_FATAL = 4
_REASON_LENGTH = 500


class Memory:
    """What loaded sessions may take, in bytes: beyond it the least recently used rest.

    ``pinned``: models that never rest. Safe from any thread.
    """

    def __init__(self, budget: float = math.inf, pinned: Collection[str] = ()) -> None:
        self._budget, self._pinned = budget, frozenset(pinned)
        self._lock = threading.Lock()
        self._sessions: WeakSet[Session] = WeakSet()

    @property
    def loaded(self) -> int:
        """How many sessions are."""
        return len(self._awake())

    @property
    def used(self) -> int:
        """Bytes, as far as sizes are known."""
        return sum(session.size for session in self._awake())

    def add(self, session: "Session") -> None:
        """One has loaded; others rest, until all that are left fit or nothing else may go."""
        with self._lock:
            self._sessions.add(session)
            awake = self._awake()
            over = sum(one.size for one in awake) - self._budget
            if over <= 0:
                return
            others = [one for one in awake if one is not session and one.name not in self._pinned]
            for one in sorted(others, key=lambda one: one.used):
                one.rest()
                over -= one.size
                if over <= 0:
                    break
        give_back()

    def _awake(self) -> list["Session"]:
        return [session for session in list(self._sessions) if session.loaded]


class Session:
    """One file, loaded with so many threads for a run; ``size``: what that takes of memory.

    A file that refers to other files is refused.
    """

    def __init__(self, path: Path, name: str, threads: int, memory: Memory) -> None:
        self.name, self.used, self.size = name, 0.0, 0
        self._path, self._threads, self._memory = path, threads, memory
        self._lock = threading.Lock()
        self._stamp: tuple[int, ...] | None = None
        self._running: Any = None

    @property
    def loaded(self) -> bool:
        """Whether a run can begin at once."""
        return self._running is not None

    def up(self) -> Any:
        """ONNX Runtime's session, loaded if it was not. Raises LoadFailed without any path."""
        self.used = time.monotonic()
        running = self._running
        if running is not None:
            return running
        with self._lock:
            running = self._running
            if running is None:
                running = self._running = self._load()
        self._memory.add(self)
        return running

    def rest(self) -> None:
        """Give the memory back as soon as the last run has ended."""
        self._running = None

    def measured(self, grown: int) -> None:
        """Loading and the first runs made the process grow by so many bytes."""
        self.size = max(self.size, grown)
        self._memory.add(self)

    def _load(self) -> Any:
        try:
            with self._path.open("rb") as file:
                status = os.fstat(file.fileno())
                content = file.read()
        except OSError as error:
            raise LoadFailed(f"model.onnx can't be read: {error.strerror}") from error
        stamp = (status.st_ino, status.st_mtime_ns, status.st_size)
        if self._stamp not in (None, stamp):
            raise LoadFailed("model.onnx has changed")
        self._stamp, self.size = stamp, max(self.size, status.st_size)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = self._threads
        options.inter_op_num_threads = 1
        options.log_severity_level = _FATAL
        # threads that spin for work would take the event loop's core
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        providers = ["CPUExecutionProvider"]
        try:
            return onnxruntime.InferenceSession(content, options, providers=providers)
        except Exception as error:  # ONNX Runtime's exceptions have no root of their own
            raise LoadFailed(reason_of(error)) from error


def reason_of(error: Exception) -> str:
    """ONNX Runtime's message without its codes and source files, one line."""
    text = re.sub(r"^\[ONNXRuntimeError\] : \d+ : \w+ : ", "", str(error))
    text = text.rpartition("Status Message: ")[2]
    text = re.sub(r"(?<!\S)/\S+\s*", "", text)
    return " ".join(text.split())[:_REASON_LENGTH]


def resident_bytes() -> int:
    """Memory of this process; 0 where the system does not tell."""
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
    except OSError:
        return 0
    return pages * os.sysconf("SC_PAGE_SIZE")


def give_back() -> None:
    """Return freed memory to the system, where the C library keeps it and can."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
