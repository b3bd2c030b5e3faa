"""Retries, refusals and the shape of requests, against a scripted server."""

import hashlib
import json
import socket
from pathlib import Path
from typing import Any

import pytest

from tieshare_service.client import (
    BadUrl,
    Client,
    Conflict,
    ConnectionFailed,
    DigestMismatch,
    Invalid,
    JobCancelled,
    JobFailed,
    NotFound,
    Problem,
    Refused,
    Retry,
    ServiceError,
    TooLarge,
    Unavailable,
    UnexpectedAnswer,
    WaitTimeout,
)

MODEL = {
    "id": "mdl_1",
    "name": "digits",
    "sha256": "",
    "bytes": 3,
    "parameters": 10,
    "opset": 20,
    "inputs": [{"name": "x", "dtype": "float32", "shape": ["batch", 64]}],
    "outputs": [{"name": "y", "dtype": "float32", "shape": [None, 10]}],
    "layers": [{"name": "/fc1", "operator": "Gemm", "rows": 64, "columns": 10}],
    "created_at": "2026-01-02T03:04:05Z",
    "a_field_of_a_later_version": 1,
}

JOB: dict[str, Any] = {
    "id": "job_1",
    "name": "digits",
    "model": "mdl_1",
    "dataset": "dat_1",
    "status": "queued",
    "stage": None,
    "progress": None,
    "metrics": {},
    "attempt": 0,
    "recipe": {},
    "error": None,
    "result": None,
    "created_at": "2026-01-02T03:04:05.678Z",
    "started_at": None,
    "ended_at": None,
}

NO_WAITING = Retry(attempts=3, first_s=0.0)


def client_of(script: Any, **options: Any) -> Client:
    return Client(script.url, retry=NO_WAITING, **options)


def test_an_answer_becomes_a_typed_value_and_unknown_fields_are_ignored(script: Any) -> None:
    script.json(MODEL)
    with client_of(script) as client:
        model = client.models.get("mdl_1")

    assert model.inputs[0].shape == ("batch", 64)
    assert model.outputs[0].shape == (None, 10)
    assert model.layers[0].rows == 64
    assert model.created_at.isoformat() == "2026-01-02T03:04:05+00:00"
    assert script.requests[0].path == "/v1/models/mdl_1"


def test_the_key_comes_with_each_call_and_its_refusal_is_typed(script: Any) -> None:
    script.json(MODEL)
    script.problem(401, "key-needed")
    script.problem(403, "not-allowed")
    with client_of(script, key="key_x.secret") as client:
        client.models.get("mdl_1")
        for _ in range(2):
            with pytest.raises(Refused):
                client.models.get("mdl_1")

    sent = [request.headers["authorization"] for request in script.requests]
    assert sent == ["Bearer key_x.secret"] * 3


def test_an_id_stays_one_part_of_the_path(script: Any) -> None:
    script.problem(404, "model-not-found")
    with client_of(script) as client, pytest.raises(NotFound):
        client.models.get("../jobs?x=1")

    assert script.requests[0].path == "/v1/models/..%2Fjobs%3Fx%3D1"


def test_a_read_whose_answer_was_lost_is_sent_again(script: Any) -> None:
    script.drop()
    script.drop()
    script.json(JOB)
    with client_of(script) as client:
        assert client.jobs.get("job_1").status == "queued"

    assert len(script.requests) == 3


def test_a_read_is_given_up_after_the_last_attempt(script: Any) -> None:
    for _ in range(3):
        script.drop()
    with client_of(script) as client, pytest.raises(ConnectionFailed, match=script.url):
        client.jobs.get("job_1")

    assert len(script.requests) == 3


def test_an_upload_whose_answer_was_lost_is_not_sent_again(script: Any) -> None:
    script.drop()
    with client_of(script) as client, pytest.raises(ConnectionFailed):
        client.models.create(b"abc", "digits")

    assert len(script.requests) == 1


def test_an_upload_that_never_left_is_sent_again() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    pauses: list[float] = []
    client = Client(f"http://127.0.0.1:{port}", sleep=pauses.append)
    with client, pytest.raises(ConnectionFailed):
        client.models.create(b"abc", "digits")

    assert len(pauses) == 5


