"""Downloads over connections that break, against a scripted server."""

import base64
import hashlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tieshare_service.client import (
    Client,
    ConnectionFailed,
    DigestMismatch,
    NotFound,
    Retry,
    UnexpectedAnswer,
)

CONTENT = bytes(range(256)) * 4_096
DIGEST = base64.b64encode(hashlib.sha256(CONTENT).digest()).decode()
HEADERS = (("ETag", '"v1"'), ("Repr-Digest", f"sha-256=:{DIGEST}:"))


def add(
    script: Any,
    body: bytes,
    status: int = 200,
    headers: tuple[tuple[str, str], ...] = HEADERS,
    cut: int | None = None,
) -> None:
    script.json(None, status)
    script.add(replace(script.replies.pop(), body=body, headers=headers, cut=cut))


def fetch(script: Any, to: Path, **options: Any) -> Path:
    with Client(script.url, retry=Retry(attempts=3, first_s=0.0)) as client:
        return client.jobs.download("job_1", "shared.onnx", to, **options)


def test_a_file_arrives_whole_and_leaves_nothing_beside_it(script: Any, tmp_path: Path) -> None:
    add(script, CONTENT)
    seen: list[tuple[int, int]] = []
    fetch(script, tmp_path / "m.onnx", progress=lambda done, total: seen.append((done, total)))

    assert (tmp_path / "m.onnx").read_bytes() == CONTENT
    assert list(tmp_path.iterdir()) == [tmp_path / "m.onnx"]
    assert script.requests[0].path == "/v1/jobs/job_1/artifacts/shared.onnx"
    assert seen[-1] == (len(CONTENT), len(CONTENT))


def test_a_broken_download_goes_on_where_it_broke(script: Any, tmp_path: Path) -> None:
    add(script, CONTENT, cut=600_000)
    script.replies.append(lambda request: replace_body(script, int(request.headers["range"][6:-1])))
    fetch(script, tmp_path / "m.onnx")

    assert (tmp_path / "m.onnx").read_bytes() == CONTENT
    assert script.requests[1].headers["if-range"] == '"v1"'
    assert 0 < int(script.requests[1].headers["range"][6:-1]) <= 600_000


def replace_body(script: Any, start: int) -> Any:
    add(script, CONTENT[start:], status=206)
    return script.replies.pop()


def test_a_file_that_changed_meanwhile_is_fetched_from_the_start(
    script: Any, tmp_path: Path
) -> None:
    add(script, b"x" * len(CONTENT), cut=600_000)
    add(script, CONTENT, status=200)
    fetch(script, tmp_path / "m.onnx")

    assert (tmp_path / "m.onnx").read_bytes() == CONTENT


def test_wrong_bytes_never_take_the_name_of_the_file(script: Any, tmp_path: Path) -> None:
    (tmp_path / "m.onnx").write_bytes(b"before")
    add(script, CONTENT[:-1] + b"?")
    with pytest.raises(DigestMismatch):
        fetch(script, tmp_path / "m.onnx")

    assert (tmp_path / "m.onnx").read_bytes() == b"before"
    assert list(tmp_path.iterdir()) == [tmp_path / "m.onnx"]


def test_a_file_without_a_digest_is_not_trusted(script: Any, tmp_path: Path) -> None:
    add(script, CONTENT, headers=())
    with pytest.raises(UnexpectedAnswer, match="Repr-Digest"):
        fetch(script, tmp_path / "m.onnx")

    assert list(tmp_path.iterdir()) == []


def test_a_download_is_given_up_after_the_last_attempt(script: Any, tmp_path: Path) -> None:
    for _ in range(3):
        script.drop()
    with pytest.raises(ConnectionFailed):
        fetch(script, tmp_path / "m.onnx")

    assert list(tmp_path.iterdir()) == []


def test_what_is_not_there_is_not_asked_for_again(script: Any, tmp_path: Path) -> None:
    script.problem(404, "artifact-not-found")
    with pytest.raises(NotFound):
        fetch(script, tmp_path / "m.onnx")

    assert list(tmp_path.iterdir()) == []
