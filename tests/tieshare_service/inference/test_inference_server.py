"""The process: what it imports, how it starts and ends, what it does while models change."""

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import numpy as np
import onnx
import onnxruntime
import pytest

from tieshare_service.inference.batching import Limits

Publish = Callable[[str, int, onnx.ModelProto | bytes], Path]
Serve = Callable[..., str]

REQUEST = {
    "inputs": [{"name": "x", "datatype": "FP32", "shape": [1, 4], "data": [0.5, -1.0, 2.0, 0.25]}]
}


def test_the_process_imports_no_trainer_no_framework_and_no_database() -> None:
    heavy = (
        "torch",
        "sklearn",
        "scipy",
        "sqlalchemy",
        "fastapi",
        "pydantic",
        "onnx",
        "tieshare",
        "opentelemetry",
    )
    script = (
        "import sys, tieshare_service.inference.__main__; "
        f"print(sorted(set({heavy!r}) & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"


@contextmanager
def _process(models_dir: Path) -> Iterator[tuple[subprocess.Popen[bytes], str]]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "tieshare_service.inference", "--models", str(models_dir)]
    process = subprocess.Popen([*command, "--port", str(port)])
    try:
        yield process, f"http://127.0.0.1:{port}"
    finally:
        process.kill()
        process.wait()


def _wait(url: str, path: str, status: int = 200, seconds: float = 30.0) -> float:
    """Seconds until the path answers with the status."""
    started = time.monotonic()
    while time.monotonic() - started < seconds:
        try:
            if httpx.get(url + path).status_code == status:
                return time.monotonic() - started
        except httpx.TransportError:
            pass
        time.sleep(0.01)
    raise TimeoutError(f"{path} did not answer {status}")


@pytest.mark.slow
def test_the_command_serves_a_folder_that_comes_later_and_ends_on_sigterm(
    models_dir: Path, publish: Publish, digits: onnx.ModelProto
) -> None:
    with _process(models_dir) as (process, url):
        _wait(url, "/v2/health/ready")
        assert httpx.get(f"{url}/v2/models/digits").status_code == 404
        place = publish("digits", 1, digits)
        assert _wait(url, "/v2/models/digits/ready") < 1.0
        answer = httpx.post(f"{url}/v2/models/digits/infer", json=REQUEST).json()
        session = onnxruntime.InferenceSession(place / "model.onnx")
        x = np.array([REQUEST["inputs"][0]["data"]], dtype=np.float32)
        (y,) = session.run(None, {"x": x})
        assert np.array(answer["outputs"][0]["data"], np.float32).tobytes() == y.tobytes()
        os.kill(process.pid, signal.SIGTERM)
        assert process.wait(10) in {0, -signal.SIGTERM}


def test_versions_come_fail_and_go_under_load_and_every_answer_is_right(
    models_dir: Path, publish: Publish, serve: Serve
) -> None:
    """Version v multiplies by v, so each answer tells which version gave it."""

    def times(factor: int) -> onnx.ModelProto:
        return onnx.parser.parse_model(
            f"""<ir_version: 9, opset_import: ["" : 17]>
            times (float[n] x) => (float[n] y)
            <float[1] f = {{{factor}}}> {{ y = Mul (x, f) }}"""
        )

    publish("times", 1, times(1))
    url = serve()
    stopped = threading.Event()
    answers: list[tuple[int, int, float]] = []
    x = {"name": "x", "datatype": "FP32", "shape": [1], "data": [1.0]}

    def ask() -> None:
        with httpx.Client() as client:
            while not stopped.is_set():
                answer = client.post(f"{url}/v2/models/times/infer", json={"inputs": [x]})
                document = answer.json()
                version = int(document.get("model_version", 0))
                (y,) = document["outputs"][0]["data"] if version else [0.0]
                answers.append((answer.status_code, version, y))

    def wait_for_an_answer_of(version: int) -> float:
        started = time.monotonic()
        while not answers or answers[-1][1] != version:
            assert time.monotonic() - started < 30
            time.sleep(0.005)
        return time.monotonic() - started

    asking = threading.Thread(target=ask)
    asking.start()
    try:
        wait_for_an_answer_of(1)
        for version in (2, 3):
            publish("times", version, times(version))
            assert wait_for_an_answer_of(version) < 1.0
        publish("times", 4, b"not onnx")
        _wait(url, "/v2/models/times/versions/4/ready", 503)
        (models_dir / "times" / "3").rename(models_dir / "times" / ".3.gone")
        wait_for_an_answer_of(2)
    finally:
        stopped.set()
        asking.join()
    assert {status for status, _, _ in answers} == {200}
    assert all(y == version for _, version, y in answers)
    seen = [version for _, version, _ in answers]
    changes = [b for a, b in zip([0, *seen], seen, strict=False) if a != b]
    assert changes == [1, 2, 3, 2]


