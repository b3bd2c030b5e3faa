"""Every refusal as RFC 9457 problem details. The one place that knows which status an error has."""

import errno
import logging
import sqlite3
from collections.abc import Mapping
from typing import Any

import orjson
from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from sqlalchemy import exc
from starlette.exceptions import HTTPException

from tieshare.errors import TieshareError
from tieshare_service import access, blobs, catalog, errors, gate, partial, removal, tenants
from tieshare_service.control import errors as requests
from tieshare_service.control.recipes import TIE_TAGS

_log = logging.getLogger(__name__)

MEDIA_TYPE = "application/problem+json"
TYPES = "https://tieshare.dev/problems/"

# An error has the status of the nearest class above it that stands here.
STATUSES: Mapping[type, int] = {
    TieshareError: 422,
    errors.ServiceError: 500,
    errors.NotFound: 404,
    errors.WrongState: 409,
    errors.NoSuchPoint: 422,
    errors.LeaseLost: 409,
    errors.IdempotencyConflict: 409,
    errors.BadPageToken: 422,
    blobs.TooLarge: 413,
    blobs.Empty: 422,
    blobs.DigestMismatch: 422,
    blobs.NoSuchBlob: 404,
    gate.TooCostly: 422,
    gate.Unreadable: 422,
    gate.GateBroken: 503,
    catalog.InUse: 409,
    removal.InService: 409,
    partial.PartialError: 409,
    partial.LengthMismatch: 400,
    access.NoKey: 401,
    access.NotAllowed: 403,
    access.TooManyRequests: 429,
    tenants.QuotaExceeded: 403,
    requests.RequestError: 400,
    requests.UnknownParameter: 422,
    requests.UnsupportedMediaType: 415,
    requests.RangeNotSatisfiable: 416,
    requests.NotReady: 503,
}
_LONGEST_TEXT = 2000
_FULL = (errno.ENOSPC, errno.EDQUOT)
_DISK_FULL = "53100"  # of PostgreSQL
_SOON = {"Retry-After": "1"}

# What fails where the service leans on others, for a while.
OUTAGES = (exc.OperationalError, exc.InterfaceError, exc.TimeoutError, OSError)

# Where pydantic's own words are about Python.
_REASONS = {
    "dict_type": "must be an object",
    "extra_forbidden": "there is no such field",
    "missing": "is missing",
    "model_attributes_type": "must be an object",
    "model_type": "must be an object",
}

# What Starlette raises by itself: its status, our word for it.
_STARLETTE_TYPES = {400: "request-malformed", 404: "path-not-found", 405: "method-not-allowed"}


def status_of(kind: type) -> int:
    """The HTTP status of an error of this class."""
    return next(STATUSES[parent] for parent in kind.__mro__ if parent in STATUSES)


def problem(
    slug: str,
    status: int,
    detail: str,
    where: str = "",
    headers: Mapping[str, str] | None = None,
) -> Response:
    """The answer that refuses; ``where`` is left out where nothing can be named."""
    body: dict[str, Any] = {
        "type": TYPES + slug,
        "title": slug.replace("-", " ").capitalize(),
        "status": status,
        "detail": _printable(detail),
    }
    if where:
        body["where"] = _printable(where)
    return Response(orjson.dumps(body), status, headers, MEDIA_TYPE)


def _printable(text: str) -> str:
    """``text``, parts of which a client chose: without lone surrogates, and not endless."""
    return text[:_LONGEST_TEXT].encode("utf-8", "replace").decode("utf-8")


def install(app: FastAPI) -> None:
    """Answer with problem details whatever is raised."""
    app.add_exception_handler(TieshareError, _typed)
    app.add_exception_handler(errors.ServiceError, _typed)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _starlette)
    for kind in OUTAGES:
        app.add_exception_handler(kind, _typed)
    app.add_exception_handler(Exception, _unforeseen)


async def _typed(_: Request, error: Exception) -> Response:
    return refusal(error)


def refusal(error: Exception) -> Response:
    """The answer to an error that has a status, or to one of ``OUTAGES``."""
    if isinstance(error, OUTAGES):
        return _outage(error)
    status = status_of(type(error))
    if status >= 500:
        _log.error("refused with %d", status, exc_info=error)
    headers = {"WWW-Authenticate": "Bearer"} if status == 401 else None
    return problem(
        getattr(error, "type", ""),
        status,
        getattr(error, "message", ""),
        getattr(error, "where", ""),
        getattr(error, "headers", headers),
    )


def is_full(error: Exception) -> bool:
    """Whether a disk is, that of the files or that of the database."""
    if isinstance(error, OSError):
        return error.errno in _FULL
    cause = getattr(error, "orig", None)
    of_sqlite = getattr(cause, "sqlite_errorcode", None) == sqlite3.SQLITE_FULL
    return of_sqlite or getattr(cause, "sqlstate", None) == _DISK_FULL


def _outage(error: Exception) -> Response:
    _log.error("refused for an outage", exc_info=error)
    if isinstance(error, FileNotFoundError):
        return _failed()
    if is_full(error):
        return problem("storage-full", 507, "there is no room for more")
    if isinstance(error, OSError):
        return problem("storage-unavailable", 503, "files can't be used now", headers=_SOON)
    return problem("database-unavailable", 503, "the database does not answer now", headers=_SOON)


async def _invalid(_: Request, error: Exception) -> Response:
    first = error.errors()[0] if isinstance(error, RequestValidationError) else {}
    place, *path = first.get("loc", ("body",))
    if first.get("type") == "json_invalid":
        reason = first.get("ctx", {}).get("error", "")
        return problem("json-invalid", 400, f"the body is not JSON: {reason}", f"byte {path[0]}")
    where = ".".join(str(part) for part in path if part not in TIE_TAGS) or str(place)
    reason = _REASONS.get(first.get("type", ""), first.get("msg", ""))
    return problem("request-invalid", 422, f"{where}: {reason}", where)


async def _starlette(request: Request, error: Exception) -> Response:
    status, detail, headers = 500, "", None
    if isinstance(error, HTTPException):
        status, detail, headers = error.status_code, error.detail, error.headers
    if status == 400 and error.__cause__ is not None:
        return _unreadable(error.__cause__)
    if status == 404:
        detail = f"there is no {request.url.path}"
    if status == 405:
        detail = f"{request.method} is not allowed here"
    return problem(_STARLETTE_TYPES.get(status, "request-refused"), status, detail, "", headers)


def _unreadable(cause: BaseException) -> Response:
    """A JSON body that the parser stumbles over before it can say where."""
    if isinstance(cause, UnicodeDecodeError):
        return problem("json-invalid", 400, "the body is not UTF-8", f"byte {cause.start}")
    return problem("json-invalid", 400, "the body can't be read as JSON", "body")


async def _unforeseen(_: Request, __: Exception) -> Response:
    return _failed()


def _failed() -> Response:
    return problem("internal-error", 500, "the service failed; its log says why")
