"""The client against the control API itself; the test does the worker's part."""

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tieshare_service.client import (
    Client,
    Conflict,
    Invalid,
    JobCancelled,
    JobFailed,
    NotFound,
    TooLarge,
)
from tieshare_service.control.services import Services
from tieshare_service.publish import Point
from tieshare_service.settings import Settings

STEP = {"stage": "path", "done": 3, "total": 9, "unit": "epochs", "eta_s": 1.5}
RESULT = {
    "report": {"paper_ratio": 2.0},
    "artifacts": ["report.json"],
    "served": {"name": "digits", "version": 1},
}


@pytest.fixture
def client(http: httpx.Client) -> Iterator[Client]:
    with Client(str(http.base_url)) as client:
        yield client


def work(services: Services, ending: str) -> None:
    """What a worker would do to the oldest job."""
    job = services.queue.claim("worker", 30.0)
    assert job is not None
    services.queue.progress(job.id, job.attempt, {**STEP, "metrics": {"accuracy": 0.5}})
    if ending == "failed":
        services.queue.fail(job.id, job.attempt, {"type": "some-error", "message": "it broke"})
        return
    artifact = services.blobs.put_artifact(job.id, "report.json", b"{}\n")
    services.queue.succeed(job.id, job.attempt, RESULT, [artifact])


def test_an_upload_comes_back_byte_for_byte(
    client: Client, model_bytes: bytes, dataset_bytes: bytes, tmp_path: Path
) -> None:
    source = tmp_path / "small.onnx"
    source.write_bytes(model_bytes)
    model = client.models.create(source)
    dataset = client.datasets.create(dataset_bytes, "numbers")

    assert (model.name, model.parameters, model.bytes) == ("small", 51, len(model_bytes))
    assert [layer.rows for layer in model.layers] == [4, 6]
    assert (dataset.name, dataset.samples) == ("numbers", 60)
    assert client.models.get(model.id) == model
    assert list(client.datasets.list()) == [dataset]
    client.models.download(model.id, tmp_path / "back.onnx")
    client.datasets.download(dataset.id, tmp_path / "back.npz")
    assert (tmp_path / "back.onnx").read_bytes() == model_bytes
    assert (tmp_path / "back.npz").read_bytes() == dataset_bytes
    client.models.delete(model.id)
    with pytest.raises(NotFound) as caught:
        client.models.get(model.id)
    assert caught.value.type == "model-not-found"


def test_a_file_that_is_no_model_is_refused_with_its_type(client: Client) -> None:
    with pytest.raises(Invalid) as caught:
        client.models.create(b"not a model", "x")

    assert caught.value.type == "model-not-onnx"


def test_a_body_over_the_limit_is_refused_before_it_is_sent_whole(
    serve: Any, settings: Settings
) -> None:
    http, _ = serve(Settings(data_dir=settings.data_dir, max_upload_bytes=1000))
    with Client(str(http.base_url)) as client, pytest.raises(TooLarge) as caught:
        client.models.create(bytes(50_000_000), "x")

    assert caught.value.type == "body-too-large"


def test_a_job_is_followed_to_its_end_and_its_files_fetched(
    client: Client, services: Services, uploaded: tuple[str, str], tmp_path: Path
) -> None:
    job = client.jobs.submit(*uploaded, target={"min_ratio": 5.0})
    worker = threading.Timer(0.2, work, (services, "succeeded"))
    worker.start()
    events = list(client.jobs.watch(job.id))
    worker.join()
    done = client.jobs.wait(job.id, timeout_s=5)

    assert [event.seq for event in events] == [1, 2, 3, 4]
    assert [event.data.get("status") for event in events] == [
        "queued",
        "running",
        None,
        "succeeded",
    ]
    assert events[2].data == {**STEP, "metrics": {"accuracy": 0.5}}
    assert [event.seq for event in client.jobs.events(job.id, after=2)] == [3, 4]
    assert done.recipe["target"]["min_ratio"] == 5.0
    assert done.result is not None
    assert done.result.served is not None
    assert done.result.served.version == 1
    assert [file.name for file in client.jobs.artifacts(job.id)] == ["report.json"]
    file = client.jobs.download(job.id, "report.json", tmp_path / "report.json")
    assert file.read_bytes() == b"{}\n"


