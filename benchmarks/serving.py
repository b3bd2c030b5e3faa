"""Serving speed of one worker on one core, load from another; ``python -m benchmarks.serving``.

One run, rounds interleaved, medians of three: the inference endpoint (JSON and binary tensors),
a plain FastAPI handler, uvicorn answering nothing, and ONNX Runtime with no server at all.
"""

import argparse
import os
import platform
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import orjson
from benchmarks.http_load import Figures, Request, generator, load
from onnx import TensorProto, helper, numpy_helper

CONNECTIONS = 16
ROUNDS = 3
WIDTHS = (784, 300, 10)


@dataclass(frozen=True)
class Entry:
    """One line of the table: what is measured and how."""

    name: str
    measure: Callable[[float], Figures]


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.serving")
    parser.add_argument("--seconds", type=float, default=10.0, help="of load for each figure")
    parser.add_argument("--batch", type=int, default=1, help="samples in one request")
    flags = parser.parse_args()
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) < 2:
        sys.exit("two cores are needed: one for the server, one for the load")
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        entries = list(_entries(stack, folder, flags.batch, cores[0]))
        os.sched_setaffinity(0, {cores[1]})
        rounds = [[entry.measure(flags.seconds) for entry in entries] for _ in range(ROUNDS)]
    medians = [
        Figures(
            statistics.median(figures.per_second for figures in column),
            statistics.median(figures.p50_ms for figures in column),
            statistics.median(figures.p99_ms for figures in column),
        )
        for column in zip(*rounds, strict=True)
    ]
    print(_table(entries, medians))
    print(
        f"\n{'-'.join(map(str, WIDTHS))}, batch {flags.batch}, {CONNECTIONS} connections, "
        f"medians of {ROUNDS} x {flags.seconds:g} s; load by {generator()}. {_machine()}"
    )


def _entries(stack: ExitStack, folder: Path, batch: int, core: int) -> Iterator[Entry]:
    """Start the servers, pinned to ``core``, and check that they answer as ONNX Runtime does."""
    path = folder / "dense" / "1" / "model.onnx"
    path.parent.mkdir(parents=True)
    path.write_bytes(_model().SerializeToString())
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(path, options)
    x = np.random.default_rng(0).random((batch, WIDTHS[0]), dtype=np.float32)
    (y,) = session.run(None, {"x": x})

    ours = _serve("tieshare_service.inference", "--models", str(folder))
    nothing = _serve("uvicorn", "benchmarks.serving_peers:nothing", *_QUIET, "--lifespan", "off")
    fastapi = _serve("uvicorn", "--factory", "benchmarks.serving_peers:plain_fastapi", *_QUIET)
    with _on_core(core):
        os.environ["PEER_MODEL"] = str(path)
        ports = [stack.enter_context(server) for server in (ours, nothing, fastapi)]

    infer = "/v2/models/dense/infer"
    requests = {
        "tieshare, binary": Request(ports[0], "POST", infer, *_binary(x)),
        "tieshare, JSON": Request(ports[0], "POST", infer, (_JSON,), _json(x)),
        "plain FastAPI, JSON": Request(
            ports[2], "POST", "/predict", (_JSON,), orjson.dumps({"x": x.tolist()})
        ),
        "uvicorn answering nothing": Request(ports[1], "GET", "/"),
    }
    _check(requests, y)
    yield Entry("ONNX Runtime in process", partial(_in_process, session, x, core))
    for name, request in requests.items():
        yield Entry(name, partial(load, request, CONNECTIONS))


_QUIET = ("--no-access-log", "--log-level", "warning")
_JSON = ("Content-Type", "application/json")


def _model() -> onnx.ModelProto:
    rng = np.random.default_rng(0)
    nodes, weights, value = [], [], "x"
    for index, (rows, units) in enumerate(pairwise(WIDTHS)):
        weight = rng.normal(0, (2 / rows) ** 0.5, (rows, units)).astype(np.float32)
        bias = np.zeros(units, dtype=np.float32)
        weights.append(numpy_helper.from_array(weight, f"w{index}"))
        weights.append(numpy_helper.from_array(bias, f"b{index}"))
        last = index == len(WIDTHS) - 2
        after = "y" if last else f"g{index}"
        nodes.append(helper.make_node("Gemm", [value, f"w{index}", f"b{index}"], [after]))
        if not last:
            nodes.append(helper.make_node("Relu", [after], [f"h{index}"]))
        value = f"h{index}"
    graph = helper.make_graph(
        nodes,
        "dense",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", WIDTHS[0]])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", WIDTHS[-1]])],
        weights,
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)


