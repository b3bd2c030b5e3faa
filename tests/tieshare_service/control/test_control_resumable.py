"""Uploads in several requests: no acknowledged byte is lost, and none is in it twice."""

import base64
import fcntl
import hashlib
import os
import socket
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy.exc import OperationalError
from tests.waiting import until

from tieshare_service.catalog import Catalog
from tieshare_service.control.services import Services
from tieshare_service.gate import Gate, GateBroken
from tieshare_service.settings import Settings

PROBLEMS = "https://tieshare.dev/problems/"
MORE, LAST = {"Upload-Complete": "?0"}, {"Upload-Complete": "?1"}


def begin(http: httpx.Client, content: bytes = b"", **headers: str) -> httpx.Response:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    query = {"kind": "models", "name": "digits"}
    return http.post("/v1/uploads", params=query, content=content, headers=MORE | named)


def append(
    http: httpx.Client, place: str, offset: int, content: bytes, complete: dict[str, str] = MORE
) -> httpx.Response:
    headers = {"Content-Type": "application/partial-upload", "Upload-Offset": str(offset)}
    return http.patch(place, content=content, headers=headers | complete)


def refused(answer: httpx.Response) -> tuple[int, str]:
    assert answer.headers["Content-Type"] == "application/problem+json"
    return answer.status_code, answer.json()["type"].removeprefix(PROBLEMS)


def folder(services: Services, place: str) -> Path:
    return services.settings.data_dir / "partial" / place.rpartition("/")[2]


def test_a_model_in_three_parts_is_the_model(http: httpx.Client, model_bytes: bytes) -> None:
    begun = begin(http, model_bytes[:100])
    place = begun.headers["Location"]
    assert begun.status_code == 201
    assert (begun.headers["Upload-Complete"], begun.headers["Upload-Offset"]) == ("?0", "100")
    assert begun.headers["Upload-Limit"].startswith("max-size=")
    assert begun.json() | {"id": "", "created_at": ""} == {
        "id": "",
        "kind": "models",
        "name": "digits",
        "offset": 100,
        "length": None,
        "made": None,
        "created_at": "",
    }
    second = append(http, place, 100, model_bytes[100:200])
    assert (second.status_code, second.json()["offset"]) == (200, 200)
    last = append(http, place, 200, model_bytes[200:], LAST)
    assert (last.status_code, last.headers["Upload-Complete"]) == (200, "?1")
    made = http.get(f"/v1/models/{last.json()['made']}")
    assert (made.json()["name"], made.json()["parameters"]) == ("digits", 51)
    assert http.get(f"/v1/models/{last.json()['made']}/content").content == model_bytes
    asked = http.head(place)
    assert (asked.status_code, asked.content) == (204, b"")
    assert asked.headers["Upload-Complete"] == "?1"
    assert asked.headers["Upload-Offset"] == asked.headers["Upload-Length"] == str(len(model_bytes))
    assert asked.headers["Cache-Control"] == "no-store"
    assert refused(append(http, place, len(model_bytes), b"")) == (409, "upload-complete")


def test_one_request_may_hold_all_of_it(http: httpx.Client, dataset_bytes: bytes) -> None:
    answer = http.post(
        "/v1/uploads", params={"kind": "datasets"}, content=dataset_bytes, headers=LAST
    )
    made = answer.json()["made"]
    assert (answer.status_code, http.get(f"/v1/datasets/{made}").json()["samples"]) == (201, 60)


def test_bytes_that_do_not_go_on_where_it_ends_are_refused(
    http: httpx.Client, model_bytes: bytes
) -> None:
    place = begin(http, model_bytes[:100]).headers["Location"]
    for offset in (0, 99, 101, 10**12):
        answer = append(http, place, offset, b"x")
        assert refused(answer) == (409, "upload-offset-mismatch")
        assert answer.headers["Upload-Offset"] == "100"
    assert http.get(place).json()["offset"] == 100


def test_what_came_before_the_connection_broke_is_kept(
    http: httpx.Client, services: Services, model_bytes: bytes
) -> None:
    place = begin(http).headers["Location"]
    with socket.create_connection((http.base_url.host, http.base_url.port or 0)) as line:
        head = (
            f"PATCH {place} HTTP/1.1\r\nHost: x\r\nContent-Type: application/partial-upload\r\n"
            f"Upload-Offset: 0\r\nUpload-Complete: ?1\r\nContent-Length: {len(model_bytes)}\r\n\r\n"
        )
        line.sendall(head.encode() + model_bytes[:300])
        time.sleep(0.2)
    until(lambda: http.get(place).json()["offset"] == 300)
    until(lambda: append(http, place, 300, model_bytes[300:], LAST).status_code == 200)
    made = http.get(place).json()["made"]
    assert http.get(f"/v1/models/{made}/content").content == model_bytes


def test_what_was_acknowledged_outlives_the_service(
    serve: Callable[[Settings], tuple[httpx.Client, Services]],
    settings: Settings,
    model_bytes: bytes,
) -> None:
    http, _ = serve(settings)
    place = begin(http, model_bytes[:100]).headers["Location"]
    again, _ = serve(settings)
    assert again.head(place).headers["Upload-Offset"] == "100"
    assert append(again, place, 100, model_bytes[100:], LAST).json()["made"]


def test_two_requests_do_not_write_to_it_at_once(
    http: httpx.Client, services: Services, model_bytes: bytes
) -> None:
    place = begin(http).headers["Location"]
    with (folder(services, place) / "bytes").open("rb") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        assert refused(append(http, place, 0, model_bytes)) == (409, "upload-busy")
    assert append(http, place, 0, model_bytes, LAST).status_code == 200


