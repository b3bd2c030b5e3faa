"""A data folder goes into one file and comes back."""

import io
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from sqlalchemy import insert, select

from tieshare_service import records
from tieshare_service.backup import BackupError, Damaged, NoBackup, Occupied, back_up, restore
from tieshare_service.cli import main
from tieshare_service.control.counters import Counters
from tieshare_service.control.services import Services, started
from tieshare_service.database import open_database
from tieshare_service.job_rows import NewJob
from tieshare_service.publish import Point
from tieshare_service.settings import Settings

RESULT = b"a smaller network"


@pytest.fixture
def job_id(services: Services, uploaded: tuple[str, str]) -> str:
    """A job with one file, which is served."""
    model, dataset = uploaded
    job = services.queue.submit(NewJob(model, dataset, {}))
    artifact = services.blobs.put_artifact(job.id, "shared.onnx", RESULT)
    row = {"job_id": job.id, "name": artifact.name, "sha256": artifact.sha256}
    with services.engine.begin() as connection:
        connection.execute(insert(records.artifacts).values(bytes=artifact.bytes, **row))
    services.publisher.publish(job.id, "kept", RESULT, Point(1))
    return job.id


@pytest.fixture
def tieshare() -> Callable[..., Result]:
    """Runs the command with these words."""
    return lambda *words: CliRunner().invoke(main, list(map(str, words)))


@pytest.fixture
def new(tmp_path: Path) -> Settings:
    return Settings(data_dir=tmp_path / "deep" / "restored")


def names(file: Path) -> list[str]:
    with tarfile.open(file) as tar:
        return tar.getnames()


def without(file: Path, name: str, content: bytes | None = None) -> Path:
    """The same archive without this file, or with another content of it."""
    other = file.with_suffix(".other")
    with tarfile.open(file) as old, tarfile.open(other, "w") as made:
        for entry in old.getmembers():
            data = old.extractfile(entry)
            if entry.name == name and content is not None:
                entry.size, data = len(content), io.BytesIO(content)
            if entry.name != name or content is not None:
                made.addfile(entry, data)
    return other


def test_what_was_kept_is_there_after_a_restore(
    services: Services,
    uploaded: tuple[str, str],
    job_id: str,
    model_bytes: bytes,
    dataset_bytes: bytes,
    tmp_path: Path,
    new: Settings,
) -> None:
    file = tmp_path / "backup.tar"
    kept = back_up(services.settings, file)
    assert (kept.models, kept.datasets, kept.jobs) == (1, 1, 1)
    assert kept.bytes == file.stat().st_size
    assert restore(file, new) == kept
    with started(new, Counters()) as restored:
        assert restored.queue.get(job_id) == services.queue.get(job_id)
        assert restored.queue.events(job_id) == services.queue.events(job_id)
        for kept_by, known_by, upload_id, data in (
            (restored.models, services.models, uploaded[0], model_bytes),
            (restored.datasets, services.datasets, uploaded[1], dataset_bytes),
        ):
            assert kept_by.get(upload_id) == known_by.get(upload_id)
            assert (new.blobs_dir / kept_by.key(upload_id)).read_bytes() == data
        (artifact,) = restored.queue.artifacts(job_id)
        assert restored.blobs.artifact(artifact) == RESULT
    served = new.models_dir / "kept" / "1" / "model.onnx"
    assert served.read_bytes() == RESULT
    assert (new.models_dir / "kept" / "config.pbtxt").is_file()


def test_an_upload_that_is_deleted_meanwhile_is_left_out(
    services: Services, uploaded: tuple[str, str], tmp_path: Path, new: Settings
) -> None:
    services.blobs.delete("models", uploaded[0])
    assert back_up(services.settings, tmp_path / "backup.tar").models == 0
    assert restore(tmp_path / "backup.tar", new).datasets == 1
    engine = open_database(new.database)
    with engine.connect() as connection:
        assert connection.scalars(select(records.models.c.id)).all() == []
    engine.dispose()


@pytest.mark.usefixtures("job_id")
def test_of_served_models_what_the_database_does_not_know_yet_is_left_out(
    services: Services, tmp_path: Path
) -> None:
    """A later version, one that is being written; a model that somebody put there is kept."""
    folder = services.settings.models_dir
    for path in ("kept/2/model.onnx", "kept/.3.x.tmp/model.onnx", "own/5/model.onnx"):
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(b"other")
    back_up(services.settings, tmp_path / "backup.tar")
    folders = "models/kept/", "models/own/"
    served = [name for name in names(tmp_path / "backup.tar") if name.startswith(folders)]
    assert served == [
        "models/kept/1/model.onnx",
        "models/kept/config.pbtxt",
        "models/own/5/model.onnx",
    ]


@pytest.mark.usefixtures("job_id")
def test_a_damaged_file_is_no_backup(services: Services, tmp_path: Path) -> None:
    path = next(services.settings.blobs_dir.rglob("shared.onnx"))
    path.write_bytes(b"rotten")
    with pytest.raises(Damaged, match="blobs/jobs/"):
        back_up(services.settings, tmp_path / "backup.tar")
    assert list(tmp_path.iterdir()) == []


def test_nothing_is_overwritten(services: Services, tmp_path: Path, new: Settings) -> None:
    file = tmp_path / "backup.tar"
    back_up(services.settings, file)
    with pytest.raises(Occupied, match=r"backup\.tar"):
        back_up(services.settings, file)
    restore(file, new)
    with pytest.raises(Occupied, match="restored"):
        restore(file, new)


def test_where_no_service_was_there_is_nothing_to_back_up(tmp_path: Path) -> None:
    with pytest.raises(NoBackup, match="no data of a service"):
        back_up(Settings(data_dir=tmp_path / "none"), tmp_path / "backup.tar")


def test_a_database_on_a_server_has_tools_of_its_own(tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path, database_url="postgresql://host/database")
    with pytest.raises(NoBackup, match="pg_dump"):
        back_up(settings, tmp_path / "backup.tar")
    with pytest.raises(NoBackup, match="pg_dump"):
        restore(tmp_path / "backup.tar", settings)


@pytest.mark.usefixtures("job_id")
@pytest.mark.parametrize("broken", ["text", "cut off", "without its database", "altered"])
def test_a_file_that_is_no_backup_leaves_nothing_behind(
    services: Services, tmp_path: Path, new: Settings, broken: str
) -> None:
    file = tmp_path / "backup.tar"
    back_up(services.settings, file)
    upload = next(name for name in names(file) if name.endswith(".onnx"))
    if broken == "text":
        file.write_text("no archive")
    elif broken == "cut off":
        file.write_bytes(file.read_bytes()[:700])
    elif broken == "without its database":
        file = without(file, new.database_file.name)
    else:
        file = without(file, upload, b"another network")
    with pytest.raises(BackupError):
        restore(file, new)
    assert not new.data_dir.exists()
    assert list(new.data_dir.parent.iterdir()) == []


@pytest.mark.usefixtures("job_id")
def test_the_two_commands(
    services: Services, tmp_path: Path, new: Settings, tieshare: Callable[..., Result]
) -> None:
    file = tmp_path / "backup.tar"
    made = tieshare("backup", file, "--data-dir", services.settings.data_dir)
    assert made.exit_code == 0, made.output
    assert made.output == f"1 models, 1 data sets, 1 jobs: {file.stat().st_size:,} bytes\n"
    back = tieshare("restore", file, "--data-dir", new.data_dir)
    assert (back.exit_code, back.output) == (0, made.output)
    again = tieshare("restore", file, "--data-dir", new.data_dir)
    assert again.exit_code == 1
    assert "something is there already" in again.output
