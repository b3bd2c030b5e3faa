"""Tenants of one control API: none learns anything of another; a key has what it may, no more."""

import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import httpx
import pytest

from tieshare_service.access import Role
from tieshare_service.control.services import Services
from tieshare_service.database import open_database
from tieshare_service.keys import Keys
from tieshare_service.publish import Point
from tieshare_service.settings import Settings
from tieshare_service.tenants import UNLIMITED, Quotas

Ask = Callable[..., httpx.Response]
Let = Callable[..., Ask]
PROBLEMS = "https://tieshare.dev/problems/"
FILE = "point-1.shared.onnx"


@pytest.fixture
def running(
    serve: Callable[[Settings], tuple[httpx.Client, Services]],
    settings: Settings,
    texts: dict[Role, str],
    monkeypatch: pytest.MonkeyPatch,
) -> tuple[httpx.Client, Services]:
    assert texts
    monkeypatch.setattr("tieshare_service.keys.FRESH_S", 0.02)
    return serve(replace(settings, require_keys=True))


@pytest.fixture
def services(running: tuple[httpx.Client, Services]) -> Services:
    return running[1]


@pytest.fixture
def let_in(running: tuple[httpx.Client, Services], settings: Settings) -> Let:
    """Makes a key, and gives what asks with it."""
    http, services = running
    engine = open_database(settings.database)

    def made(role: Role = "submit", tenant: str = "", quotas: Quotas = UNLIMITED) -> Ask:
        key, text = Keys(engine, time.time).create(role, "", tenant, quotas)
        assert services.guard is not None
        while key.id not in services.guard._known:
            time.sleep(0.02)

        def ask(method: str, path: str, **more: Any) -> httpx.Response:
            headers = {"Authorization": f"Bearer {text}", **more.pop("headers", {})}
            return http.request(method, path, headers=headers, **more)

        return ask

    return made


@pytest.fixture
def files(model_bytes: bytes, dataset_bytes: bytes) -> dict[str, bytes]:
    return {"models": model_bytes, "datasets": dataset_bytes}


def put(ask: Ask, files: dict[str, bytes]) -> dict[str, str]:
    """A model and a data set, uploaded: what a job asks for."""
    made = {kind: ask("POST", f"/v1/{kind}", content=file) for kind, file in files.items()}
    return {"model": made["models"].json()["id"], "dataset": made["datasets"].json()["id"]}


def done(ask: Ask, services: Services, asked: dict[str, str], name: str = "digits") -> str:
    """A job that has ended with one point."""
    job_id = str(ask("POST", "/v1/jobs", json={**asked, "name": name}).json()["id"])
    job = services.queue.claim("worker", 30)
    assert job is not None
    assert job.id == job_id
    artifact = services.blobs.put_artifact(job_id, FILE, b"onnx")
    served = services.publisher.publish(job_id, job.name, b"onnx", Point(2), job.tenant)
    result = {"report": {}, "artifacts": [FILE], "served": vars(served)}
    services.queue.succeed(job_id, 1, result, [artifact])
    return job_id


def refused(answer: httpx.Response) -> tuple[int, str]:
    assert answer.headers["Content-Type"] == "application/problem+json", answer.text
    return answer.status_code, answer.json()["type"].removeprefix(PROBLEMS)


