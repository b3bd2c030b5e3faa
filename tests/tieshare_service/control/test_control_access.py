"""The control API where keys are needed."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import httpx
import pytest

from tieshare_service.access import Role
from tieshare_service.control.services import Services
from tieshare_service.settings import Settings

Serve = Callable[[Settings], tuple[httpx.Client, Services]]


@pytest.fixture
def guarded(
    serve: Serve, settings: Settings, texts: dict[Role, str]
) -> tuple[httpx.Client, Services]:
    return serve(replace(settings, require_keys=True))


def with_key(text: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {text}"}


def test_without_a_key_only_health_and_the_document_are_answered(
    guarded: tuple[httpx.Client, Services],
) -> None:
    http, _ = guarded
    for path in ("/healthz", "/readyz", "/openapi.json"):
        assert http.get(path).status_code == 200
    for method, path in (
        ("GET", "/v1/models"),
        ("POST", "/v1/models"),
        ("POST", "/v1/jobs"),
        ("GET", "/v1/jobs/job_x/events"),
        ("DELETE", "/v1/datasets/dat_x"),
        ("GET", "/metrics"),
        ("GET", "/v1/nothing"),
    ):
        answer = http.request(method, path, content=b"{")
        assert answer.status_code == 401, path
        assert answer.headers["WWW-Authenticate"] == "Bearer"
        assert answer.headers["Content-Type"] == "application/problem+json"
        assert answer.json()["type"].endswith("/key-needed")


def test_nothing_of_an_upload_without_a_key_is_read(
    guarded: tuple[httpx.Client, Services],
) -> None:
    http, _ = guarded
    sent = 0

    def body() -> Iterator[bytes]:
        nonlocal sent
        for _ in range(1000):
            sent += 1
            yield bytes(1 << 20)

    try:
        status = http.post("/v1/models", content=body()).status_code
    except httpx.TransportError:  # it is answered, and hung up, before all is sent
        status = 401
    assert status == 401
    assert sent < 100


def test_a_key_for_inference_may_see_metrics_and_no_more(
    guarded: tuple[httpx.Client, Services], texts: dict[Role, str]
) -> None:
    http, _ = guarded
    assert http.get("/metrics", headers=with_key(texts["infer"])).status_code == 200
    answer = http.get("/v1/models", headers=with_key(texts["infer"]))
    assert answer.status_code == 403
    assert answer.json()["type"].endswith("/not-allowed")
    assert texts["infer"].partition(".")[2] not in answer.text


@pytest.mark.parametrize("role", ["submit", "admin"])
def test_who_may_submit_may_do_all_here_and_each_change_is_noted(
    guarded: tuple[httpx.Client, Services], texts: dict[Role, str], model_bytes: bytes, role: Role
) -> None:
    http, services = guarded
    headers = with_key(texts[role])
    made: dict[str, Any] = http.post("/v1/models", content=model_bytes, headers=headers).json()
    assert http.get("/v1/models", headers=headers).json()["items"] == [made]
    assert http.delete("/v1/models/mdl_x", headers=headers).status_code == 404
    assert http.delete(f"/v1/models/{made['id']}", headers=headers).status_code == 204
    key_id = texts[role].partition(".")[0]
    where = f"/v1/models/{made['id']}"
    told = [(change.key_id, change.what, change.of) for change in services.audit.last(10)]
    assert told == [(key_id, "create_model", where), (key_id, "delete_model", where)]


def test_where_no_key_is_needed_changes_are_noted_without_one(
    http: httpx.Client, services: Services, model_bytes: bytes
) -> None:
    made = http.post("/v1/models", content=model_bytes, headers=with_key("nonsense")).json()
    (change,) = services.audit.last(10)
    assert (change.key_id, change.what) == (None, "create_model")
    assert change.of == f"/v1/models/{made['id']}"


def test_refusals_are_counted(
    guarded: tuple[httpx.Client, Services], texts: dict[Role, str]
) -> None:
    http, _ = guarded
    http.get("/v1/models")
    page = http.get("/metrics", headers=with_key(texts["admin"])).text
    assert 'tieshare_requests_total{operation="none",status="401"} 1' in page
