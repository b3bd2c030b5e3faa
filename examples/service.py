"""The whole service as one child process, for as long as an example needs it."""

import os
import signal
import socket
import subprocess
import sys
import time
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import httpx

START_S = 60.0
STOP_S = 15.0


@dataclass(frozen=True)
class Service:
    """A running ``tieshare serve``; ``log`` holds what it prints."""

    process: subprocess.Popen[bytes]
    api: str
    inference: str
    log: Path

    def stop(self) -> None:
        """Ask it to end, as Ctrl-C would, and wait for that."""
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(STOP_S)


def start(data_dir: Path, log: Path) -> Service:
    """Start it on the usual ports, or on free ones where those are taken.

    Raises RuntimeError where it does not answer within a minute.
    """
    port, inference_port, grpc_port = _ports(8000, 8001, 8002)
    command = [sys.executable, "-m", "tieshare_service.cli", "serve"]
    command += ["--data-dir", str(data_dir)]
    command += ["--port", str(port), "--inference-port", str(inference_port)]
    command += ["--inference-grpc-port", str(grpc_port)]
    with log.open("wb") as output:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
            env={**os.environ, "PYTHONUNBUFFERED": "1"},
        )
    service = Service(
        process, f"http://127.0.0.1:{port}", f"http://127.0.0.1:{inference_port}", log
    )
    deadline = time.monotonic() + START_S
    while not (_answers(service.api) and _answers(service.inference)):
        if process.poll() is not None or time.monotonic() > deadline:
            process.kill()
            raise RuntimeError(f"the service did not start; {log} says:\n{log.read_text()}")
        time.sleep(0.1)
    return service


def _answers(url: str) -> bool:
    try:
        return httpx.get(f"{url}/healthz", timeout=1.0).is_success
    except httpx.TransportError:
        return False


def _ports(*wanted: int) -> list[int]:
    """The wanted ports where all are free, else as many free ones."""
    for candidates in (wanted, (0,) * len(wanted)):
        with ExitStack() as held:
            try:
                listeners = [
                    held.enter_context(socket.create_server(("127.0.0.1", port)))
                    for port in candidates
                ]
            except OSError:
                continue
            return [listener.getsockname()[1] for listener in listeners]
    raise RuntimeError("no free port")
