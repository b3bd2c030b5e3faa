import asyncio
import base64
import hashlib
import os
import socket
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import httpx
import pytest
from tests.waiting import until

from tieshare_service.control.app import create_app
from tieshare_service.control.services import Services
from tieshare_service.settings import Settings

KINDS = ("models", "datasets")

Bodies = dict[str, bytes]
Running = tuple[httpx.Client, Services]


@pytest.fixture(scope="session")
def bodies(model_bytes: bytes, dataset_bytes: bytes) -> Bodies:
    return {"models": model_bytes, "datasets": dataset_bytes}


def slug(answer: httpx.Response) -> str:
    assert answer.headers["Content-Type"] == "application/problem+json"
    return str(answer.json()["type"]).removeprefix("https://tieshare.dev/problems/")


def leftovers(settings: Settings) -> list[str]:
    return [path.name for path in settings.tmp_dir.glob("*")]


@pytest.mark.parametrize("kind", KINDS)
def test_an_upload_is_answered_with_its_place_and_its_digest(
    http: httpx.Client, bodies: Bodies, kind: str
) -> None:
    answer = http.post(f"/v1/{kind}", params={"name": "Ziffern 1"}, content=bodies[kind])
    made = answer.json()
    assert answer.status_code == 201
    assert answer.headers["Location"] == f"/v1/{kind}/{made['id']}"
    assert made["name"] == "Ziffern 1"
    assert made["bytes"] == len(bodies[kind])
    assert made["sha256"] == hashlib.sha256(bodies[kind]).hexdigest()
    assert http.get(answer.headers["Location"]).json() == made
    assert http.get(f"{answer.headers['Location']}/content").content == bodies[kind]


def test_a_model_is_answered_with_its_layers(http: httpx.Client, model_bytes: bytes) -> None:
    made = http.post("/v1/models", content=model_bytes).json()
    assert (made["parameters"], made["opset"]) == (51, 20)
    assert made["outputs"] == [{"name": "logits", "dtype": "float32", "shape": ["batch", 3]}]
    assert [(layer["rows"], layer["columns"]) for layer in made["layers"]] == [(4, 6), (6, 3)]


def test_a_data_set_is_answered_with_its_arrays(http: httpx.Client, dataset_bytes: bytes) -> None:
    made = http.post("/v1/datasets", content=dataset_bytes).json()
    assert made["samples"] == 60
    assert made["arrays"] == [
        {"name": "x", "dtype": "float32", "shape": [60, 4]},
        {"name": "y", "dtype": "int64", "shape": [60]},
    ]


@pytest.mark.parametrize("kind", KINDS)
def test_an_upload_without_a_name_is_called_by_its_id(
    http: httpx.Client, bodies: Bodies, kind: str
) -> None:
    made = http.post(f"/v1/{kind}", content=bodies[kind]).json()
    assert made["name"] == made["id"]


@pytest.mark.parametrize("name", ["", "a\nb", "x" * 201])
def test_a_name_that_no_one_can_read_is_refused(
    http: httpx.Client, model_bytes: bytes, name: str
) -> None:
    answer = http.post("/v1/models", params={"name": name}, content=model_bytes)
    assert (answer.status_code, answer.json()["where"]) == (422, "name")


def test_lists_come_in_pages_newest_first(http: httpx.Client, model_bytes: bytes) -> None:
    ids = [http.post("/v1/models", content=model_bytes).json()["id"] for _ in range(3)]
    first = http.get("/v1/models", params={"page_size": 2}).json()
    token = first["next_page_token"]
    second = http.get("/v1/models", params={"page_size": 2, "page_token": token}).json()
    assert [item["id"] for item in first["items"] + second["items"]] == ids[::-1]
    assert second["next_page_token"] is None


@pytest.mark.parametrize("kind", KINDS)
def test_a_token_that_no_list_returned_is_refused(http: httpx.Client, kind: str) -> None:
    answer = http.get(f"/v1/{kind}", params={"page_token": "last"})
    assert (answer.status_code, slug(answer)) == (422, "page-token-invalid")


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_deleted_is_gone_with_its_file(
    http: httpx.Client, services: Services, bodies: Bodies, kind: str
) -> None:
    place = http.post(f"/v1/{kind}", content=bodies[kind]).headers["Location"]
    gone = http.delete(place)
    assert (gone.status_code, gone.content) == (204, b"")
    for answer in (http.get(place), http.delete(place), http.get(f"{place}/content")):
        assert (answer.status_code, slug(answer)) == (404, f"{kind[:-1]}-not-found")
    assert list((services.settings.blobs_dir / kind).iterdir()) == []


@pytest.mark.parametrize("kind", KINDS)
def test_what_a_waiting_job_needs_is_not_deleted(
    http: httpx.Client, uploaded: tuple[str, str], kind: str
) -> None:
    model, dataset = uploaded
    job = http.post("/v1/jobs", json={"model": model, "dataset": dataset}).json()["id"]
    place = f"/v1/{kind}/{uploaded[KINDS.index(kind)]}"
    refused = http.delete(place)
    assert (refused.status_code, slug(refused)) == (409, "in-use")
    assert job in refused.json()["detail"]
    http.post(f"/v1/jobs/{job}/cancel")
    assert http.delete(place).status_code == 204


