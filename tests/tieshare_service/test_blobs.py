import asyncio
import hashlib
import os
import shutil
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace

import pytest

from tieshare_service.blobs import (
    LEAST_FREE_BYTES,
    Blobs,
    Received,
    TooLarge,
    artifact_key,
    upload_key,
)


async def stream(*chunks: bytes) -> AsyncIterator[bytes]:
    for chunk in chunks:
        yield chunk


async def broken(*chunks: bytes) -> AsyncIterator[bytes]:
    for chunk in chunks:
        yield chunk
    raise ConnectionError


def receive(blobs: Blobs, chunks: AsyncIterator[bytes], limit: int, keep: str = "") -> Received:
    async def run() -> Received:
        async with blobs.receive(chunks, limit) as received:
            if keep:
                blobs.keep(received, "models", keep)
            return received

    return asyncio.run(run())


def whole_of(blobs: Blobs, key: str) -> bytes:
    file, size = blobs.open(key)
    with closing(file):
        return file.read(size)


def files(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def test_a_kept_upload_has_the_bytes_and_the_digest_of_its_chunks(tmp_path: Path) -> None:
    blobs = Blobs(tmp_path)
    whole = os.urandom(3_000_001)
    parts = [whole[start : start + 70_000] for start in range(0, len(whole), 70_000)]
    received = receive(blobs, stream(*parts), len(whole), keep="mdl_a")
    assert received.sha256 == hashlib.sha256(whole).hexdigest()
    assert received.bytes == len(whole)
    assert whole_of(blobs, upload_key("models", "mdl_a")) == whole
    assert files(tmp_path) == ["blobs/models/mdl_a.onnx"]


def test_an_upload_that_is_not_kept_leaves_nothing(tmp_path: Path) -> None:
    receive(Blobs(tmp_path), stream(b"abc"), 10)
    assert files(tmp_path) == []


def test_an_upload_whose_sender_goes_away_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(ConnectionError):
        receive(Blobs(tmp_path), broken(b"x" * 2_000_000), 1 << 30)
    assert files(tmp_path) == []


def test_an_upload_may_have_as_many_bytes_as_the_limit_and_not_one_more(tmp_path: Path) -> None:
    blobs = Blobs(tmp_path)
    assert receive(blobs, stream(b"12345", b"67890"), 10).bytes == 10
    with pytest.raises(TooLarge, match="10 bytes") as caught:
        receive(blobs, stream(b"12345", b"678901"), 10)
    assert caught.value.where == "byte 10"
    assert files(tmp_path) == []


def test_the_sender_is_not_listened_to_beyond_the_limit(tmp_path: Path) -> None:
    taken = []

    async def endless() -> AsyncIterator[bytes]:
        while True:
            taken.append(1)
            yield b"x" * 100

    with pytest.raises(TooLarge):
        receive(Blobs(tmp_path), endless(), 1000)
    assert len(taken) == 11


def test_clearing_tmp_leaves_what_was_written_to_within_the_hour(tmp_path: Path) -> None:
    tmp = tmp_path / "tmp"
    tmp.mkdir()
    for name, age_s in (("upload-new", 0), ("upload-old", 7200), ("artifact-old", 7200)):
        (tmp / name).touch()
        at = (tmp / name).stat().st_mtime - age_s
        os.utime(tmp / name, (at, at))
    Blobs(tmp_path).clear_tmp()
    assert files(tmp) == ["upload-new"]


def test_an_artifact_is_found_by_its_record(tmp_path: Path) -> None:
    blobs = Blobs(tmp_path)
    artifact = blobs.put_artifact("job_a", "report.json", b"{}")
    assert (artifact.bytes, artifact.sha256) == (2, hashlib.sha256(b"{}").hexdigest())
    assert blobs.artifact(artifact) == b"{}"
    assert artifact_key(artifact).endswith("/report.json")


def test_an_artifact_of_an_attempt_that_lost_does_not_replace_the_winners(tmp_path: Path) -> None:
    blobs = Blobs(tmp_path)
    winner = blobs.put_artifact("job_a", "tied.onnx", b"second attempt")
    blobs.put_artifact("job_a", "tied.onnx", b"first attempt, late")
    assert blobs.artifact(winner) == b"second attempt"


def test_a_folder_that_is_not_writable_is_noticed(tmp_path: Path) -> None:
    (tmp_path / "tmp").write_text("not a folder")
    with pytest.raises(OSError, match="tmp"):
        Blobs(tmp_path).try_writing()


def test_a_folder_with_next_to_no_room_is_noticed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    total, used, _ = shutil.disk_usage(tmp_path)
    left = SimpleNamespace(total=total, used=used, free=LEAST_FREE_BYTES - 1)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: left)
    with pytest.raises(OSError, match="No space left"):
        Blobs(tmp_path).try_writing()


def test_the_ids_of_kept_files_are_listed_by_kind(tmp_path: Path) -> None:
    blobs = Blobs(tmp_path)
    for blob_id in ("mdl_b", "mdl_a"):
        receive(blobs, stream(b"x"), 1, keep=blob_id)
    blobs.delete("models", "mdl_b")
    blobs.delete("models", "mdl_b")
    assert (blobs.ids("models"), blobs.ids("datasets")) == (["mdl_a"], [])
