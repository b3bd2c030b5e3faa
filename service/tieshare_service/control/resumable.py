"""Uploads that survive a broken connection (draft-ietf-httpbis-resumable-upload)."""

from collections.abc import AsyncIterator
from contextlib import suppress

from anyio.to_thread import run_sync
from fastapi import APIRouter, Request, Response

from tieshare_service.control import schemas
from tieshare_service.control.answers import header, problems, raw_body
from tieshare_service.control.errors import UnsupportedMediaType
from tieshare_service.control.requests import (
    PathUpload,
    UploadComplete,
    UploadKind,
    UploadLength,
    UploadName,
    UploadOffset,
)
from tieshare_service.control.services import Parts
from tieshare_service.control.uploads import announced_sha256, body
from tieshare_service.partial import NoSuchUpload, Partial

_PARTIAL = "application/partial-upload"
_LAST = "?1"
_HEADERS = {
    **header("Upload-Complete", "`?1`: it is whole, and `made` names what it became"),
    **header("Upload-Offset", "how many bytes are on the service's disk"),
}

router = APIRouter(prefix="/uploads", tags=["uploads"])


@router.post(
    "",
    status_code=201,
    openapi_extra=raw_body("application/octet-stream", required=False, digest=True),
    responses={
        201: {"headers": {**_HEADERS, **header("Location", "where to go on")}},
        **problems(400, 413, 415, 503),
    },
)
async def create_upload(
    request: Request,
    response: Response,
    parts: Parts,
    kind: UploadKind,
    complete: UploadComplete,
    length: UploadLength = None,
    name: UploadName = None,
) -> schemas.Upload:
    """Begin an upload, with its first bytes or with none: a broken connection costs nothing then.

    Go on with PATCH, ask with HEAD how far it is. One that stands still for a day is forgotten.
    """
    chunks = body(request)
    sha256 = announced_sha256(request)
    partial = await run_sync(parts.partials.create, kind, name, length, sha256)
    try:
        partial, offset = await _append(parts, partial.id, 0, chunks, complete)
    except BaseException:  # who asked has no id yet to go on with
        with suppress(NoSuchUpload):
            parts.partials.delete(partial.id)
        raise
    response.headers["Location"] = f"/v1/uploads/{partial.id}"
    return _answer(response, parts, partial, offset)


@router.head("/{id}", status_code=204, include_in_schema=False)
def head_upload(upload_id: PathUpload, response: Response, parts: Parts) -> None:
    """Ask how far it is, as the draft has it."""
    _answer(response, parts, *parts.partials.get(upload_id))


@router.get("/{id}", responses={200: {"headers": _HEADERS}, **problems(404)})
def get_upload(upload_id: PathUpload, response: Response, parts: Parts) -> schemas.Upload:
    """Look at an upload; HEAD answers with the headers alone."""
    return _answer(response, parts, *parts.partials.get(upload_id))


@router.patch(
    "/{id}",
    openapi_extra=raw_body(_PARTIAL),
    responses={200: {"headers": _HEADERS}, **problems(400, 404, 409, 413, 415, 503)},
)
async def append_upload(
    request: Request,
    response: Response,
    parts: Parts,
    upload_id: PathUpload,
    offset: UploadOffset,
    complete: UploadComplete,
) -> schemas.Upload:
    """Send the next bytes. The last ones are answered once the file is read, or refused."""
    if request.headers.get("Content-Type", "").partition(";")[0].strip().lower() != _PARTIAL:
        raise UnsupportedMediaType(
            f"must be {_PARTIAL}", where="Content-Type", headers={"Accept-Patch": _PARTIAL}
        )
    partial, size = await _append(parts, upload_id, offset, body(request), complete)
    return _answer(response, parts, partial, size)


@router.delete("/{id}", status_code=204, response_class=Response, responses=problems(404))
def delete_upload(upload_id: PathUpload, parts: Parts) -> None:
    """Give an upload up. What it became, if it is whole, stays."""
    parts.partials.delete(upload_id)


async def _append(
    parts: Parts, upload_id: str, offset: int, chunks: AsyncIterator[bytes], complete: str
) -> tuple[Partial, int]:
    partial, size = await parts.partials.append(upload_id, offset, chunks, last=complete == _LAST)
    if partial.made is not None:
        parts.counters.add("uploads", kind=partial.kind)
        parts.counters.add("upload_bytes", size, kind=partial.kind)
    return partial, size


def _answer(response: Response, parts: Parts, partial: Partial, offset: int) -> schemas.Upload:
    """With what the draft says in headers."""
    response.headers["Upload-Complete"] = "?0" if partial.made is None else _LAST
    response.headers["Upload-Offset"] = str(offset)
    response.headers["Upload-Limit"] = f"max-size={parts.partials.limit}"
    response.headers["Cache-Control"] = "no-store"
    if partial.length is not None:
        response.headers["Upload-Length"] = str(partial.length)
    return schemas.Upload.of(partial, offset)
