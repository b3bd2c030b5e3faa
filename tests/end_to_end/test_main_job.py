"""The main job on the real service: upload, job, download, inference; cancel; a killed API."""

import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import onnxruntime as ort
import pytest
import torch
from onnx import numpy_helper, parser
from sklearn.datasets import load_digits
from tests.serving import Serving, serving
from torch import nn

from tieshare_service.client import Client, Job, JobCancelled, Retry, Served

pytestmark = pytest.mark.slow

NETWORK = """
<ir_version: 9, opset_import: ["" : 20]>
digits (float[batch, 64] x) => (float[batch, 10] logits) {
    hidden = Gemm<transB = 1>(x, w1, b1)
    active = Relu(hidden)
    logits = Gemm<transB = 1>(active, w2, b2)
}
"""
SHORT = {"path_epochs": 10, "retrain_epochs": 3}
ENDLESS = {"path_epochs": 100_000}
# Outlives the second or two that a killed API needs to come back.
PATIENT = Retry(attempts=12)


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    with serving(tmp_path_factory.mktemp("data"), "--threads", 1) as running:
        yield running


@pytest.fixture(scope="module")
def client(service: Serving) -> Iterator[Client]:
    with Client(service.api, retry=PATIENT) as client:
        yield client


@pytest.fixture(scope="module")
def digits() -> tuple[np.ndarray, np.ndarray]:
    images, labels = load_digits(return_X_y=True)
    return (images / 16).astype(np.float32), labels.astype(np.int64)


@pytest.fixture(scope="module")
def submit(
    client: Client,
    digits: tuple[np.ndarray, np.ndarray],
    tmp_path_factory: pytest.TempPathFactory,
) -> Callable[..., Job]:
    """Submits a job on a trained 64-48-10 network, uploaded once."""
    folder = tmp_path_factory.mktemp("uploads")
    (folder / "digits.onnx").write_bytes(trained(*digits))
    np.savez_compressed(folder / "digits.npz", x=digits[0], y=digits[1])
    model = client.models.create(folder / "digits.onnx")
    dataset = client.datasets.create(folder / "digits.npz")

    def submit(recipe: dict[str, Any], name: str) -> Job:
        target = {"max_drop": 0.05}
        return client.jobs.submit(model.id, dataset.id, name=name, recipe=recipe, target=target)

    return submit


def trained(images: np.ndarray, labels: np.ndarray) -> bytes:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(64, 48), nn.ReLU(), nn.Linear(48, 10))
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-2)
    x, y = torch.from_numpy(images), torch.from_numpy(labels)
    for _ in range(150):
        optimizer.zero_grad()
        torch.autograd.backward(nn.functional.cross_entropy(network(x), y))
        optimizer.step()
    model = parser.parse_model(NETWORK)
    names = ("w1", "b1", "w2", "b2")
    for name, parameter in zip(names, network.parameters(), strict=True):
        model.graph.initializer.append(numpy_helper.from_array(parameter.detach().numpy(), name))
    return bytes(model.SerializeToString())


@pytest.fixture(scope="module")
def smaller(client: Client, submit: Callable[..., Job]) -> Job:
    """A job that has succeeded."""
    return client.jobs.wait(submit(SHORT, "smaller").id, timeout_s=240)


def infer(service: Serving, served: Served, x: np.ndarray) -> np.ndarray:
    """The answer of the inference endpoint, as soon as it has the model."""
    url = f"{service.inference}/v2/models/{served.name}/versions/{served.version}"
    deadline = time.monotonic() + 5
    while not httpx.get(f"{url}/ready").is_success:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    tensor = {"name": "x", "datatype": "FP32", "shape": list(x.shape), "data": x.tolist()}
    answer = httpx.post(f"{url}/infer", json={"inputs": [tensor]})
    assert answer.status_code == 200, answer.text
    output = answer.json()["outputs"][0]
    return np.array(output["data"], np.float32).reshape(output["shape"])


def answer(file: Path, x: np.ndarray) -> np.ndarray:
    """What the model in the file gives in plain ONNX Runtime."""
    session = ort.InferenceSession(file, providers=["CPUExecutionProvider"])
    return np.asarray(session.run(None, {"x": x})[0])