def test_a_tenant_has_no_part_in_what_another_has(
    let_in: Let, services: Services, files: dict[str, bytes]
) -> None:
    ours, theirs, plain = let_in(tenant="ours"), let_in(tenant="theirs"), let_in()
    asked = put(ours, files)
    job_id = done(ours, services, asked)
    begun = ours(
        "POST",
        "/v1/uploads",
        params={"kind": "models"},
        content=files["models"][:9],
        headers={"Upload-Complete": "?0"},
    ).headers["Location"]
    model, dataset, job = (
        f"/v1/models/{asked['model']}",
        f"/v1/datasets/{asked['dataset']}",
        f"/v1/jobs/{job_id}",
    )
    for stranger in (theirs, plain):
        for kind in ("models", "datasets", "jobs"):
            assert stranger("GET", f"/v1/{kind}").json()["items"] == []
        for method, path, *body in (
            ("GET", model),
            ("GET", f"{model}/content"),
            ("DELETE", model),
            ("GET", dataset),
            ("GET", f"{dataset}/content"),
            ("DELETE", dataset),
            ("GET", job),
            ("GET", f"{job}?wait=1"),
            ("GET", f"{job}/events"),
            ("GET", f"{job}/artifacts"),
            ("GET", f"{job}/artifacts/{FILE}"),
            ("POST", f"{job}/cancel"),
            ("POST", f"{job}/retry"),
            ("DELETE", job),
            ("POST", f"{job}/publish", {"point": 1}),
            ("POST", "/v1/jobs", asked),
            ("GET", begun),
            ("DELETE", begun),
        ):
            answer = stranger(method, path, json=body[0] if body else None)
            assert answer.status_code == 404, (method, path, answer.text)
    assert [item["id"] for item in ours("GET", "/v1/models").json()["items"]] == [asked["model"]]
    assert ours("GET", f"{job}/artifacts/{FILE}").content == b"onnx"
    assert ours("GET", begun).status_code == 200
    assert ours("DELETE", begun).status_code == 204


def test_every_path_with_an_id_is_closed_to_a_stranger(
    let_in: Let, services: Services, files: dict[str, bytes]
) -> None:
    ours, theirs = let_in(tenant="ours"), let_in("admin", "theirs")
    asked = put(ours, files)
    ids = {
        "models": asked["model"],
        "datasets": asked["dataset"],
        "jobs": done(ours, services, asked),
    }
    document = theirs("GET", "/openapi.json").json()
    closed = 0
    for template, item in document["paths"].items():
        _, _, kind, *rest = f"{template}/".split("/")
        if not rest or not rest[0] or kind not in ids:
            continue
        path = template.replace("{id}", ids[kind]).replace("{name}", FILE)
        for method in item:
            body = {"point": 1} if path.endswith("publish") else None
            answer = theirs(method.upper(), path, json=body)
            assert answer.status_code == 404, (method, path, answer.text)
            closed += 1
    assert closed >= 12


def test_what_is_served_has_its_tenant_in_its_name(
    let_in: Let, services: Services, files: dict[str, bytes]
) -> None:
    for tenant, name in (("ours", "ours~digits"), ("theirs", "theirs~digits"), ("", "digits")):
        ask = let_in(tenant=tenant)
        job_id = done(ask, services, put(ask, files))
        served = ask("GET", f"/v1/jobs/{job_id}").json()["result"]["served"]
        assert served == {"name": name, "version": 1}
        other = ask("POST", f"/v1/jobs/{job_id}/publish", json={"point": 1}).json()
        assert other == {"name": name, "version": 2}
        assert (services.settings.models_dir / name / "2" / "model.onnx").is_file()


def test_an_admin_of_no_tenant_sees_all_and_one_of_a_tenant_does_not(
    let_in: Let, services: Services, files: dict[str, bytes]
) -> None:
    ours = let_in(tenant="ours")
    asked = put(ours, files)
    job_id = done(ours, services, asked)
    operator, admin = let_in("admin"), let_in("admin", "ours")
    for ask in (operator, admin):
        assert [item["id"] for item in ask("GET", "/v1/jobs").json()["items"]] == [job_id]
    assert let_in("admin", "theirs")("GET", "/v1/jobs").json()["items"] == []
    assert operator("GET", "/metrics").status_code == 200
    assert refused(admin("GET", "/metrics")) == (403, "not-allowed")
    assert operator("DELETE", f"/v1/models/{asked['model']}").status_code == 204


def test_the_same_idempotency_key_of_two_tenants_is_two(
    let_in: Let, files: dict[str, bytes]
) -> None:
    made = set()
    for tenant in ("", "ours", "theirs"):
        ask = let_in(tenant=tenant)
        asked = put(ask, files)
        for _ in range(2):
            answer = ask("POST", "/v1/jobs", json=asked, headers={"Idempotency-Key": "once"})
            assert answer.status_code == 202
            made.add(answer.json()["id"])
    assert len(made) == 3


