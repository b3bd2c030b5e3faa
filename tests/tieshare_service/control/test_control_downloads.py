import base64
import hashlib
from pathlib import Path

import httpx
import pytest

from tieshare_service.control.services import Services


@pytest.fixture
def place(http: httpx.Client, model_bytes: bytes) -> str:
    return http.post("/v1/models", content=model_bytes).headers["Location"] + "/content"


def test_a_file_comes_with_its_digest_and_its_tag(
    http: httpx.Client, place: str, model_bytes: bytes
) -> None:
    answer = http.get(place)
    digest = hashlib.sha256(model_bytes)
    assert answer.content == model_bytes
    assert answer.headers["ETag"] == f'"{digest.hexdigest()}"'
    expected = base64.b64encode(digest.digest()).decode()
    assert answer.headers["Repr-Digest"] == f"sha-256=:{expected}:"
    assert answer.headers["Accept-Ranges"] == "bytes"


def test_head_answers_with_the_headers_of_get(http: httpx.Client, place: str) -> None:
    head, get = http.head(place), http.get(place)
    assert head.content == b""
    assert dict(head.headers, date="") == dict(get.headers, date="")


@pytest.mark.parametrize(
    ("asked", "start", "stop"),
    [("bytes=0-9", 0, 10), ("bytes=10-", 10, None), ("bytes=-7", -7, None), ("bytes=5-5", 5, 6)],
)
def test_a_range_is_answered_with_that_range_and_the_digest_of_the_whole(
    http: httpx.Client, place: str, model_bytes: bytes, asked: str, start: int, stop: int | None
) -> None:
    answer = http.get(place, headers={"Range": asked})
    part = model_bytes[start:stop]
    first, size = range(len(model_bytes))[start], len(model_bytes)
    assert (answer.status_code, answer.content) == (206, part)
    assert answer.headers["Content-Range"] == f"bytes {first}-{first + len(part) - 1}/{size}"
    assert answer.headers["Repr-Digest"] == http.get(place).headers["Repr-Digest"]


def test_a_range_that_ends_after_the_file_ends_with_it(
    http: httpx.Client, place: str, model_bytes: bytes
) -> None:
    answer = http.get(place, headers={"Range": "bytes=400-100000"})
    assert (answer.status_code, answer.content) == (206, model_bytes[400:])


@pytest.mark.parametrize("asked", ["bytes=100000-", "bytes=-0"])
def test_a_range_that_begins_after_the_file_is_refused_with_its_size(
    http: httpx.Client, place: str, model_bytes: bytes, asked: str
) -> None:
    answer = http.get(place, headers={"Range": asked})
    assert answer.status_code == 416
    assert answer.headers["Content-Range"] == f"bytes */{len(model_bytes)}"
    assert answer.headers["Content-Type"] == "application/problem+json"


@pytest.mark.parametrize(
    "asked", ["bytes=9-5", "bytes=-", "lines=1-2", "bytes=0-1,5-6", f"bytes={'9' * 5000}-", "x"]
)
def test_a_range_that_is_none_or_several_is_answered_with_the_whole_file(
    http: httpx.Client, place: str, model_bytes: bytes, asked: str
) -> None:
    answer = http.get(place, headers={"Range": asked})
    assert (answer.status_code, answer.content) == (200, model_bytes)


def test_a_range_of_another_version_is_answered_with_the_whole_file(
    http: httpx.Client, place: str, model_bytes: bytes
) -> None:
    tag = http.head(place).headers["ETag"]
    same = http.get(place, headers={"Range": "bytes=0-9", "If-Range": tag})
    other = http.get(place, headers={"Range": "bytes=0-9", "If-Range": '"other"'})
    assert (same.status_code, len(same.content)) == (206, 10)
    assert (other.status_code, other.content) == (200, model_bytes)


@pytest.mark.parametrize("form", ["{}", "W/{}", '"other", {}', "*"])
def test_a_file_that_the_client_has_is_not_sent_again(
    http: httpx.Client, place: str, form: str
) -> None:
    tag = http.head(place).headers["ETag"]
    answer = http.get(place, headers={"If-None-Match": form.format(tag)})
    assert (answer.status_code, answer.content) == (304, b"")
    assert answer.headers["ETag"] == tag


def test_a_file_that_the_client_has_in_another_version_is_sent(
    http: httpx.Client, place: str
) -> None:
    assert http.get(place, headers={"If-None-Match": '"other"'}).status_code == 200


def test_a_file_that_vanished_is_not_found(
    http: httpx.Client, services: Services, place: str
) -> None:
    (only,) = (services.settings.blobs_dir / "models").iterdir()
    Path(only).unlink()
    answer = http.get(place)
    assert answer.status_code == 404
    assert answer.json()["type"].endswith("/no-such-file")
