"""Load while models come, go and are replaced; ``python -m benchmarks.serving_soak --minutes 10``.

Clients ask models of which each version multiplies by a number of its own, so that every answer
tells whether it is right for the version that it names. Meanwhile versions are added, removed and
broken, models are unloaded and loaded, under a budget of memory in which a quarter of them fit.
Only 200, 404 and 503 are promised; memory must not grow.
"""

import argparse
import itertools
import random
import shutil
import statistics
import tempfile
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import numpy as np
import onnx
from benchmarks.machine import machine
from benchmarks.many_models import Server, served

NAMES = tuple(f"m{number}" for number in range(40))
CLIENTS, WIDTH = 4, 256
PAUSE_S = 0.02  # between two requests of a client, and two changes
PROMISED = (200, 404, 503)
BUDGET = 10e6


@dataclass
class Seen:
    """What clients were answered."""

    statuses: Counter[int] = field(default_factory=Counter)
    wrong: int = 0
    first_bad: str = ""


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.serving_soak")
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--seed", type=int, default=0)
    flags = parser.parse_args()
    print(machine("onnxruntime", "uvicorn"))
    with tempfile.TemporaryDirectory() as folder:
        models = Path(folder)
        for name in NAMES:
            publish(models, name, 1)
        with served(models, BUDGET) as server:
            seen, changes, resident = soak(server, models, flags.minutes * 60, flags.seed)
    total = sum(seen.statuses.values())
    print(f"{total:,} answers: {dict(sorted(seen.statuses.items()))}; wrong: {seen.wrong}")
    print(f"{sum(changes.values()):,} changes: {dict(sorted(changes.items()))}")
    third = max(len(resident) // 3, 1)
    parts = [statistics.median(part) for part in (resident[:third], resident[-third:])]
    print(f"resident, MiB: {parts[0]:.1f} in the first third, {parts[1]:.1f} in the last")
    unpromised = {status: n for status, n in seen.statuses.items() if status not in PROMISED}
    print(f"not promised: {unpromised or 'none'} {seen.first_bad}")


def soak(
    server: Server, models: Path, seconds: float, seed: int
) -> tuple[Seen, Counter[str], list[float]]:
    """What was answered, what was changed, and the memory at each second."""
    stop, seen, changes = threading.Event(), Seen(), Counter[str]()
    clients = [
        threading.Thread(target=ask, args=(server, stop, seen, random.Random(seed + number)))
        for number in range(CLIENTS)
    ]
    changer = threading.Thread(target=change, args=(server, models, stop, changes, seed))
    for thread in (*clients, changer):
        thread.start()
    resident, deadline = [], time.monotonic() + seconds
    while time.monotonic() < deadline:
        time.sleep(1)
        resident.append(server.resident_mib)
    stop.set()
    for thread in (*clients, changer):
        thread.join()
    return seen, changes, resident


def ask(server: Server, stop: threading.Event, seen: Seen, rng: random.Random) -> None:
    with httpx.Client(base_url=server.http.base_url, timeout=30.0) as http:
        while not stop.wait(PAUSE_S):
            name, rows = rng.choice(NAMES), rng.choice((1, 1, 1, 8, 200))
            x = [float(rng.randint(0, 9)) for _ in range(rows)]
            data = {"name": "x", "datatype": "FP32", "shape": [rows, 1], "data": x}
            answer = http.post(f"/v2/models/{name}/infer", json={"inputs": [data]})
            seen.statuses[answer.status_code] += 1
            if answer.status_code == 200:
                body = answer.json()
                expected = [value * factor(name, int(body["model_version"])) for value in x]
                seen.wrong += body["outputs"][0]["data"][::WIDTH] != expected
            elif answer.status_code not in PROMISED:
                seen.first_bad = seen.first_bad or answer.text


def change(
    server: Server, models: Path, stop: threading.Event, changes: Counter[str], seed: int
) -> None:
    rng = random.Random(seed)
    with httpx.Client(base_url=server.http.base_url, timeout=30.0) as http:
        for version in itertools.count(2):
            if stop.wait(PAUSE_S * 5):
                return
            name = rng.choice(NAMES)
            what = rng.choice(("add", "add", "add", "break", "remove", "reload"))
            changes[what] += 1
            known = sorted((models / name).glob("[0-9]*"), key=lambda path: int(path.name))
            if what in {"add", "break"}:
                publish(models, name, version, broken=what == "break")
                for old in known[:-2]:
                    shutil.rmtree(old)
            elif what == "remove":
                shutil.rmtree(models / name, ignore_errors=True)
            else:
                http.post(f"/v2/repository/models/{name}/unload", json={})
                http.post(f"/v2/repository/models/{name}/load", json={})


def factor(name: str, version: int) -> float:
    """What a version multiplies by."""
    return float(NAMES.index(name) + 100 * version)


def publish(models: Path, name: str, version: int, *, broken: bool = False) -> None:
    """Put a version into its place by rename, as a job does."""
    content = b"not a model" if broken else _model(factor(name, version)).SerializeToString()
    unfinished = models / name / f".{version}"
    unfinished.mkdir(parents=True)
    (unfinished / "model.onnx").write_bytes(content)
    unfinished.rename(models / name / str(version))


def _model(number: float) -> onnx.ModelProto:
    """A row times a matrix whose entries are this number; with a second one, which makes it big."""
    first = np.full((1, WIDTH), number, np.float32)
    second = np.eye(WIDTH, dtype=np.float32)
    weights = [onnx.numpy_helper.from_array(w, n) for n, w in (("a", first), ("b", second))]
    nodes = [
        onnx.helper.make_node("MatMul", ["x", "a"], ["h"]),
        onnx.helper.make_node("MatMul", ["h", "b"], ["y"]),
    ]
    ends = [
        onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, ["n", width])
        for name, width in (("x", 1), ("y", WIDTH))
    ]
    graph = onnx.helper.make_graph(nodes, "times", ends[:1], ends[1:], weights)
    opset = [onnx.helper.make_opsetid("", 18)]
    return onnx.helper.make_model(graph, opset_imports=opset, ir_version=10)


if __name__ == "__main__":
    main()
