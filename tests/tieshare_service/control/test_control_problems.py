import asyncio
import errno
import json
from collections.abc import Iterator

import httpx
import pytest
from sqlalchemy import Connection, event
from sqlalchemy.exc import DatabaseError, InterfaceError, OperationalError

from tieshare import errors as library
from tieshare_service import access, blobs, catalog, errors, gate, keys, partial, removal, tenants
from tieshare_service.control import errors as requests
from tieshare_service.control import problems
from tieshare_service.control.app import create_app
from tieshare_service.settings import Settings

EXPECTED: dict[type[Exception], int] = {
    errors.NoSuchModel: 404,
    errors.NoSuchDataset: 404,
    errors.NoSuchJob: 404,
    errors.WrongState: 409,
    errors.NoSuchPoint: 422,
    errors.IdempotencyConflict: 409,
    errors.LeaseLost: 409,
    errors.BadPageToken: 422,
    errors.SettingsError: 500,
    blobs.TooLarge: 413,
    blobs.Empty: 422,
    blobs.DigestMismatch: 422,
    blobs.NoSuchBlob: 404,
    gate.ModelTooCostly: 422,
    gate.DatasetTooCostly: 422,
    gate.ModelUnreadable: 422,
    gate.DatasetUnreadable: 422,
    gate.GateBroken: 503,
    catalog.InUse: 409,
    removal.InService: 409,
    partial.NoSuchUpload: 404,
    partial.OffsetMismatch: 409,
    partial.LengthMismatch: 400,
    partial.UploadBusy: 409,
    partial.UploadComplete: 409,
    access.NoKey: 401,
    access.NotAllowed: 403,
    access.TooManyRequests: 429,
    tenants.QuotaExceeded: 403,
    keys.NoSuchKey: 404,
    requests.UnsupportedMediaType: 415,
    requests.UnknownParameter: 422,
    requests.BadHeader: 400,
    requests.Disconnected: 400,
    requests.RangeNotSatisfiable: 416,
    requests.NotReady: 503,
}


class DiskFull(Exception):
    """As psycopg has it."""

    sqlstate = "53100"


IDS = {"model": "mdl_" + 20 * "a", "dataset": "dat_" + 20 * "a"}

# Errors of other processes, which this API never raises.
WORKERS = ("serve", "supervisor", "worker", "attempt", "child", "training")
ELSEWHERE = ("backup", "inference", "client", "cli", *WORKERS)


def leaves(kind: type[Exception]) -> Iterator[type[Exception]]:
    """The classes at or below ``kind`` that have none below them."""
    children = kind.__subclasses__()
    if not children:
        yield kind
    for child in children:
        yield from leaves(child)


def test_every_error_of_the_library_is_the_clients_to_mend() -> None:
    found = list(leaves(library.TieshareError))
    assert len(found) >= 9
    assert {problems.status_of(kind) for kind in found} == {422}


def test_every_error_of_the_service_has_its_status() -> None:
    met = {
        kind: problems.status_of(kind)
        for kind in leaves(errors.ServiceError)
        if kind.__module__.startswith("tieshare_service.")
        and kind.__module__.split(".")[1] not in ELSEWHERE
    }
    assert met == EXPECTED


def test_no_two_errors_have_the_same_type() -> None:
    slugs = [getattr(kind, "type", "") for kind in EXPECTED]
    assert len(set(slugs)) == len(slugs)


def test_a_problem_says_what_and_where() -> None:
    answer = problems.problem("dataset-bad-array", 422, "array 'x' holds NaN", "x")
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert bytes(answer.body) == (
        b'{"type":"https://tieshare.dev/problems/dataset-bad-array","title":"Dataset bad array",'
        b'"status":422,"detail":"array \'x\' holds NaN","where":"x"}'
    )