def test_a_posted_network_comes_back_smaller_and_is_served(
    service: Serving,
    client: Client,
    smaller: Job,
    digits: tuple[np.ndarray, np.ndarray],
    tmp_path: Path,
) -> None:
    assert smaller.result is not None
    for artifact in client.jobs.artifacts(smaller.id):
        client.jobs.download(smaller.id, artifact.name, tmp_path / artifact.name)
    report = smaller.result.report
    shared = (tmp_path / "shared.onnx").read_bytes()
    x, y = digits
    expected = answer(tmp_path / "shared.onnx", x[:32])

    assert np.array_equal(infer(service, Served("smaller", 1), x[:32]), expected)
    assert smaller.result.served == Served("smaller", 1)
    assert report["shared"]["bytes"] == len(shared) < report["baseline"]["bytes"]
    assert report["shared"]["compression_ratio"] > 1
    answers = answer(tmp_path / "shared.onnx", x)
    assert (np.argmax(answers, axis=1) == y).mean() > 0.85


def test_the_front_was_told_as_it_grew_and_each_point_has_its_files(
    client: Client, smaller: Job
) -> None:
    assert smaller.front
    assert smaller.result is not None
    grown = [
        len(event.data["front"])
        for event in client.jobs.events(smaller.id)
        if event.type == "front"
    ]
    made = {artifact.name: artifact.bytes for artifact in client.jobs.artifacts(smaller.id)}

    assert 1 <= grown[0] <= grown[-1] == len(smaller.front)
    assert [point.point for point in smaller.front] == list(range(1, len(smaller.front) + 1))
    assert [point.chosen for point in smaller.front].count(True) == 1
    assert {"front.png", "front.svg", "packed.onnx", "report.json", "tied.onnx"} < set(made)
    for point in smaller.front:
        assert made[f"point-{point.point}.shared.onnx"] == point.bytes
        assert made[f"point-{point.point}.packed.onnx"] == point.packed_bytes


def test_another_point_of_the_front_is_served_with_no_training(
    service: Serving,
    client: Client,
    smaller: Job,
    digits: tuple[np.ndarray, np.ndarray],
    tmp_path: Path,
) -> None:
    assert smaller.front
    smallest = smaller.front[-1].point
    served = client.jobs.publish(smaller.id, smallest, "packed")
    name = f"point-{smallest}.packed.onnx"
    file = client.jobs.download(smaller.id, name, tmp_path / name)
    x = digits[0][:32]

    assert (served.name, served.version > 1) == ("smaller", True)
    assert np.array_equal(infer(service, served, x), answer(file, x))
    job = client.jobs.get(smaller.id)
    assert job.result is not None
    assert (job.result.served, job.attempt) == (served, 1)


def test_a_job_that_would_run_for_hours_is_cancelled_at_once(
    client: Client, submit: Callable[..., Job]
) -> None:
    job = submit(ENDLESS, "endless")
    for event in client.jobs.watch(job.id):
        if event.type == "progress" and event.data["stage"] == "path":
            break
    began = time.monotonic()
    client.jobs.cancel(job.id)
    with pytest.raises(JobCancelled):
        client.jobs.wait(job.id, timeout_s=30)

    assert time.monotonic() - began < 5


def test_a_killed_api_comes_back_and_the_job_never_noticed(
    service: Serving, client: Client, submit: Callable[..., Job]
) -> None:
    job = submit({**SHORT, "path_epochs": 40}, "survivor")
    killed = 0
    seen = []
    for event in client.jobs.watch(job.id):
        seen.append(event.seq)
        if event.type == "progress" and not killed:
            killed = service.pid("api")
            os.kill(killed, signal.SIGKILL)
    done = client.jobs.wait(job.id)

    assert seen == list(range(1, len(seen) + 1))
    assert service.pid("api") != killed
    assert (done.status, done.attempt) == ("succeeded", 1)
    assert {"tied.onnx", "shared.onnx", "packed.onnx", "report.json"} <= {
        artifact.name for artifact in client.jobs.artifacts(job.id)
    }
