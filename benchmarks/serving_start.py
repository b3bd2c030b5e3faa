"""A server that runs on one core until it has been measured, and nothing of it after that."""

import os
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from benchmarks.http_load import Request
from benchmarks.serving_environments import last_line
from benchmarks.serving_requests import ask
from benchmarks.serving_servers import Server, Unusable

_START_S, _STOP_S = 120, 15


@contextmanager
def running(
    server: Server, python: Path, folder: Path, core: int, first: Request
) -> Iterator[None]:
    """The server of the files in ``folder``, once it answers ``first``, whose port is its own.

    Raises Unusable where it doesn't start, with the last line that it wrote.
    """
    port = str(first.port)
    command = [part.format(port=port, folder=folder) for part in server.command]
    model = folder / "dense" / "1" / "model.onnx"
    environ = os.environ | {"PEER_PORT": port, "PEER_MODEL": str(model)}
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as work:
        if server.packages:
            environ.pop("PYTHONPATH", None)
            environ["HOME"] = work
        log = Path(work, "log")
        with log.open("wb") as output, on_core(core):
            process = subprocess.Popen(
                [python, *command],
                cwd=work if server.packages else None,
                env=environ,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        try:
            _wait(process, first, log)
            yield
        finally:
            _stop(process)


@contextmanager
def on_core(core: int) -> Iterator[None]:
    """This process, and those that it starts meanwhile, on one core."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {core})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def _wait(process: subprocess.Popen[bytes], first: Request, log: Path) -> None:
    deadline, refusal = time.monotonic() + _START_S, ""
    while process.poll() is None and time.monotonic() < deadline:
        try:
            ask(first)
        except OSError as error:
            refusal = f"{error}; "
            time.sleep(0.1)
        else:
            return
    said = last_line(log.read_text(errors="replace"))
    raise Unusable(f"did not start: {refusal}{said}")


def _stop(process: subprocess.Popen[bytes]) -> None:
    """It is asked to end; what is left of its processes after that is killed."""
    process.terminate()
    with suppress(subprocess.TimeoutExpired):
        process.wait(_STOP_S)
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
