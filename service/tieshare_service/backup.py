"""Everything of a data folder in one file, made while the service runs, and the way back.

The file is a tar archive laid out like the data folder, the database at its end: without that it is
no backup. A row is never without its file, so that all files are there that the database names as
it was when the backup began; a row whose file has been deleted since then is left out. Jobs that
run are in it as they stand, without their checkpoints: after a restore they begin anew. Keep it
like the data folder: it holds all uploads.

    BackupError
    ├── Damaged      a file is not what the database says
    ├── NoBackup     the file is no backup
    └── Occupied     something is there already where it is to go
"""

import hashlib
import sqlite3
import tarfile
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from sqlalchemy import Connection, Engine, Table, create_engine, delete, func, select

from tieshare_service import records
from tieshare_service.blobs import Kind, artifact_key, upload_key
from tieshare_service.durable import rename_synced, sync
from tieshare_service.errors import ServiceError
from tieshare_service.inference.folder import UNLOADED
from tieshare_service.records import Artifact, from_row
from tieshare_service.settings import Settings

_UPLOADS: tuple[tuple[Kind, Table], ...] = (
    ("models", records.models),
    ("datasets", records.datasets),
)


class BackupError(ServiceError):
    """A backup can't be made, or not restored."""

    type = "backup-error"


class Damaged(BackupError):
    """A file is not what the database says."""

    type = "backup-damaged"

    def __init__(self, path: Path) -> None:
        super().__init__("its bytes are not those that were stored", where=str(path))


class NoBackup(BackupError):
    """The file is no backup."""

    type = "backup-invalid"


class Occupied(BackupError):
    """Something is there already where it is to go."""

    type = "backup-target-occupied"

    def __init__(self, path: Path) -> None:
        super().__init__("something is there already", where=str(path))


@dataclass(frozen=True)
class Kept:
    """How much a backup holds. ``bytes``: of the file."""

    models: int
    datasets: int
    jobs: int
    bytes: int


def back_up(settings: Settings, target: Path) -> Kept:
    """Write ``target``, which appears at once and whole.

    Raises Occupied, NoBackup where there is no such database, Damaged, OSError.
    """
    _check_file(settings)
    if target.exists():
        raise Occupied(target)
    if not settings.database_file.is_file():
        raise NoBackup("there is no data of a service here", where=str(settings.data_dir))
    with tempfile.TemporaryDirectory(dir=target.absolute().parent, prefix=".backup-") as room:
        snapshot, unfinished = Path(room) / "database", Path(room) / "tar"
        with closing(sqlite3.connect(settings.database_file)) as live:
            live.execute("VACUUM INTO ?", (str(snapshot),))
        with tarfile.open(unfinished, "w") as tar:
            with _opened(snapshot) as engine, engine.begin() as connection:
                _add_files(tar, connection, settings)
                counts = _counts(connection)
            tar.add(snapshot, settings.database_file.name)
        sync(unfinished)
        rename_synced(unfinished, target)
    return Kept(*counts, target.stat().st_size)


def restore(source: Path, settings: Settings) -> Kept:
    """Make the data folder, which must be empty or not there, of a backup.

    It is checked in a folder beside it first. Raises Occupied, NoBackup, Damaged, OSError.
    """
    _check_file(settings)
    folder = settings.data_dir.absolute()
    if folder.exists() and any(folder.iterdir()):
        raise Occupied(settings.data_dir)
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".restore-") as room:
        found = Path(room) / "data"
        try:
            with tarfile.open(source) as tar:
                tar.extractall(found, filter="data")
        except tarfile.TarError as error:
            raise NoBackup(str(error), where=str(source)) from error
        database = found / settings.database_file.name
        if not database.is_file():
            raise NoBackup("there is no database in it", where=str(source))
        with _opened(database) as engine, engine.connect() as connection:
            for path, sha256 in _named(connection, replace(settings, data_dir=found).blobs_dir):
                if not path.is_file() or _digest(path) != sha256:
                    raise Damaged(path.relative_to(found))
            counts = _counts(connection)
        for path in sorted(found.rglob("*")):
            sync(path)
        if folder.exists():
            folder.rmdir()
        rename_synced(found, folder)
    return Kept(*counts, source.stat().st_size)


def _check_file(settings: Settings) -> None:
    if settings.database_url:
        raise NoBackup("its server has tools of its own, as pg_dump", where="database_url")
    if settings.blobs:
        raise NoBackup("its store has means of its own, as versions of buckets", where="blobs")


def _add_files(tar: tarfile.TarFile, connection: Connection, settings: Settings) -> None:
    """All that the database names; what is gone by now, it names no longer."""
    for kind, table in _UPLOADS:
        for row in connection.execute(select(table.c.id, table.c.sha256)).all():
            path = settings.blobs_dir / upload_key(kind, row.id)
            if not _added(tar, path, settings.data_dir, row.sha256):
                connection.execute(delete(table).where(table.c.id == row.id))
    for artifact in _artifacts(connection):
        path = settings.blobs_dir / artifact_key(artifact)
        if not _added(tar, path, settings.data_dir, artifact.sha256):
            raise Damaged(path.relative_to(settings.data_dir))
    for path in _served(connection, settings.models_dir):
        _added(tar, path, settings.data_dir)


def _served(connection: Connection, models_dir: Path) -> Iterator[Path]:
    """Files of served models, without versions that the database does not know yet."""
    table = records.versions
    query = select(table.c.name, func.max(table.c.version).label("last")).group_by(table.c.name)
    newest = {row.name: row.last for row in connection.execute(query)}
    for path in sorted(models_dir.rglob("*")):
        name, *inner = path.relative_to(models_dir).parts
        hidden = any(part.startswith(".") for part in (name, *inner)) and name != UNLOADED
        numbered = bool(inner) and inner[0].isdigit()
        later = numbered and name in newest and int(inner[0]) > newest[name]
        if path.is_file() and not hidden and not later:
            yield path


def _added(tar: tarfile.TarFile, path: Path, root: Path, sha256: str | None = None) -> bool:
    """Whether the file is there still. Raises Damaged."""
    try:
        with path.open("rb") as file:
            entry = tar.gettarinfo(arcname=str(path.relative_to(root)), fileobj=file)
            if sha256 is not None and _digest(path) != sha256:
                raise Damaged(path.relative_to(root))
            tar.addfile(entry, file)
    except FileNotFoundError:
        return False
    return True


def _named(connection: Connection, blobs_dir: Path) -> Iterator[tuple[Path, str]]:
    """Each file that the database names, and its digest."""
    for kind, table in _UPLOADS:
        for row in connection.execute(select(table.c.id, table.c.sha256)):
            yield blobs_dir / upload_key(kind, row.id), row.sha256
    for artifact in _artifacts(connection):
        yield blobs_dir / artifact_key(artifact), artifact.sha256


def _artifacts(connection: Connection) -> list[Artifact]:
    rows = connection.execute(select(records.artifacts)).mappings()
    return [from_row(Artifact, row) for row in rows]


def _counts(connection: Connection) -> tuple[int, int, int]:
    """Models, data sets, jobs."""
    models, datasets, jobs = (
        connection.scalars(select(func.count()).select_from(table)).one()
        for table in (records.models, records.datasets, records.jobs)
    )
    return models, datasets, jobs


@contextmanager
def _opened(database: Path) -> Iterator[Engine]:
    """As a plain file: with no journal beside it."""
    engine = create_engine(f"sqlite:///{database}")
    try:
        yield engine
    finally:
        engine.dispose()


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