@pytest.mark.parametrize(
    ("method", "path", "status", "slug"),
    [
        ("GET", "/", 404, "path-not-found"),
        ("GET", "/v1/models/", 404, "path-not-found"),
        ("GET", "/v2/models", 404, "path-not-found"),
        ("PUT", "/v1/models", 405, "method-not-allowed"),
        ("PUT", "/v1/jobs/job_aaaaaaaaaaaaaaaaaaaa", 405, "method-not-allowed"),
    ],
)
def test_a_path_or_a_method_that_does_not_exist_is_a_problem_too(
    http: httpx.Client, method: str, path: str, status: int, slug: str
) -> None:
    answer = http.request(method, path)
    assert answer.status_code == status
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert answer.json()["type"] == problems.TYPES + slug
    assert answer.json()["detail"] in (f"there is no {path}", f"{method} is not allowed here")
    assert ("Allow" in answer.headers) == (status == 405)


def test_a_body_that_is_not_json_is_named_by_its_byte(http: httpx.Client) -> None:
    headers = {"Content-Type": "application/json"}
    answer = http.post("/v1/jobs", content=b'{"model": ', headers=headers)
    assert (answer.status_code, answer.json()["where"]) == (400, "byte 10")


@pytest.mark.parametrize(
    ("body", "where"), [(b'{"name": "\xff"}', "byte 10"), (b"[" * 100_000, "body")]
)
def test_a_body_that_breaks_the_json_parser_is_said_to_be_no_json(
    http: httpx.Client, body: bytes, where: str
) -> None:
    headers = {"Content-Type": "application/json"}
    answer = http.post("/v1/jobs", content=body, headers=headers)
    assert (answer.status_code, answer.json()["where"]) == (400, where)
    assert answer.json()["type"] == problems.TYPES + "json-invalid"


@pytest.mark.parametrize(
    ("body", "detail"),
    [
        ([], "body: must be an object"),
        ({**IDS, "recipe": 3}, "recipe: must be an object"),
        ({**IDS, "foo": 1}, "foo: there is no such field"),
        ({"foo": 1}, "model: is missing"),
    ],
)
def test_a_refused_field_is_told_in_words_of_json(
    http: httpx.Client, body: object, detail: str
) -> None:
    answer = http.post("/v1/jobs", json=body)
    assert (answer.status_code, answer.json()["detail"]) == (422, detail)


def test_a_fault_of_our_own_says_nothing_about_the_inside(settings: Settings) -> None:
    def fail(_: Connection) -> None:
        raise DatabaseError("SELECT secret", None, OSError(f"{settings.data_dir} is broken"))

    async def ask() -> httpx.Response:
        app = create_app(settings)
        async with app.router.lifespan_context(app):
            engine = app.state.services.engine
            event.listen(engine, "begin", fail)
            transport = httpx.ASGITransport(app, raise_app_exceptions=False)
            async with httpx.AsyncClient(transport=transport, base_url="http://api") as client:
                answer = await client.get("/v1/models")
            event.remove(engine, "begin", fail)
            return answer

    answer = asyncio.run(ask())
    assert answer.status_code == 500
    assert answer.json() == {
        "type": "https://tieshare.dev/problems/internal-error",
        "title": "Internal error",
        "status": 500,
        "detail": "the service failed; its log says why",
    }


@pytest.mark.parametrize(
    ("error", "status", "slug"),
    [
        (OperationalError("SELECT 1", None, OSError("/secret")), 503, "database-unavailable"),
        (InterfaceError("SELECT 1", None, OSError("/secret")), 503, "database-unavailable"),
        (OSError(errno.ENOSPC, "full", "/secret"), 507, "storage-full"),
        (OperationalError("INSERT", None, DiskFull("/secret")), 507, "storage-full"),
        (OSError(errno.EDQUOT, "quota", "/secret"), 507, "storage-full"),
        (OSError(errno.EIO, "broken", "/secret"), 503, "storage-unavailable"),
        (OSError(errno.EROFS, "read-only", "/secret"), 503, "storage-unavailable"),
        (OSError("NoSuchBucket"), 503, "storage-unavailable"),
        (FileNotFoundError(errno.ENOENT, "gone", "/secret"), 500, "internal-error"),
    ],
)
def test_what_the_service_leans_on_is_told_to_be_out_of_order(
    error: Exception, status: int, slug: str
) -> None:
    answer = problems.refusal(error)
    assert answer.status_code == status
    assert json.loads(bytes(answer.body))["type"].endswith(f"/{slug}")
    assert b"secret" not in bytes(answer.body)
    assert (answer.headers.get("Retry-After") == "1") is (status == 503)
