"""A file as an answer: in whole or one range of it, with its digest, never held in memory."""

import base64
import re
from collections.abc import Mapping
from contextlib import closing
from http import HTTPStatus
from pathlib import PurePosixPath

from anyio.to_thread import run_sync
from fastapi import Request, Response
from starlette.types import Receive, Scope, Send

from tieshare_service.blobs import Blobs
from tieshare_service.control.errors import RangeNotSatisfiable
from tieshare_service.store import Opened

_READ_BYTES = 1 << 18
_RANGE = re.compile(r"bytes=(\d{0,18})-(\d{0,18})", re.ASCII)


def download(request: Request, blobs: Blobs, key: str, sha256: str, media_type: str) -> Response:
    """Answer with the file at ``key``, whose SHA-256 in hexadecimal is its entity tag.

    304 where the client has it already; 206 for a single range, the whole file for several.
    Raises NoSuchBlob, RangeNotSatisfiable.
    """
    tag = f'"{sha256}"'
    digest = base64.b64encode(bytes.fromhex(sha256)).decode("ascii")
    headers = {
        "ETag": tag,
        "Repr-Digest": f"sha-256=:{digest}:",
        "Accept-Ranges": "bytes",
        "Cache-Control": "no-cache",
    }
    if _has_already(request, tag):
        return Response(status_code=HTTPStatus.NOT_MODIFIED, headers=headers)
    file, size = blobs.open(key)
    try:
        span = _span(request, tag, size)
    except RangeNotSatisfiable:
        file.close()
        raise
    name = PurePosixPath(key).name
    headers["Content-Disposition"] = f'attachment; filename="{name}"'
    headers["Content-Type"] = media_type
    if len(span) < size:
        headers["Content-Range"] = f"bytes {span.start}-{span.stop - 1}/{size}"
        return _FileAnswer(file, span, HTTPStatus.PARTIAL_CONTENT, headers)
    return _FileAnswer(file, span, HTTPStatus.OK, headers)


class _FileAnswer(Response):
    """Sends the bytes ``span`` of ``file`` and closes it."""

    def __init__(self, file: Opened, span: range, status: int, headers: Mapping[str, str]) -> None:
        super().__init__(None, status, {**headers, "Content-Length": str(len(span))})
        self._file = file
        self._span = span

    async def __call__(self, scope: Scope, _: Receive, send: Send) -> None:
        with closing(self._file) as file:
            await send(
                {
                    "type": "http.response.start",
                    "status": self.status_code,
                    "headers": self.raw_headers,
                }
            )
            left = 0 if scope["method"] == "HEAD" else len(self._span)
            await run_sync(file.seek, self._span.start)
            while left and (chunk := await run_sync(file.read, min(left, _READ_BYTES))):
                left -= len(chunk)
                await send({"type": "http.response.body", "body": chunk, "more_body": True})
            await send({"type": "http.response.body", "body": b"", "more_body": False})


def _has_already(request: Request, tag: str) -> bool:
    asked = request.headers.get("If-None-Match", "")
    tags = [word.strip().removeprefix("W/") for word in asked.split(",")]
    return tag in tags or tags == ["*"]


def _span(request: Request, tag: str, size: int) -> range:
    """The bytes asked for; all of them where the range is none that we read (RFC 9110, 14.2)."""
    whole = range(size)
    found = _RANGE.fullmatch(request.headers.get("Range", "").replace(" ", ""))
    if found is None or request.headers.get("If-Range", tag) != tag or request.method != "GET":
        return whole
    first, last = found.groups()
    if not first and not last:
        return whole
    if not first:
        start, stop = max(0, size - int(last)), size
    else:
        start, stop = int(first), min(size, int(last) + 1) if last else size
        if last and int(last) < int(first):
            return whole
    if start >= stop:
        raise RangeNotSatisfiable(size)
    return range(start, stop)