def test_a_body_may_have_as_many_bytes_as_the_limit_and_not_one_more(
    serve: Callable[[Settings], Running], settings: Settings, model_bytes: bytes
) -> None:
    at, _ = serve(replace(settings, max_upload_bytes=len(model_bytes)))
    assert at.post("/v1/models", content=model_bytes).status_code == 201
    below, _ = serve(replace(settings, max_upload_bytes=len(model_bytes) - 1))
    refused = below.post("/v1/models", content=model_bytes)
    assert (refused.status_code, slug(refused)) == (413, "body-too-large")
    assert below.get("/healthz").status_code == 200


def test_a_body_of_unknown_length_is_cut_at_the_limit(
    serve: Callable[[Settings], Running], settings: Settings
) -> None:
    http, _ = serve(replace(settings, max_upload_bytes=1_000_000))

    def chunks() -> Iterator[bytes]:
        for _ in range(20):
            yield bytes(100_000)

    refused = http.post("/v1/models", content=chunks())
    assert (refused.status_code, slug(refused)) == (413, "body-too-large")
    assert leftovers(settings) == []


def test_a_content_length_that_lies_does_not_get_more_in(
    settings: Settings, model_bytes: bytes
) -> None:
    limited = replace(settings, max_upload_bytes=100)

    async def chunks() -> AsyncIterator[bytes]:
        yield bytes(60)
        yield bytes(60)

    async def post() -> httpx.Response:
        app = create_app(limited)
        async with app.router.lifespan_context(app):
            transport = httpx.ASGITransport(app)
            async with httpx.AsyncClient(transport=transport, base_url="http://api") as client:
                headers = {"Content-Length": "10"}
                return await client.post("/v1/models", content=chunks(), headers=headers)

    refused = asyncio.run(post())
    assert (refused.status_code, slug(refused)) == (413, "body-too-large")


@pytest.mark.parametrize("kind", KINDS)
def test_an_empty_body_is_refused(http: httpx.Client, kind: str) -> None:
    refused = http.post(f"/v1/{kind}")
    assert (refused.status_code, slug(refused)) == (422, "body-empty")


@pytest.mark.parametrize(
    ("name", "value"),
    [("Content-Encoding", "gzip"), ("Content-Type", "multipart/form-data; boundary=x")],
)
def test_a_body_that_is_coded_or_wrapped_is_refused(
    http: httpx.Client, model_bytes: bytes, name: str, value: str
) -> None:
    refused = http.post("/v1/models", content=model_bytes, headers={name: value})
    assert (refused.status_code, slug(refused)) == (415, "unsupported-media-type")
    assert refused.json()["where"] == name


@pytest.mark.parametrize("header", ["Repr-Digest", "Content-Digest"])
def test_a_digest_that_is_sent_along_has_to_be_the_bodys(
    http: httpx.Client, services: Services, model_bytes: bytes, header: str
) -> None:
    def post(digest: bytes) -> httpx.Response:
        value = f"md5=:AAAA:, sha-256=:{base64.b64encode(digest).decode()}:"
        return http.post("/v1/models", content=model_bytes, headers={header: value})

    assert post(hashlib.sha256(model_bytes).digest()).status_code == 201
    wrong = post(bytes(32))
    assert (wrong.status_code, slug(wrong)) == (422, "body-digest-mismatch")
    short = post(bytes(31))
    assert (short.status_code, slug(short), short.json()["where"]) == (
        400,
        "header-invalid",
        header,
    )
    assert len(list((services.settings.blobs_dir / "models").iterdir())) == 1


def test_a_digest_of_another_kind_is_not_asked_about(
    http: httpx.Client, model_bytes: bytes
) -> None:
    headers = {"Repr-Digest": "sha-512=:AAAA:"}
    assert http.post("/v1/models", content=model_bytes, headers=headers).status_code == 201


def test_a_client_that_goes_away_in_the_middle_leaves_nothing(
    http: httpx.Client, services: Services
) -> None:
    with socket.create_connection((http.base_url.host, http.base_url.port or 0)) as connection:
        head = "POST /v1/models HTTP/1.1\r\nHost: api\r\nContent-Length: 5000000\r\n\r\n"
        connection.sendall(head.encode() + bytes(2_000_000))
        until(lambda: len(leftovers(services.settings)) == 1)
    until(lambda: leftovers(services.settings) == [])
    assert http.get("/v1/models").json()["items"] == []
    assert http.get("/healthz").status_code == 200


def test_uploads_at_the_same_time_do_not_meet(http: httpx.Client, model_bytes: bytes) -> None:
    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda _: http.post("/v1/models", content=model_bytes), range(4)))
    assert [answer.status_code for answer in answers] == [201] * 4
    assert len({answer.json()["id"] for answer in answers}) == 4


def test_the_start_removes_what_a_killed_api_left(
    serve: Callable[[Settings], Running], settings: Settings, model_bytes: bytes
) -> None:
    for path in (settings.tmp_dir / "upload-half", settings.blobs_dir / "models" / "mdl_x.onnx"):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(model_bytes)
        os.utime(path, (0, 0))
    serve(settings)
    until(lambda: leftovers(settings) == [])
    until(lambda: list((settings.blobs_dir / "models").iterdir()) == [])


def test_the_start_keeps_what_was_acknowledged(
    serve: Callable[[Settings], Running], settings: Settings, model_bytes: bytes
) -> None:
    http, _ = serve(settings)
    place = http.post("/v1/models", content=model_bytes).headers["Location"]
    again, _ = serve(settings)
    assert again.get(f"{place}/content").content == model_bytes
