"""Bodies compressed by gzip or deflate, in and out."""

import asyncio
import gzip
import zlib

from tieshare_service.inference.errors import BadBody, BodyTooLarge, UnsupportedEncoding

# below this an answer goes out as it is: compressing it would take longer than sending it
LEAST = 1024
# a body of this size takes about a millisecond: longer ones leave the event loop to others
_LONG = 1 << 16
_FASTEST = 1
_WINDOWS = {b"gzip": zlib.MAX_WBITS | 16, b"deflate": zlib.MAX_WBITS}


async def decoded(body: bytes, encoding: bytes, limit: int) -> bytes:
    """The body that ``Content-Encoding`` says was compressed.

    Raises UnsupportedEncoding; BadBody where it is not what it says; BodyTooLarge before more than
    ``limit`` bytes are unpacked.
    """
    encoding = encoding.strip().lower()
    if encoding == b"identity":
        return body
    if encoding not in _WINDOWS:
        raise UnsupportedEncoding(
            f"Content-Encoding {encoding.decode('latin-1')!r} is none of gzip, deflate, identity"
        )
    if len(body) < _LONG:
        return _unpacked(body, encoding, limit)
    return await asyncio.to_thread(_unpacked, body, encoding, limit)


async def encoded(body: bytes, accepted: bytes) -> tuple[bytes, bytes]:
    """The body as ``Accept-Encoding`` asks for it, and its Content-Encoding: empty for none."""
    encoding = _chosen(accepted) if len(body) >= LEAST else b""
    if not encoding:
        return body, b""
    pack = gzip.compress if encoding == b"gzip" else zlib.compress
    if len(body) < _LONG:
        return pack(body, _FASTEST), encoding
    return await asyncio.to_thread(pack, body, _FASTEST), encoding


def _unpacked(body: bytes, encoding: bytes, limit: int) -> bytes:
    unpacker = zlib.decompressobj(_WINDOWS[encoding])
    try:
        found = unpacker.decompress(body, limit + 1)
    except zlib.error:
        raise BadBody(f"the body is not {encoding.decode()} data") from None
    if len(found) > limit:
        raise BodyTooLarge(limit)
    if not unpacker.eof or unpacker.unused_data:
        raise BadBody(f"the {encoding.decode()} data of the body do not end where it does")
    return found


def _chosen(accepted: bytes) -> bytes:
    """The first of those that can be written; a weight of 0 refuses one."""
    for item in accepted.lower().split(b","):
        name, _, weight = item.partition(b";")
        refused = weight.replace(b" ", b"").strip(b"q=0.") == b"" and b"q" in weight
        if name.strip() in _WINDOWS and not refused:
            return name.strip()
    return b""