def test_health_answers_while_a_big_batch_runs(publish: Publish, serve: Serve) -> None:
    layers = "\n".join(f"h{i + 1} = MatMul (h{i}, w)" for i in range(24))
    model = onnx.parser.parse_model(
        f"""<ir_version: 9, opset_import: ["" : 17]>
        deep (float[n, 1] x) => (float[n, 1] y)
        {{ h0 = Mul (x, row)
           {layers}
           y = ReduceMax <axes = [1]> (h24) }}"""
    )
    for name, values in (("w", np.eye(1024)), ("row", np.ones((1, 1024)))):
        tensor = onnx.numpy_helper.from_array(values.astype(np.float32), name)
        model.graph.initializer.append(tensor)
    publish("deep", 1, model)
    url = serve()
    x = {"name": "x", "datatype": "FP32", "shape": [400, 1], "data": [2.0] * 400}
    results: list[list[float]] = []

    def infer() -> None:
        answer = httpx.post(f"{url}/v2/models/deep/infer", json={"inputs": [x]}, timeout=60)
        results.append(answer.json()["outputs"][0]["data"])

    running = threading.Thread(target=infer)
    answered = 0
    with httpx.Client() as client:
        client.get(f"{url}/v2/health/ready")
        running.start()
        while running.is_alive():
            assert client.get(f"{url}/v2/health/ready").status_code == 200
            answered += 1
    running.join()
    assert results == [[2.0] * 400]
    assert answered > 5


def test_a_connection_is_kept_after_a_refusal(
    publish: Publish, serve: Serve, digits: onnx.ModelProto
) -> None:
    publish("digits", 1, digits)
    url = serve(limits=Limits(body_bytes=100_000))
    with httpx.Client() as client:
        too_large = client.post(f"{url}/v2/models/digits/infer", content=b"0" * 5_000_000)
        assert too_large.status_code == 413
        assert client.post(f"{url}/v2/models/digits/infer", content=b"\0").status_code == 400
        assert client.post(f"{url}/v2/models/digits/infer", json=REQUEST).status_code == 200


@pytest.mark.parametrize(
    "raw",
    [
        b"\0\xff garbage\r\n\r\n",
        b"POST /v2/models/digits/infer HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n",
        b"POST /v2/models/digits/infer HTTP/1.1\r\nHost: a\r\nContent-Length: 50\r\n\r\n{",
    ],
)
def test_a_broken_connection_leaves_the_server_well(
    publish: Publish, serve: Serve, digits: onnx.ModelProto, raw: bytes
) -> None:
    publish("digits", 1, digits)
    url = serve()
    port = int(url.rpartition(":")[2])
    with socket.create_connection(("127.0.0.1", port)) as one:
        one.sendall(raw)
        one.shutdown(socket.SHUT_WR)
        one.settimeout(5)
        assert b" 200 " not in one.recv(1000).partition(b"\r\n")[0]
    assert httpx.post(f"{url}/v2/models/digits/infer", json=REQUEST).status_code == 200
