"""The worker's end of a child process: start it, hear it, stop it, say how it ended."""

import json
import os
import selectors
import signal
import subprocess
import sys
from contextlib import suppress
from dataclasses import asdict
from typing import Any

from tieshare_service.child import Spec

Message = dict[str, Any]

_READ_BYTES = 1 << 16


class Training:
    """One child process at work, in a process group of its own.

    Start it from the main thread: on Linux a child is killed with the thread that made it.
    """

    def __init__(self, spec: Spec, threads: int) -> None:
        its_input, self._life = os.pipe()
        self._heard, its_output = os.pipe()
        try:
            self._process = subprocess.Popen(
                # -P: the folder that the worker was started in holds no modules of ours.
                [sys.executable, "-P", "-m", "tieshare_service.child"],
                stdin=its_input,
                stdout=its_output,
                env={**os.environ, **_limited_to(threads)},
                start_new_session=True,
            )
        except OSError:
            os.close(self._life)
            os.close(self._heard)
            raise
        finally:
            os.close(its_input)
            os.close(its_output)
        self._open = True
        self._rest = b""
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._heard, selectors.EVENT_READ)
        with suppress(BrokenPipeError):
            line = json.dumps(asdict(spec)).encode() + b"\n"
            while line:
                line = line[os.write(self._life, line) :]

    @property
    def pid(self) -> int:
        """The child's process id, which is also that of its group."""
        return self._process.pid

    @property
    def ended(self) -> bool:
        """Whether the child is gone and all that it said was heard."""
        return self._process.poll() is not None and not self._selector.select(0)

    def messages(self, timeout_s: float) -> list[Message]:
        """What the child said, waiting at most ``timeout_s`` for the next of it."""
        if not self._selector.get_map():
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(timeout_s)
            return []
        if not self._selector.select(timeout_s):
            return []
        data = os.read(self._heard, _READ_BYTES)
        if not data:
            self._selector.unregister(self._heard)
        *lines, self._rest = (self._rest + data).split(b"\n")
        return [json.loads(line) for line in lines]

    def stop(self, grace_s: float) -> None:
        """End the child and all that it started: asked first, killed after ``grace_s``."""
        if not self._open:
            return
        self._open = False
        self._signal(signal.SIGTERM)
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(grace_s)
        self._signal(signal.SIGKILL)
        self._process.wait()
        self._selector.close()
        os.close(self._life)
        os.close(self._heard)

    def ending(self) -> str:
        """How the child ended, in words for the owner of its job."""
        code = self._process.returncode
        if code >= 0:
            return f"the training process ended with exit code {code} and no result"
        name = signal.Signals(-code).name
        memory = ", as happens when memory runs out" if name == "SIGKILL" else ""
        return f"the training process was killed by {name}{memory}"

    def _signal(self, number: signal.Signals) -> None:
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, number)


def _limited_to(threads: int) -> dict[str, str]:
    libraries = ("OMP", "MKL", "OPENBLAS", "NUMEXPR", "NUMBA", "VECLIB_MAXIMUM")
    limits = {f"{library}_NUM_THREADS": str(threads) for library in libraries}
    # Threads that spin while they wait are many times slower once another process wants the core.
    return {"OMP_WAIT_POLICY": "PASSIVE"} | limits