def test_a_key_stores_as_many_bytes_as_it_may(
    let_in: Let, services: Services, files: dict[str, bytes]
) -> None:
    model = files["models"]
    ask = let_in(tenant="ours", quotas=Quotas(bytes=2 * len(model) + 10))
    first = ask("POST", "/v1/models", content=model).json()["id"]
    assert ask("POST", "/v1/models", content=model).status_code == 201
    answer = ask("POST", "/v1/models", content=model)
    assert refused(answer) == (403, "quota-exceeded")
    assert f"may have {2 * len(model) + 10} bytes" in answer.json()["detail"]
    assert len(services.blobs.ids("models")) == 2
    assert let_in(tenant="ours")("POST", "/v1/models", content=model).status_code == 201
    assert ask("DELETE", f"/v1/models/{first}").status_code == 204
    assert ask("POST", "/v1/models", content=model).status_code == 201


def test_unfinished_uploads_count_too(let_in: Let, files: dict[str, bytes]) -> None:
    model = files["models"]
    ask = let_in(tenant="ours", quotas=Quotas(bytes=len(model) + 10))

    def send(method: str, place: str, content: bytes, **headers: str) -> httpx.Response:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        kind = {"kind": "models"} if method == "POST" else None
        return ask(method, place, params=kind, content=content, headers=named)

    begun = send("POST", "/v1/uploads", model[:-9], Upload_Complete="?0")
    too_many = send("POST", "/v1/uploads", model, Upload_Complete="?1")
    assert refused(too_many) == (403, "quota-exceeded")
    too_long = str(len(model))
    announced = send("POST", "/v1/uploads", b"", Upload_Complete="?0", Upload_Length=too_long)
    assert refused(announced) == (403, "quota-exceeded")
    part: dict[str, str] = {"Content_Type": "application/partial-upload"}
    place, offset = begun.headers["Location"], str(len(model) - 9)
    more = send("PATCH", place, bytes(20), Upload_Offset=offset, Upload_Complete="?0", **part)
    assert refused(more) == (403, "quota-exceeded")
    assert ask("GET", place).headers["Upload-Offset"] == offset
    last = send("PATCH", place, model[-9:], Upload_Offset=offset, Upload_Complete="?1", **part)
    assert last.status_code == 200
    assert last.json()["made"]


def test_a_key_has_as_many_unended_jobs_as_it_may(
    let_in: Let, services: Services, files: dict[str, bytes]
) -> None:
    ask = let_in(tenant="ours", quotas=Quotas(jobs=1))
    asked = put(ask, files)
    job_id = done(ask, services, asked)
    again = {"Idempotency-Key": "again"}
    queued = ask("POST", "/v1/jobs", json=asked, headers=again)
    assert queued.status_code == 202
    assert refused(ask("POST", "/v1/jobs", json=asked)) == (403, "quota-exceeded")
    assert ask("POST", "/v1/jobs", json=asked, headers=again).json() == queued.json()
    ended = ask("POST", f"/v1/jobs/{queued.json()['id']}/cancel")
    assert ended.json()["status"] == "cancelled"
    assert ask("POST", "/v1/jobs", json=asked).status_code == 202
    retried = ask("POST", f"/v1/jobs/{queued.json()['id']}/retry")
    assert refused(retried) == (403, "quota-exceeded")
    assert ask("GET", f"/v1/jobs/{job_id}").status_code == 200


def test_a_key_makes_as_many_requests_in_a_minute_as_it_may(let_in: Let) -> None:
    ask = let_in(quotas=Quotas(requests=3))
    statuses = [ask("GET", "/v1/models").status_code for _ in range(4)]
    assert statuses == [200, 200, 200, 429]
    answer = ask("GET", "/v1/models")
    assert refused(answer) == (429, "too-many-requests")
    assert 1 <= int(answer.headers["Retry-After"]) <= 20
    assert let_in()("GET", "/v1/models").status_code == 200


def test_what_is_answered_says_whose_it_is(
    let_in: Let, services: Services, files: dict[str, bytes]
) -> None:
    ours, operator = let_in(tenant="ours"), let_in("admin")
    made = put(ours, files)
    done(ours, services, made)
    plain = put(let_in(), files)
    for kind, field in {"models": "model", "datasets": "dataset"}.items():
        seen = {
            item["id"]: item["tenant"] for item in operator("GET", f"/v1/{kind}").json()["items"]
        }
        assert seen == {made[field]: "ours", plain[field]: ""}
    (job,) = operator("GET", "/v1/jobs").json()["items"]
    assert job["tenant"] == "ours"
