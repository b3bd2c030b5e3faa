"""API, worker and inference on hosts of their own: they share a database and a bucket alone."""

import os
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import httpx
import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import numpy_helper, parser
from tests.waiting import until

from tieshare_service.client import Client

pytestmark = pytest.mark.slow

NETWORK = """
<ir_version: 9, opset_import: ["" : 20]>
small (float[batch, 4] x) => (float[batch, 3] logits) {
    hidden = Gemm<transB = 1>(x, w1, b1)
    active = Relu(hidden)
    logits = Gemm<transB = 1>(active, w2, b2)
}
"""
SHAPES = {"w1": (6, 4), "b1": (6,), "w2": (3, 6), "b2": (3,)}
RECIPE = {"path_epochs": 4, "retrain_epochs": 2, "target": {"max_drop": 0.5}}


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    random = np.random.default_rng(0)
    model = parser.parse_model(NETWORK)
    for name, shape in SHAPES.items():
        values = random.normal(size=shape).astype(np.float32)
        model.graph.initializer.append(numpy_helper.from_array(values, name))
    x = random.normal(size=(300, 4)).astype(np.float32)
    onnx.save(model, tmp_path / "small.onnx")
    (logits,) = ort.InferenceSession(tmp_path / "small.onnx").run(None, {"x": x})
    np.savez(tmp_path / "small.npz", x=x, y=np.asarray(logits).argmax(1))
    return tmp_path / "small.onnx", tmp_path / "small.npz"


@contextmanager
def role(folder: Path, shared: dict[str, str], name: str, *flags: str) -> Iterator[None]:
    """A process of a host whose data folder is ``folder``."""
    command = [sys.executable, "-m", "tieshare_service.cli", name, "--data-dir", str(folder)]
    process = subprocess.Popen([*command, *flags], env={**os.environ, **shared})
    try:
        yield
    finally:
        process.terminate()
        process.wait(20)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def answers(url: str) -> bool:
    try:
        return httpx.get(url).is_success
    except httpx.TransportError:
        return False


def test_a_job_and_its_model_pass_from_host_to_host(
    new_database: Callable[[], str], bucket: str, tmp_path: Path, files: tuple[Path, Path]
) -> None:
    shared = {
        "TIESHARE_DATABASE_URL": new_database(),
        "TIESHARE_BLOBS": bucket,
        "TIESHARE_THREADS": "1",
        "OMP_NUM_THREADS": "1",
    }
    port, inference_port, rpc_port = free_port(), free_port(), free_port()
    api, inference = f"http://127.0.0.1:{port}", f"http://127.0.0.1:{inference_port}"
    ports = "--inference-port", str(inference_port), "--inference-grpc-port", str(rpc_port)
    folders = [tmp_path / name for name in ("one", "two", "three")]
    with ExitStack() as running:
        running.enter_context(role(folders[0], shared, "api", "--port", str(port)))
        running.enter_context(role(folders[2], shared, "inference", *ports))
        until(lambda: answers(f"{api}/readyz"), 60)
        running.enter_context(role(folders[1], shared, "worker"))
        with Client(api) as client:
            model = client.models.create(files[0])
            dataset = client.datasets.create(files[1])
            job = client.jobs.submit(model.id, dataset.id, name="small", recipe=RECIPE)
            done = client.jobs.wait(job.id, timeout_s=120)
            assert done.status == "succeeded"
            shared_file = client.jobs.download(job.id, "shared.onnx", tmp_path / "shared.onnx")
        place = f"{inference}/v2/models/small"
        until(lambda: answers(f"{place}/ready"), 30)
        asked = {"name": "x", "datatype": "FP32", "shape": [1, 4], "data": [1.0, 2.0, 3.0, 4.0]}
        answer = httpx.post(f"{place}/infer", json={"inputs": [asked]}).json()
        content = httpx.get(f"{api}/v1/models/{model.id}/content", headers={"Range": "bytes=3-9"})
        assert (content.status_code, content.content) == (206, files[0].read_bytes()[3:10])
    session = ort.InferenceSession(shared_file)
    (expected,) = session.run(None, {"x": np.array([[1, 2, 3, 4]], np.float32)})
    np.testing.assert_allclose(answer["outputs"][0]["data"], np.ravel(expected), rtol=1e-5)
    assert not any((folder / "blobs").exists() for folder in folders)
    assert not (folders[0] / "copies").exists()
    assert list((folders[2] / "copies" / "small").glob("*/model.onnx"))
