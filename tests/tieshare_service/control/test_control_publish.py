"""Another point of a job's front is put into service, with no training."""

from typing import Any

import httpx
import pytest

from tieshare_service.blobs import artifact_key
from tieshare_service.control.services import Services
from tieshare_service.publish import Point

NAMES = [f"point-{point}.{file}.onnx" for point in (1, 2, 10) for file in ("shared", "packed")]
TYPES = "https://tieshare.dev/problems/"


@pytest.fixture
def job(http: httpx.Client, services: Services, uploaded: tuple[str, str]) -> str:
    """A job with three points, the second of which is served as version 1."""
    asked = {"model": uploaded[0], "dataset": uploaded[1]}
    job_id = str(http.post("/v1/jobs", json=asked).json()["id"])
    services.queue.claim("worker", 30)
    made = [services.blobs.put_artifact(job_id, name, name.encode()) for name in NAMES[:-1]]
    services.publisher.publish(job_id, "digits", b"point-2.shared.onnx", Point(2))
    served = {"name": "digits", "version": 1}
    services.queue.succeed(job_id, 1, {"report": {}, "artifacts": [], "served": served}, made)
    return job_id


def publish(http: httpx.Client, job: str, point: object, **more: str) -> httpx.Response:
    return http.post(f"/v1/jobs/{job}/publish", json={"point": point, **more})


def refusal(answer: httpx.Response) -> tuple[int, str, str]:
    problem = answer.json()
    return answer.status_code, problem["type"].removeprefix(TYPES), problem["where"]


def test_a_point_is_the_next_version_and_the_job_shows_it(
    http: httpx.Client, services: Services, job: str
) -> None:
    answer = publish(http, job, 1)
    assert (answer.status_code, answer.json()) == (200, {"name": "digits", "version": 2})
    stored = services.settings.models_dir / "digits" / "2" / "model.onnx"
    assert stored.read_bytes() == b"point-1.shared.onnx"
    assert http.get(f"/v1/jobs/{job}").json()["result"]["served"] == answer.json()
    last = http.get(f"/v1/jobs/{job}/events").json()["items"][-1]
    assert last["type"] == "published"
    assert last["data"] == {"served": answer.json(), "point": 1, "file": "shared"}


def test_the_packed_file_of_a_point_is_another_version(
    http: httpx.Client, services: Services, job: str
) -> None:
    assert publish(http, job, 1).json()["version"] == 2
    assert publish(http, job, 1, file="packed").json()["version"] == 3
    stored = services.settings.models_dir / "digits" / "3" / "model.onnx"
    assert stored.read_bytes() == b"point-1.packed.onnx"


def test_asking_again_for_the_newest_version_changes_nothing(http: httpx.Client, job: str) -> None:
    assert publish(http, job, 2).json()["version"] == 1
    assert [publish(http, job, 1).json()["version"] for _ in range(3)] == [2, 2, 2]
    assert publish(http, job, 2).json()["version"] == 3
    types = [event["type"] for event in http.get(f"/v1/jobs/{job}/events").json()["items"]]
    assert types.count("published") == 2


def test_another_job_of_the_name_leaves_room_for_its_versions(
    http: httpx.Client, services: Services, job: str, uploaded: tuple[str, str]
) -> None:
    asked = {"model": uploaded[0], "dataset": uploaded[1]}
    other = http.post("/v1/jobs", json=asked).json()["id"]
    services.publisher.publish(other, "digits", b"of the other", Point(1))
    assert publish(http, job, 1).json()["version"] == 3


@pytest.mark.parametrize(
    ("point", "file", "there"),
    [(3, "shared", "it has 1, 2, 10"), (10, "packed", "it has 1, 2")],
)
def test_a_point_that_there_is_not_is_refused_with_those_that_there_are(
    http: httpx.Client, job: str, point: int, file: str, there: str
) -> None:
    answer = publish(http, job, point, file=file)
    assert refusal(answer) == (422, "no-such-point", "point")
    assert answer.json()["detail"] == f"the job has no {file} file of point {point}; {there}"


def test_a_job_of_an_earlier_version_has_no_points(
    http: httpx.Client, services: Services, uploaded: tuple[str, str]
) -> None:
    asked = {"model": uploaded[0], "dataset": uploaded[1]}
    job_id = http.post("/v1/jobs", json=asked).json()["id"]
    services.queue.claim("worker", 30)
    services.queue.succeed(job_id, 1, {"report": {}, "artifacts": [], "served": None})
    assert publish(http, job_id, 1).json()["detail"].endswith("it has none")


@pytest.mark.parametrize(
    ("body", "where"),
    [
        ({}, "point"),
        ({"point": 0}, "point"),
        ({"point": 1.5}, "point"),
        ({"point": "1"}, "point"),
        ({"point": 1, "file": "tied"}, "file"),
        ({"point": 1, "name": "mine"}, "name"),
    ],
)
def test_a_request_that_is_wrong_is_named(
    http: httpx.Client, job: str, body: dict[str, Any], where: str
) -> None:
    answer = http.post(f"/v1/jobs/{job}/publish", json=body)
    assert refusal(answer) == (422, "request-invalid", where)


def test_a_job_without_a_result_is_a_conflict(
    http: httpx.Client, uploaded: tuple[str, str]
) -> None:
    asked = {"model": uploaded[0], "dataset": uploaded[1]}
    job_id = http.post("/v1/jobs", json=asked).json()["id"]
    for status in ("queued", "cancelled"):
        answer = publish(http, job_id, 1)
        assert refusal(answer) == (409, "job-wrong-state", job_id)
        assert f"is {status}" in answer.json()["detail"]
        http.post(f"/v1/jobs/{job_id}/cancel")


def test_a_job_that_does_not_exist_is_not_found(http: httpx.Client) -> None:
    missing = "job_" + 20 * "a"
    assert refusal(publish(http, missing, 1)) == (404, "job-not-found", missing)


def test_a_file_that_is_gone_is_not_found(http: httpx.Client, services: Services, job: str) -> None:
    for artifact in services.queue.artifacts(job):
        services.blobs.store.delete(artifact_key(artifact))
    assert refusal(publish(http, job, 1)) == (404, "no-such-file", "point-1.shared.onnx")


def test_a_job_in_service_is_deleted_when_it_may_be_withdrawn(
    http: httpx.Client, services: Services, job: str
) -> None:
    place = f"/v1/jobs/{job}"
    publish(http, job, 1)
    assert refusal(http.delete(place)) == (409, "in-service", job)
    assert "version 1, 2;" in http.delete(place).json()["detail"]
    assert http.get(f"{place}/artifacts/{NAMES[0]}").status_code == 200
    assert http.delete(place, params={"withdraw": True}).status_code == 204
    for version in ("1", "2"):
        assert not (services.settings.models_dir / "digits" / version).exists()
    for what in ("", "/events", "/artifacts", f"/artifacts/{NAMES[0]}"):
        assert http.get(place + what).status_code == 404
    assert refusal(http.delete(place)) == (404, "job-not-found", job)
