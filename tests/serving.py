"""The whole service, started as a user starts it."""

import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil

QUICK = {"path_epochs": 2, "retrain_epochs": 1, "batch_size": 16}
"""A recipe that trains for seconds."""


@dataclass(frozen=True)
class Serving:
    """Its process, and its addresses."""

    process: subprocess.Popen[str]
    api: str
    inference: str
    rpc: str

    def pid(self, role: str) -> int:
        """Of one of its children. LookupError: there is none."""
        for child in psutil.Process(self.process.pid).children():
            if role in child.cmdline():
                return int(child.pid)
        raise LookupError(role)


def tieshare(*words: object) -> list[str]:
    """The command with these words."""
    return [sys.executable, "-m", "tieshare_service.cli", *map(str, words)]


@contextmanager
def serving(folder: Path, *flags: object) -> Iterator[Serving]:
    """Ready, on free ports; what still runs at the end is asked to end, and has to do so well."""
    command = tieshare("serve", "--data-dir", folder, *flags)
    command += ["--port", "0", "--inference-port", "0", "--inference-grpc-port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        said = []
        for line in process.stdout:
            said.append(line)
            if line.startswith("ready"):
                break
        text = "".join(said)
        try:
            api, inference = re.findall(r"https?://\S+", text)[:2]
            (rpc,) = re.findall(r"gRPC +(\S+)", text)
            yield Serving(process, api, inference, rpc)
        finally:
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
            process.stdout.read()
            code = process.wait(15)
        assert code == 0
