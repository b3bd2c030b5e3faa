"""A thousand served models within a budget of memory; ``python -m benchmarks.many_models``.

One inference process has one model and another one a thousand, all as small as a job's shared
784-300-10. Told are what is resident above the first, and how long the first answer of a model
takes that rests: all are asked in turn, so that each rests again before its turn comes.
"""

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import psutil
from benchmarks.machine import machine
from benchmarks.serving_models import networks
from benchmarks.serving_start import free_port

INPUTS = 784
COLD = 200  # models whose first answers are timed
REACH_MIB, REACH_MS = 200, 50
X = {"name": "x", "shape": [1, INPUTS], "datatype": "FP32", "data": [0.5] * INPUTS}


@dataclass(frozen=True)
class Server:
    """An inference process that is ready, and how long that took."""

    http: httpx.Client
    process: psutil.Process
    ready_s: float

    @property
    def resident_mib(self) -> float:
        """Memory now."""
        return float(self.process.memory_info().rss) / 2**20

    def ask(self, name: str) -> float:
        """Milliseconds until one model has answered."""
        began = time.perf_counter()
        self.http.post(f"/v2/models/{name}/infer", json={"inputs": [X]}).raise_for_status()
        return 1000 * (time.perf_counter() - began)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.many_models")
    parser.add_argument("--models", type=int, default=1000)
    parser.add_argument("--model-memory-bytes", type=float, default=60e6)
    flags = parser.parse_args()
    print(machine("onnxruntime", "uvicorn"))
    with tempfile.TemporaryDirectory() as folder:
        one, many = Path(folder, "one"), Path(folder, "many")
        content = networks()["mlp"]["shared"].SerializeToString()
        for root, count in ((one, 1), (many, flags.models)):
            for number in range(count):
                path = root / f"m{number}" / "1" / "model.onnx"
                path.parent.mkdir(parents=True)
                path.write_bytes(content)
        with served(one, flags.model_memory_bytes) as server:
            server.ask("m0")
            alone = server.resident_mib
        with served(many, flags.model_memory_bytes) as server:
            names = [f"m{number}" for number in range(flags.models)]
            at_rest = server.resident_mib
            cold = [server.ask(name) for name in names[:COLD]]
            warm = [server.ask(names[COLD - 1]) for _ in range(COLD)]
            for name in names[COLD:]:
                server.ask(name)
            after = server.resident_mib
            ready_s = server.ready_s
    print(
        f"{flags.models:,} models of {len(content):,} bytes, budget "
        f"{flags.model_memory_bytes / 2**20:.0f} MiB, ready after {ready_s:.1f} s\n"
        f"resident above one model's {alone:.0f} MiB: {at_rest - alone:.0f} MiB at rest, "
        f"{after - alone:.0f} MiB when all were asked (to be reached: {REACH_MIB})\n"
        f"first answer of a model at rest: median {statistics.median(cold):.1f} ms, "
        f"largest {max(cold):.1f} ms (to be reached: {REACH_MS}); of a loaded one "
        f"{statistics.median(warm):.1f} ms"
    )


@contextmanager
def served(models: Path, budget: float) -> Iterator[Server]:
    """An inference process over a folder, whose loaded models may take so many bytes."""
    port = free_port()
    command = ["-m", "tieshare_service.inference", "--models", str(models), "--port", str(port)]
    limit = ["--model-memory-bytes", str(budget)]
    process = subprocess.Popen([sys.executable, *command, *limit])
    began = time.perf_counter()
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=30.0) as http:
            while not _is_ready(http):
                if process.poll() is not None:
                    raise RuntimeError("the inference process did not start")
                time.sleep(0.05)
            yield Server(http, psutil.Process(process.pid), time.perf_counter() - began)
    finally:
        process.terminate()
        process.wait(10)


def _is_ready(http: httpx.Client) -> bool:
    try:
        return http.get("/v2/health/ready").is_success
    except httpx.TransportError:
        return False


if __name__ == "__main__":
    main()
