"""A file on its way down: resumed where the connection broke, and whole or not there at all."""

import base64
import binascii
import hashlib
import io
import os
import re
import tempfile
from pathlib import Path

import httpx

from tieshare_service.client.errors import DigestMismatch, Unavailable, UnexpectedAnswer
from tieshare_service.client.transport import Call, Transport
from tieshare_service.client.uploads import OnBytes, ignore

SHA256 = re.compile(r"sha-256=:([A-Za-z0-9+/=]+):")


def download(
    transport: Transport, path: tuple[str, ...], to: str | Path, progress: OnBytes = ignore
) -> Path:
    """GET ``path`` into the file ``to`` and return it.

    The bytes go to a hidden file beside ``to``, are compared with the Repr-Digest that the service
    sent, and take the name ``to`` in one step. Raises DigestMismatch, ConnectionFailed, a Problem.
    """
    to = Path(to)
    handle, name = tempfile.mkstemp(dir=to.parent, prefix=f".{to.name}.", suffix=".part")
    part = Path(name)
    try:
        with os.fdopen(handle, "w+b") as file:
            _receive(transport, path, file, progress)
            file.flush()
            os.fsync(file.fileno())
        part.chmod(0o644)
        part.replace(to)
    finally:
        part.unlink(missing_ok=True)
    return to


def _receive(
    transport: Transport, path: tuple[str, ...], file: io.BufferedRandom, progress: OnBytes
) -> None:
    etag = ""
    for pause in transport.retry.pauses():
        offset = file.tell()
        resume = {"Range": f"bytes={offset}-", "If-Range": etag} if offset and etag else {}
        headers = {"Accept-Encoding": "identity", **resume}
        try:
            with transport.open(Call("GET", path, headers=headers)) as response:
                etag = response.headers.get("ETag", "")
                if response.status_code != httpx.codes.PARTIAL_CONTENT:
                    offset = 0
                _append(response, file, offset, progress)
                _compare(response, file)
                return
        except httpx.TransportError as error:
            if pause is None:
                raise transport.lost(error) from error
        except Unavailable:
            if pause is None:
                raise
        transport.sleep(pause)


def _append(
    response: httpx.Response, file: io.BufferedRandom, offset: int, progress: OnBytes
) -> None:
    file.seek(offset)
    file.truncate()
    total = offset + int(response.headers.get("Content-Length", 0))
    for chunk in response.iter_bytes():
        file.write(chunk)
        progress(file.tell(), total)


def _compare(response: httpx.Response, file: io.BufferedRandom) -> None:
    announced = _announced(response)
    file.seek(0)
    arrived = hashlib.file_digest(file, "sha256")
    if arrived.digest() != announced:
        raise DigestMismatch(
            f"{response.url}: announced was SHA-256 {announced.hex()}, "
            f"{arrived.hexdigest()} arrived"
        )


def _announced(response: httpx.Response) -> bytes:
    found = SHA256.search(response.headers.get("Repr-Digest", ""))
    if found is None:
        raise UnexpectedAnswer(f"{response.url}: no SHA-256 in Repr-Digest")
    try:
        return base64.b64decode(found[1], validate=True)
    except binascii.Error as error:
        raise UnexpectedAnswer(f"{response.url}: Repr-Digest can't be read") from error
