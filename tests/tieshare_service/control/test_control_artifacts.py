import hashlib
from pathlib import Path
from typing import Any

import httpx
import pytest

from tieshare_service.control.services import Services

FILES = {
    "front.png": b"\x89PNG",
    "front.svg": b"<svg/>",
    "packed.onnx": b"packed",
    "point-1.packed.onnx": b"first packed",
    "point-1.shared.onnx": b"first shared",
    "point-1.tied.onnx": b"first tied",
    "report.json": b'{"shared": {}}',
    "shared.onnx": b"s" * 300_000,
    "tied.onnx": b"tied",
}
MEDIA_TYPES = {
    ".json": "application/json",
    ".onnx": "application/octet-stream",
    ".png": "image/png",
    ".svg": "image/svg+xml",
}


@pytest.fixture
def place(http: httpx.Client, services: Services, uploaded: tuple[str, str]) -> str:
    """The artifacts of a job that has succeeded."""
    asked = {"model": uploaded[0], "dataset": uploaded[1]}
    job = http.post("/v1/jobs", json=asked).json()["id"]
    services.queue.claim("worker", 30)
    made = [services.blobs.put_artifact(job, name, data) for name, data in FILES.items()]
    result: dict[str, Any] = {"report": {}, "artifacts": list(FILES), "served": None}
    services.queue.succeed(job, 1, result, made)
    return f"/v1/jobs/{job}/artifacts"


def test_all_files_are_listed_with_their_digests(http: httpx.Client, place: str) -> None:
    page = http.get(place).json()
    assert page["next_page_token"] is None
    assert page["items"] == [
        {"name": name, "sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data)}
        for name, data in FILES.items()
    ]


@pytest.mark.parametrize("name", FILES)
def test_a_file_is_the_bytes_that_were_made(http: httpx.Client, place: str, name: str) -> None:
    answer = http.get(f"{place}/{name}")
    assert answer.content == FILES[name]
    assert answer.headers["ETag"] == f'"{hashlib.sha256(FILES[name]).hexdigest()}"'
    assert answer.headers["Content-Disposition"] == f'attachment; filename="{name}"'


@pytest.mark.parametrize("name", FILES)
def test_a_file_has_the_type_that_its_ending_says(
    http: httpx.Client, place: str, name: str
) -> None:
    answer = http.head(f"{place}/{name}")
    assert answer.headers["Content-Type"] == MEDIA_TYPES[Path(name).suffix]


def test_a_file_comes_in_ranges_too(http: httpx.Client, place: str) -> None:
    answer = http.get(f"{place}/shared.onnx", headers={"Range": "bytes=299990-"})
    assert (answer.status_code, answer.content) == (206, b"s" * 10)
    assert answer.headers["Content-Range"] == "bytes 299990-299999/300000"


def test_a_file_that_the_client_has_is_not_sent_again(http: httpx.Client, place: str) -> None:
    tag = http.head(f"{place}/tied.onnx").headers["ETag"]
    assert http.get(f"{place}/tied.onnx", headers={"If-None-Match": tag}).status_code == 304


@pytest.mark.parametrize(
    "name", ["point-2.shared.onnx", "..", "%2e%2e%2ftied.onnx", "tied.onnx%00"]
)
def test_a_file_that_was_not_made_is_not_found(http: httpx.Client, place: str, name: str) -> None:
    answer = http.get(f"{place}/{name}")
    assert answer.status_code == 404 or name == ".."  # a client shortens a/.. before it asks
    assert answer.headers["Content-Type"].startswith("application/")


def test_a_job_that_has_not_ended_has_no_files(
    http: httpx.Client, uploaded: tuple[str, str]
) -> None:
    asked = {"model": uploaded[0], "dataset": uploaded[1]}
    job = http.post("/v1/jobs", json=asked).json()["id"]
    assert http.get(f"/v1/jobs/{job}/artifacts").json()["items"] == []
    assert http.get(f"/v1/jobs/{job}/artifacts/tied.onnx").status_code == 404