def test_another_point_is_put_into_service(
    client: Client,
    services: Services,
    uploaded: tuple[str, str],
    front: list[dict[str, Any]],
) -> None:
    job = client.jobs.submit(*uploaded, target={"front": True})
    with pytest.raises(Conflict):
        client.jobs.publish(job.id, 1)
    claimed = services.queue.claim("worker", 30.0)
    assert claimed is not None
    services.queue.front(job.id, 1, front)
    made = [services.blobs.put_artifact(job.id, "point-3.packed.onnx", b"third")]
    services.publisher.publish(job.id, "digits", b"second", Point(2))
    services.queue.succeed(job.id, 1, RESULT, made)

    assert [client.jobs.publish(job.id, 3, "packed").version for _ in range(2)] == [2, 2]
    done = client.jobs.get(job.id)
    assert done.result is not None
    assert done.result.served is not None
    assert done.result.served.version == 2
    assert [event.type for event in client.jobs.events(job.id, after=2)] == [
        "front",
        "status",
        "published",
    ]
    with pytest.raises(Invalid) as caught:
        client.jobs.publish(job.id, 3)
    assert caught.value.type == "no-such-point"


def test_waiting_for_a_failed_job_raises_its_error_and_a_retry_queues_it_again(
    client: Client, services: Services, uploaded: tuple[str, str]
) -> None:
    job = client.jobs.submit(*uploaded)
    work(services, "failed")
    with pytest.raises(JobFailed, match="it broke"):
        client.jobs.wait(job.id)

    assert client.jobs.retry(job.id).status == "queued"
    assert [each.id for each in client.jobs.list("queued")] == [job.id]
    assert list(client.jobs.list("failed")) == []


def test_a_cancelled_job_has_no_result(client: Client, uploaded: tuple[str, str]) -> None:
    job = client.jobs.submit(*uploaded)
    assert client.jobs.cancel(job.id).status == "cancelled"
    assert client.jobs.cancel(job.id).status == "cancelled"
    with pytest.raises(JobCancelled):
        client.jobs.wait(job.id)


def test_an_ended_job_can_be_deleted(
    client: Client, services: Services, uploaded: tuple[str, str]
) -> None:
    job = client.jobs.submit(*uploaded)
    with pytest.raises(Conflict):
        client.jobs.delete(job.id)
    work(services, "succeeded")
    services.publisher.publish(job.id, "net", b"onnx", Point(1))
    with pytest.raises(Conflict):
        client.jobs.delete(job.id)
    client.jobs.delete(job.id, withdraw=True)
    with pytest.raises(NotFound):
        client.jobs.get(job.id)


def test_one_key_is_one_job(client: Client, uploaded: tuple[str, str]) -> None:
    first = client.jobs.submit(*uploaded, idempotency_key="k")
    again = client.jobs.submit(*uploaded, idempotency_key="k")

    assert again.id == first.id
    with pytest.raises(Conflict):
        client.jobs.submit(*uploaded, recipe={"seed": 7}, idempotency_key="k")


def test_validation_queues_nothing_and_fills_in_the_defaults(
    client: Client, uploaded: tuple[str, str]
) -> None:
    plan = client.jobs.validate(*uploaded, recipe={"seed": 7})

    assert (plan.model, plan.dataset, plan.name) == (*uploaded, "digits")
    assert plan.recipe["seed"] == 7
    assert plan.recipe["penalty"] == "growl"
    assert list(client.jobs.list()) == []
    with pytest.raises(Invalid) as caught:
        client.jobs.validate(*uploaded, recipe={"sead": 7})
    assert "sead" in f"{caught.value.where} {caught.value}"


def test_what_a_waiting_job_needs_is_not_deleted(client: Client, uploaded: tuple[str, str]) -> None:
    job = client.jobs.submit(*uploaded)
    with pytest.raises(Conflict):
        client.models.delete(uploaded[0])
    client.jobs.cancel(job.id)
    client.models.delete(uploaded[0])


def test_all_pages_of_a_list_are_read(client: Client, uploaded: tuple[str, str]) -> None:
    made = [client.jobs.submit(*uploaded).id for _ in range(5)]

    assert [job.id for job in client.jobs.list(page_size=2)] == made[::-1]