def test_pauses_double_up_to_the_longest() -> None:
    *pauses, last = Retry(attempts=6, first_s=1.0, longest_s=5.0).pauses()

    assert last is None
    for pause, length in zip(pauses, (1.0, 2.0, 4.0, 5.0, 5.0), strict=True):
        assert pause is not None
        assert length / 2 <= pause <= length


def test_the_pause_that_the_service_asks_for_is_kept(script: Any) -> None:
    script.json({}, 503, retry_after="2")
    script.json(JOB)
    pauses: list[float] = []
    with client_of(script, sleep=pauses.append) as client:
        client.jobs.get("job_1")

    assert pauses == [2.0]


def test_a_job_is_submitted_once_however_often_it_is_sent(script: Any) -> None:
    script.drop()
    script.json(JOB, 202)
    script.json(JOB, 202)
    with client_of(script) as client:
        client.jobs.submit("mdl_1", "dat_1", target={"max_drop": 0.01})
        client.jobs.submit("mdl_1", "dat_1")

    first, again, other = script.requests
    assert first.headers["idempotency-key"] == again.headers["idempotency-key"]
    assert first.headers["idempotency-key"] != other.headers["idempotency-key"]
    assert json.loads(again.body) == {
        "model": "mdl_1",
        "dataset": "dat_1",
        "target": {"max_drop": 0.01},
    }


def test_a_point_is_published_once_however_often_it_is_sent(script: Any) -> None:
    script.drop()
    script.json({"name": "digits", "version": 4})
    with client_of(script) as client:
        served = client.jobs.publish("job_1", 3, "packed")

    assert (served.name, served.version) == ("digits", 4)
    for request in script.requests:
        assert (request.method, request.path) == ("POST", "/v1/jobs/job_1/publish")
        assert json.loads(request.body) == {"point": 3, "file": "packed"}


def test_a_front_becomes_typed_points(script: Any, front: list[dict[str, Any]]) -> None:
    script.json({**JOB, "front": front})
    script.json(JOB)
    with client_of(script) as client:
        job, fresh = client.jobs.get("job_1"), client.jobs.get("job_1")

    assert fresh.front is None
    assert job.front is not None
    assert [point.bytes for point in job.front] == [49_435, 38_000, 21_000]
    assert [point.chosen for point in job.front] == [False, True, False]
    assert (job.front[0].accuracy, job.front[0].loss) == (0.9818, None)
    assert job.front[0].latency_us == {"1": 15.25, "32": 58.75}


def test_a_delete_that_worked_though_its_answer_was_lost_is_no_error(script: Any) -> None:
    script.drop()
    script.problem(404, "model-not-found")
    with client_of(script) as client:
        client.models.delete("mdl_1")

    assert [request.method for request in script.requests] == ["DELETE", "DELETE"]


def test_a_first_delete_of_nothing_is_an_error(script: Any) -> None:
    script.problem(404, "model-not-found")
    with client_of(script) as client, pytest.raises(NotFound):
        client.models.delete("mdl_1")


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, Invalid),
        (404, NotFound),
        (409, Conflict),
        (413, TooLarge),
        (415, Invalid),
        (418, ServiceError),
        (422, Invalid),
        (500, ServiceError),
    ],
)
def test_a_refusal_has_its_class_and_its_words(
    script: Any, status: int, kind: type[Problem]
) -> None:
    script.problem(status, "some-slug", title="Some slug", detail="no: 7 is odd", where="field")
    with client_of(script) as client, pytest.raises(Problem) as caught:
        client.jobs.get("job_1")

    assert type(caught.value) is kind
    assert caught.value.status == status
    assert (caught.value.type, caught.value.title) == ("some-slug", "Some slug")
    assert (str(caught.value), caught.value.where) == ("no: 7 is odd", "field")


@pytest.mark.parametrize("status", [429, 502, 503, 504])
def test_a_service_that_is_busy_is_asked_again_and_then_given_up(script: Any, status: int) -> None:
    for _ in range(3):
        script.json(["a proxy's page"], status)
    with client_of(script) as client, pytest.raises(Unavailable) as caught:
        client.jobs.get("job_1")

    assert caught.value.status == status


