"""The body of an upload, as the catalog wants it."""

import base64
import binascii
import re
from collections.abc import AsyncIterator

from starlette.requests import ClientDisconnect, Request

from tieshare_service.blobs import TooLarge
from tieshare_service.catalog import NewUpload
from tieshare_service.control.errors import BadHeader, Disconnected, UnsupportedMediaType

# An integrity field is a dictionary of algorithm=:base64: (RFC 9530, RFC 9651).
_SHA256 = re.compile(r"(?:^|,)\s*sha-256=:([A-Za-z0-9+/=]*):(?:;[^,]*)?\s*(?=,|$)")
_MOST_DIGITS = 18


def new_upload(request: Request, name: str | None, limit: int) -> NewUpload:
    """The upload that a request carries; its body is read later.

    Raises UnsupportedMediaType for a form or a coded body, TooLarge where Content-Length already
    says so, BadHeader.
    """
    length = request.headers.get("Content-Length", "")
    if length.isdecimal() and (len(length) > _MOST_DIGITS or int(length) > limit):
        raise TooLarge(limit)
    return NewUpload(body(request), limit, name, announced_sha256(request))


def body(request: Request) -> AsyncIterator[bytes]:
    """The bytes, to be read later. Raises UnsupportedMediaType for a form or a coded body."""
    coding = request.headers.get("Content-Encoding", "identity")
    if coding.strip().lower() != "identity":
        raise UnsupportedMediaType(
            f"the body is coded with {coding!r}; send the file as it is",
            where="Content-Encoding",
            headers={"Accept-Encoding": "identity"},
        )
    if request.headers.get("Content-Type", "").strip().lower().startswith("multipart/"):
        raise UnsupportedMediaType(
            "the body is a form; send the bytes of the file alone (curl --data-binary @FILE)",
            where="Content-Type",
        )
    return _chunks(request)


async def _chunks(request: Request) -> AsyncIterator[bytes]:
    try:
        async for chunk in request.stream():
            yield chunk
    except ClientDisconnect as error:
        raise Disconnected("the connection ended before the body did", where="body") from error


def announced_sha256(request: Request) -> str | None:
    """The SHA-256 in Repr-Digest or Content-Digest, in hexadecimal; the body has one form only."""
    for name in ("Repr-Digest", "Content-Digest"):
        field = request.headers.get(name, "")
        if "sha-256=" not in field:
            continue
        found = _SHA256.search(field)
        try:
            digest = base64.b64decode(found[1], validate=True) if found else b""
        except binascii.Error:
            digest = b""
        if len(digest) != 32:
            raise BadHeader("write sha-256=:BASE64: with the 32 bytes of the digest", where=name)
        return digest.hex()
    return None
