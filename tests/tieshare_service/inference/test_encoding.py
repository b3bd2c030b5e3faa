"""Compressed bodies: what was sent comes out, and never more than the limit."""

import asyncio
import gzip
import zlib
from collections.abc import Callable

import pytest

from tieshare_service.inference.encoding import decoded, encoded
from tieshare_service.inference.errors import BadBody, BodyTooLarge, UnsupportedEncoding

SHORT, LONG = b'{"inputs":[]}', bytes(range(256)) * 4096
Change = Callable[[bytes], bytes]
PACK: dict[bytes, Change] = {b"gzip": gzip.compress, b"deflate": zlib.compress, b"identity": bytes}
UNChange = Callable[[bytes], bytes]
UNPACK: dict[bytes, Change] = {b"gzip": gzip.decompress, b"deflate": zlib.decompress, b"": bytes}
LIMIT = 1 << 21


@pytest.mark.parametrize("encoding", PACK)
@pytest.mark.parametrize("body", [b"", SHORT, LONG])
def test_what_was_packed_comes_out(encoding: bytes, body: bytes) -> None:
    packed = PACK[encoding](body)
    assert asyncio.run(decoded(packed, encoding, LIMIT)) == body
    assert asyncio.run(decoded(packed, b" " + encoding.upper(), LIMIT)) == body


@pytest.mark.parametrize("encoding", [b"gzip", b"deflate"])
def test_no_more_than_the_limit_is_unpacked(encoding: bytes) -> None:
    bomb = PACK[encoding](bytes(1 << 24))
    assert asyncio.run(decoded(PACK[encoding](SHORT), encoding, len(SHORT))) == SHORT
    with pytest.raises(BodyTooLarge):
        asyncio.run(decoded(PACK[encoding](SHORT), encoding, len(SHORT) - 1))
    with pytest.raises(BodyTooLarge):
        asyncio.run(decoded(bomb, encoding, 1 << 20))


@pytest.mark.parametrize("encoding", [b"gzip", b"deflate"])
def test_what_is_cut_off_or_something_else_is_refused(encoding: bytes) -> None:
    whole = PACK[encoding](LONG)
    for wrong in (whole[:-5], whole + b"more", b"", SHORT):
        with pytest.raises(BadBody, match=encoding.decode()):
            asyncio.run(decoded(wrong, encoding, LIMIT))


def test_other_encodings_are_refused_by_name() -> None:
    with pytest.raises(UnsupportedEncoding, match="'br' is none of gzip, deflate, identity"):
        asyncio.run(decoded(SHORT, b"br", LIMIT))


@pytest.mark.parametrize(
    ("accepted", "encoding"),
    [
        (b"gzip", b"gzip"),
        (b"deflate", b"deflate"),
        (b"GZIP, deflate", b"gzip"),
        (b"br, deflate;q=0.5, gzip", b"deflate"),
        (b"gzip;q=0, deflate", b"deflate"),
        (b"gzip; q=0.0", b""),
        (b"br", b""),
        (b"identity", b""),
    ],
)
def test_an_answer_is_packed_as_the_client_takes_it(accepted: bytes, encoding: bytes) -> None:
    body, found = asyncio.run(encoded(LONG, accepted))
    assert found == encoding
    assert UNPACK[found](body) == LONG


def test_a_short_answer_stays_as_it_is() -> None:
    assert asyncio.run(encoded(SHORT, b"gzip")) == (SHORT, b"")