def test_another_service_is_recognised(script: Any) -> None:
    script.json({"hello": "world"})
    with client_of(script) as client, pytest.raises(UnexpectedAnswer, match="/v1/jobs/job_1"):
        client.jobs.get("job_1")


@pytest.mark.parametrize("url", ["127.0.0.1:8000", "ftp://host", "http://", "http://host:port"])
def test_what_is_no_address_is_refused_at_once(url: str) -> None:
    with pytest.raises(BadUrl):
        Client(url)


def test_a_list_goes_on_from_page_to_page_as_it_is_read(script: Any) -> None:
    script.json({"items": [JOB, JOB], "next_page_token": "t 1"})
    script.json({"items": [JOB], "next_page_token": None})
    with client_of(script) as client:
        jobs = client.jobs.list("queued", page_size=2)
        next(jobs)
        assert len(script.requests) == 1
        assert len(list(jobs)) == 2

    assert [request.path for request in script.requests] == [
        "/v1/jobs?page_size=2&status=queued",
        "/v1/jobs?page_size=2&status=queued&page_token=t+1",
    ]


def test_an_upload_is_streamed_counted_and_digested(script: Any, tmp_path: Path) -> None:
    content = bytes(range(256)) * 10_000
    file = tmp_path / "digits.onnx"
    file.write_bytes(content)
    script.json({**MODEL, "sha256": hashlib.sha256(content).hexdigest()}, 201)
    seen: list[tuple[int, int]] = []
    with client_of(script) as client:
        client.models.create(file, progress=lambda done, total: seen.append((done, total)))

    request = script.requests[0]
    assert request.path == "/v1/models?name=digits"
    assert request.headers["content-length"] == "2560000"
    assert request.body == content
    assert seen == [(1 << 20, 2560000), (2 << 20, 2560000), (2560000, 2560000)]


def test_bytes_that_were_changed_on_the_way_are_noticed(script: Any) -> None:
    script.json({**MODEL, "sha256": "00" * 32}, 201)
    with client_of(script) as client, pytest.raises(DigestMismatch):
        client.models.create(b"abc", "digits")


def test_bytes_are_left_to_be_called_by_their_id(script: Any) -> None:
    script.json({**MODEL, "sha256": hashlib.sha256(b"abc").hexdigest()}, 201)
    with client_of(script) as client:
        client.models.create(b"abc")

    assert script.requests[0].path == "/v1/models"


def test_waiting_asks_until_the_job_has_succeeded(script: Any) -> None:
    result = {
        "report": {"paper_ratio": 3.0},
        "artifacts": ["shared.onnx"],
        "served": {"name": "digits", "version": 2},
    }
    script.json({**JOB, "status": "running"})
    script.json({**JOB, "status": "succeeded", "result": result})
    with client_of(script) as client:
        job = client.jobs.wait("job_1")

    assert job.result is not None
    assert job.result.served is not None
    assert (job.result.served.name, job.result.served.version) == ("digits", 2)
    assert script.requests[0].path == "/v1/jobs/job_1?wait=20"


def test_waiting_for_a_job_that_fails_says_why(script: Any) -> None:
    error = {"type": "dataset-does-not-fit", "message": "array 'x' has 3 features, not 64"}
    script.json({**JOB, "status": "failed", "error": error})
    with client_of(script) as client, pytest.raises(JobFailed, match="3 features") as caught:
        client.jobs.wait("job_1")

    assert caught.value.job.error is not None
    assert caught.value.job.error.type == "dataset-does-not-fit"


def test_waiting_for_a_cancelled_job_ends_too(script: Any) -> None:
    script.json({**JOB, "status": "cancelled"})
    with client_of(script) as client, pytest.raises(JobCancelled):
        client.jobs.wait("job_1")


def test_waiting_ends_when_the_caller_has_no_more_time(script: Any) -> None:
    script.json({**JOB, "status": "running"})
    with client_of(script) as client, pytest.raises(WaitTimeout, match="still running"):
        client.jobs.wait("job_1", timeout_s=0)

    assert script.requests[0].path == "/v1/jobs/job_1?wait=0"