def _input(x: np.ndarray[Any, Any], **rest: Any) -> dict[str, Any]:
    return {"name": "x", "datatype": "FP32", "shape": x.shape, **rest}


def _json(x: np.ndarray[Any, Any]) -> bytes:
    return orjson.dumps({"inputs": [_input(x, data=x.ravel())]}, option=orjson.OPT_SERIALIZE_NUMPY)


def _binary(x: np.ndarray[Any, Any]) -> tuple[tuple[tuple[str, str], ...], bytes]:
    parameters = {"binary_data_size": x.nbytes}
    head = orjson.dumps(
        {
            "inputs": [_input(x, parameters=parameters)],
            "parameters": {"binary_data_output": True},
        }
    )
    headers = (
        ("Content-Type", "application/octet-stream"),
        ("Inference-Header-Content-Length", str(len(head))),
    )
    return headers, head + x.tobytes()


def _check(requests: dict[str, Request], y: np.ndarray[Any, Any]) -> None:
    for name, request in requests.items():
        answer = _ask(request)
        if "binary" in name:
            got = np.frombuffer(answer[-y.nbytes :], dtype=np.float32)
        elif "JSON" in name:
            document = orjson.loads(answer)
            values = document["y"] if "y" in document else document["outputs"][0]["data"]
            got = np.asarray(values, dtype=np.float32)
        else:
            continue
        if not np.array_equal(got.ravel(), y.ravel()):
            raise RuntimeError(f"{name}: the answer is not ONNX Runtime's")


def _ask(request: Request) -> bytes:
    url = f"http://127.0.0.1:{request.port}{request.path}"
    asked = urllib.request.Request(
        url, request.body or None, dict(request.headers), method=request.method
    )
    with urllib.request.urlopen(asked, timeout=10) as answer:
        return bytes(answer.read())


def _in_process(session: Any, x: np.ndarray[Any, Any], core: int, seconds: float) -> Figures:
    times = []
    with _on_core(core):
        started = before = time.perf_counter()
        while before - started < seconds:
            session.run(None, {"x": x})
            after = time.perf_counter()
            times.append(after - before)
            before = after
    p50, p99 = np.percentile(times, [50, 99]) * 1000
    return Figures(len(times) / (before - started), float(p50), float(p99))


@contextmanager
def _on_core(core: int) -> Iterator[None]:
    """This process, and those that it starts meanwhile, on one core."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {core})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


@contextmanager
def _serve(module: str, *arguments: str) -> Iterator[int]:
    """The port of a server that accepts connections."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = int(free.getsockname()[1])
    process = subprocess.Popen([sys.executable, "-m", module, *arguments, "--port", str(port)])
    try:
        deadline = time.monotonic() + 30
        while not _answers(port):
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"{module} did not start")
            time.sleep(0.1)
        yield port
    finally:
        process.terminate()
        process.wait(10)


def _answers(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def _table(entries: list[Entry], medians: list[Figures]) -> str:
    by_name = {entry.name: figures for entry, figures in zip(entries, medians, strict=True)}
    nothing = by_name["uvicorn answering nothing"].per_second
    fastapi = by_name["plain FastAPI, JSON"].per_second
    lines = [
        "| | requests/s | p50 ms | p99 ms | over uvicorn answering nothing | over plain FastAPI |",
        "|---|---|---|---|---|---|",
    ]
    lines += [
        f"| {name} | {figures.per_second:,.0f} | {figures.p50_ms:.3f} | {figures.p99_ms:.3f} "
        f"| {figures.per_second / nothing:.2f} | {figures.per_second / fastapi:.1f} |"
        for name, figures in by_name.items()
    ]
    return "\n".join(lines)


def _machine() -> str:
    """Processor, cores and the versions that matter here."""
    model = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text().splitlines():
            if line.startswith("model name"):
                model = line.partition(":")[2].strip()
                break
    packages = ", ".join(
        f"{name} {version(name)}" for name in ("onnxruntime", "uvicorn", "fastapi")
    )
    return f"{model}, {os.cpu_count()} cores, Python {platform.python_version()}, {packages}."


if __name__ == "__main__":
    main()