def test_more_bytes_than_announced_or_allowed_leave_it_as_it_was(
    serve: Callable[[Settings], tuple[httpx.Client, Services]], settings: Settings
) -> None:
    http, _ = serve(replace(settings, max_upload_bytes=1000))
    announced = begin(http, b"12345", Upload_Length="10").headers["Location"]
    assert refused(append(http, announced, 5, b"123456")) == (400, "upload-length-mismatch")
    assert refused(append(http, announced, 5, b"1234", LAST)) == (400, "upload-length-mismatch")
    assert http.get(announced).json()["offset"] == 9
    assert refused(begin(http, b"1", Upload_Length="0")) == (400, "upload-length-mismatch")
    free = begin(http, b"12345").headers["Location"]
    assert refused(append(http, free, 5, bytes(996))) == (413, "body-too-large")
    assert http.get(free).json()["offset"] == 5
    assert refused(begin(http, Upload_Length="1001")) == (413, "body-too-large")
    assert refused(begin(http, bytes(1001))) == (413, "body-too-large")
    assert len(list((settings.data_dir / "partial").iterdir())) == 2


def test_a_file_that_is_refused_is_gone(
    http: httpx.Client, services: Services, model_bytes: bytes
) -> None:
    place = begin(http, model_bytes[:100]).headers["Location"]
    assert refused(append(http, place, 100, b"no model", LAST)) == (422, "model-not-onnx")
    assert refused(http.get(place)) == (404, "upload-not-found")
    assert not folder(services, place).exists()
    digest = base64.b64encode(hashlib.sha256(b"another").digest()).decode()
    place = begin(http, Repr_Digest=f"sha-256=:{digest}:").headers["Location"]
    answer = append(http, place, 0, model_bytes, LAST)
    assert refused(answer) == (422, "body-digest-mismatch")
    empty = begin(http).headers["Location"]
    assert refused(append(http, empty, 0, b"", LAST)) == (422, "body-empty")


def test_where_the_gate_is_broken_the_bytes_are_kept(
    http: httpx.Client, monkeypatch: pytest.MonkeyPatch, model_bytes: bytes
) -> None:
    async def broken(*_: object) -> None:
        raise GateBroken("not at the moment")

    place = begin(http).headers["Location"]
    with monkeypatch.context() as away:
        away.setattr(Gate, "read", broken)
        assert refused(append(http, place, 0, model_bytes, LAST)) == (503, "gate-broken")
    assert append(http, place, len(model_bytes), b"", LAST).json()["made"]


@pytest.mark.parametrize("moment", ["before", "after"])
def test_a_database_that_does_not_answer_costs_no_byte_and_makes_no_second_model(
    http: httpx.Client,
    services: Services,
    model_bytes: bytes,
    monkeypatch: pytest.MonkeyPatch,
    moment: str,
) -> None:
    place = begin(http, model_bytes[:100]).headers["Location"]
    keep = Catalog._keep

    def fail(self: Catalog[Any], *given: Any) -> object:
        if moment == "after":
            keep(self, *given)
        raise OperationalError("INSERT", None, OSError("it is gone"))

    with monkeypatch.context() as patch:
        patch.setattr(Catalog, "_keep", fail)
        answer = append(http, place, 100, model_bytes[100:], LAST)
    assert refused(answer) == (503, "database-unavailable")
    assert answer.headers["Retry-After"] == "1"
    assert http.head(place).headers["Upload-Offset"] == str(len(model_bytes))
    again = append(http, place, len(model_bytes), b"", LAST)
    assert again.status_code == 200 if moment == "before" else refused(again)[0] == 409
    made = http.get(place).json()["made"]
    assert http.get(f"/v1/models/{made}/content").content == model_bytes
    assert [item["id"] for item in http.get("/v1/models").json()["items"]] == [made]
    assert [path.name for path in folder(services, place).iterdir()] == ["about.json"]


def test_an_upload_can_be_given_up(
    http: httpx.Client, services: Services, model_bytes: bytes
) -> None:
    place = begin(http, model_bytes[:100]).headers["Location"]
    assert http.delete(place).status_code == 204
    for answer in (http.get(place), http.delete(place), append(http, place, 100, b"")):
        assert refused(answer) == (404, "upload-not-found")
    assert not folder(services, place).exists()


@pytest.mark.parametrize(
    ("headers", "status", "where"),
    [
        ({"Upload-Complete": "1"}, 422, "Upload-Complete"),
        ({"Upload-Offset": "-1"}, 422, "Upload-Offset"),
        ({"Upload-Offset": "x"}, 422, "Upload-Offset"),
        ({"Content-Type": "application/octet-stream"}, 415, "Content-Type"),
        ({"Content-Encoding": "gzip"}, 415, "Content-Encoding"),
    ],
)
def test_headers_that_can_not_be_read_are_named(
    http: httpx.Client, headers: dict[str, str], status: int, where: str
) -> None:
    place = begin(http).headers["Location"]
    usual = {"Content-Type": "application/partial-upload", "Upload-Offset": "0", **MORE}
    answer = http.patch(place, content=b"x", headers=usual | headers)
    assert (answer.status_code, answer.json()["where"]) == (status, where)


def test_one_that_stands_still_for_a_day_is_forgotten(
    http: httpx.Client, services: Services
) -> None:
    old, new = (begin(http).headers["Location"] for _ in range(2))
    for path in (folder(services, old), *folder(services, old).iterdir()):
        os.utime(path, (0, 0))
    services.partials.clear()
    assert refused(http.get(old)) == (404, "upload-not-found")
    assert http.get(new).status_code == 200
