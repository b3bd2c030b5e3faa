"""Publishing: one version a job, whole or not there at all."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from sqlalchemy import Engine, insert

from tieshare_service import shelf as shelf_module
from tieshare_service.database import open_database
from tieshare_service.job_rows import NewJob
from tieshare_service.publish import Point, Publisher, Served, served_name
from tieshare_service.queue import Queue
from tieshare_service.records import datasets, models
from tieshare_service.shelf import FolderShelf


@pytest.fixture
def engine(database: Path | str) -> Iterator[Engine]:
    engine = open_database(database)
    with engine.begin() as connection:
        for table in (models, datasets):
            values = {"id": "x", "name": "x", "sha256": "", "bytes": 1, "card": {}}
            connection.execute(insert(table).values({**values, "created_at": 0.0}))
    yield engine
    engine.dispose()


@pytest.fixture
def job_ids(engine: Engine) -> list[str]:
    queue = Queue(engine, lambda: 0.0)
    return [queue.submit(NewJob("x", "x", {})).id for _ in range(3)]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "models"


@pytest.fixture
def publisher(engine: Engine, folder: Path) -> Publisher:
    return Publisher(engine, FolderShelf(folder))


def tree(folder: Path) -> dict[str, bytes]:
    """Every file under ``folder``, hidden ones too."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def test_a_model_lies_where_triton_looks_for_it(
    publisher: Publisher, folder: Path, job_ids: list[str]
) -> None:
    assert publisher.publish(job_ids[0], "digits", b"onnx", Point(1)) == Served("digits", 1)
    config = b'name: "digits"\nbackend: "onnxruntime"\nversion_policy: { all { } }\n'
    assert tree(folder) == {"digits/1/model.onnx": b"onnx", "digits/config.pbtxt": config}
    for path in folder.rglob("*"):
        assert path.stat().st_mode & 0o044 == 0o044


def test_each_job_of_a_name_is_the_next_version(
    publisher: Publisher, folder: Path, job_ids: list[str]
) -> None:
    served = [publisher.publish(job_id, "digits", job_id.encode(), Point(1)) for job_id in job_ids]
    assert [one.version for one in served] == [1, 2, 3]
    assert (folder / "digits/3/model.onnx").read_bytes() == job_ids[2].encode()


def test_publishing_a_job_again_lands_on_its_version(
    publisher: Publisher, folder: Path, job_ids: list[str]
) -> None:
    publisher.publish(job_ids[0], "digits", b"first", Point(1))
    publisher.publish(job_ids[1], "digits", b"other", Point(1))
    before = (folder / "digits/1").stat().st_ino
    assert publisher.publish(job_ids[0], "digits", b"first", Point(1)) == Served("digits", 1)
    assert (folder / "digits/1").stat().st_ino == before
    assert publisher.publish(job_ids[0], "digits", b"better", Point(1)) == Served("digits", 1)
    files = tree(folder)
    del files["digits/config.pbtxt"]
    assert files == {"digits/1/model.onnx": b"better", "digits/2/model.onnx": b"other"}


def test_other_points_of_a_job_are_its_next_versions(
    publisher: Publisher, folder: Path, job_ids: list[str]
) -> None:
    job_id = job_ids[0]
    publisher.publish(job_id, "digits", b"one", Point(1))
    publisher.publish(job_ids[1], "digits", b"other job", Point(1))
    asked = [Point(2), Point(2), Point(2, "packed"), Point(2, "packed"), Point(1), Point(1)]
    served = [publisher.publish_other(job_id, "digits", str(at).encode(), at) for at in asked]
    assert [one.version for one in served] == [3, 3, 4, 4, 5, 5]
    for at, one in zip(asked, served, strict=True):
        stored = folder / "digits" / str(one.version) / "model.onnx"
        assert stored.read_bytes() == str(at).encode()


def test_the_point_that_the_job_itself_has_published_is_no_other_one(
    publisher: Publisher, job_ids: list[str]
) -> None:
    publisher.publish(job_ids[0], "digits", b"one", Point(4))
    assert publisher.publish_other(job_ids[0], "digits", b"one", Point(4)) == Served("digits", 1)


def test_a_version_of_which_only_the_number_was_written_is_filled_by_the_next_try(
    publisher: Publisher, folder: Path, job_ids: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    publisher.publish(job_ids[0], "digits", b"one", Point(1))

    def full(*_: object) -> None:
        raise OSError("no space left")

    with monkeypatch.context() as patch:
        patch.setattr(shelf_module, "write_synced", full)
        with pytest.raises(OSError, match="no space"):
            publisher.publish_other(job_ids[0], "digits", b"two", Point(2))
    assert publisher.publish_other(job_ids[0], "digits", b"two", Point(2)) == Served("digits", 2)
    assert (folder / "digits/2/model.onnx").read_bytes() == b"two"


def test_many_threads_that_publish_one_point_make_one_version(
    publisher: Publisher, folder: Path, job_ids: list[str]
) -> None:
    with ThreadPoolExecutor(8) as pool:
        served = list(
            pool.map(
                lambda _: publisher.publish_other(job_ids[0], "digits", b"m" * 100_000, Point(2)),
                range(16),
            )
        )
    assert set(served) == {Served("digits", 1)}
    assert sorted(path.name for path in (folder / "digits").iterdir()) == ["1", "config.pbtxt"]


@pytest.mark.parametrize("crash_in", ["write_synced", "sync", "rename_synced"])
def test_a_crash_leaves_nothing_half_written_and_the_next_try_mends_it(
    publisher: Publisher,
    folder: Path,
    job_ids: list[str],
    crash_in: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    publisher.publish(job_ids[0], "digits", b"one", Point(1))

    def crash(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(shelf_module, crash_in, crash)
        with pytest.raises(KeyboardInterrupt):
            publisher.publish(job_ids[1], "digits", b"two", Point(1))
    assert sorted(path.name for path in (folder / "digits").glob("[!.]*")) == ["1", "config.pbtxt"]
    assert publisher.publish(job_ids[1], "digits", b"two", Point(1)) == Served("digits", 2)
    files = tree(folder)
    del files["digits/config.pbtxt"]
    assert files == {"digits/1/model.onnx": b"one", "digits/2/model.onnx": b"two"}


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("digits", "digits"),
        ("My net (v2)", "My-net-v2"),
        ("../../etc", "etc"),
        (".hidden", "hidden"),
        ("..", "model"),
        ("日本", "model"),
        ("a/b\\c\0d", "a-b-c-d"),
        ("n" * 300, "n" * 100),
    ],
)
def test_a_served_name_is_safe_in_a_path_and_a_url(text: str, name: str) -> None:
    assert served_name(text) == name
