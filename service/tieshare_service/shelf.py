"""Where served models lie, for the inference endpoint or for Triton.

    NAME/config.pbtxt
    NAME/VERSION/model.onnx

In a folder a version appears at once and whole: it is filled under a hidden name, synced, renamed.
In an object store it is ``served/NAME/VERSION/model.onnx``, and inference processes have copies of
all of these in a folder of their machine.
"""

import os
import shutil
import tempfile
from contextlib import suppress
from pathlib import Path
from threading import Lock
from typing import Protocol

from tieshare_service.durable import rename_synced, sync, write_synced
from tieshare_service.settings import Settings
from tieshare_service.store import Store, shared_store

MODEL_FILE = "model.onnx"
SERVED = "served"


class Shelf(Protocol):
    """The served versions."""

    def put(self, name: str, version: int, model: bytes) -> None:
        """Serve it; what was served as this version is not any more."""

    def remove(self, name: str, version: int) -> None:
        """Serve it no more; no error if it is not there."""


class FolderShelf:
    """A folder that inference processes look into."""

    def __init__(self, models_dir: Path) -> None:
        self._models_dir = models_dir
        # Of two threads with the same version one would sweep away what the other is writing.
        self._writing = Lock()

    def put(self, name: str, version: int, model: bytes, changed_at: float | None = None) -> None:
        """Put it there; with ``changed_at``, seconds since the epoch, as of then."""
        folder = self._models_dir / name
        with self._writing:
            if not folder.is_dir():
                folder.mkdir(parents=True, exist_ok=True)
                sync(self._models_dir)
            _put_config(folder)
            _put_version(folder / str(version), model, changed_at)

    def remove(self, name: str, version: int) -> None:
        """Rename it, so that it is gone at once."""
        folder = self._models_dir / name
        hidden = folder / f".{version}.old"
        with self._writing, suppress(FileNotFoundError):
            shutil.rmtree(hidden, ignore_errors=True)
            rename_synced(folder / str(version), hidden)
            shutil.rmtree(hidden)


class StoreShelf:
    """An object store. ``tmp``: a folder for files on their way there."""

    def __init__(self, store: Store, tmp: Path) -> None:
        self._store, self._tmp = store, tmp

    def put(self, name: str, version: int, model: bytes) -> None:
        """As one object."""
        self._tmp.mkdir(parents=True, exist_ok=True)
        handle, path = tempfile.mkstemp(dir=self._tmp, prefix="served-")
        os.close(handle)
        source = Path(path)
        try:
            write_synced(source, model)
            self._store.put(source, _key(name, version))
        finally:
            source.unlink(missing_ok=True)

    def remove(self, name: str, version: int) -> None:
        """Delete the object."""
        self._store.delete(_key(name, version))


def shelf_of(settings: Settings) -> Shelf:
    """That of the service. Raises SettingsError."""
    store = shared_store(settings)
    if store is None:
        return FolderShelf(settings.models_dir)
    return StoreShelf(store, settings.tmp_dir)


def _key(name: str, version: int) -> str:
    return f"{SERVED}/{name}/{version}/{MODEL_FILE}"


def _put_config(folder: Path) -> None:
    """What Triton has to be told; the rest it reads in the model."""
    path = folder / "config.pbtxt"
    lines = [f'name: "{folder.name}"', 'backend: "onnxruntime"', "version_policy: { all { } }"]
    text = "\n".join([*lines, ""]).encode("ascii")
    if path.is_file() and path.read_bytes() == text:
        return
    with tempfile.NamedTemporaryFile(dir=folder, prefix=".config.", delete=False) as temporary:
        temporary.write(text)
    written = Path(temporary.name)
    written.chmod(0o644)
    sync(written)
    written.replace(path)
    sync(folder)


def _put_version(target: Path, model: bytes, changed_at: float | None) -> None:
    if target.is_dir() and changed_at is None and _holds(target, model):
        return
    hidden = f".{target.name}."
    for left in target.parent.glob(f"{hidden}*"):
        shutil.rmtree(left, ignore_errors=True)
    new = Path(tempfile.mkdtemp(dir=target.parent, prefix=hidden, suffix=".tmp"))
    new.chmod(0o755)
    write_synced(new / MODEL_FILE, model)
    if changed_at is not None:
        os.utime(new / MODEL_FILE, (changed_at, changed_at))
    sync(new)
    if target.is_dir():
        target.rename(target.parent / f"{hidden}old")
    rename_synced(new, target)
    shutil.rmtree(target.parent / f"{hidden}old", ignore_errors=True)


def _holds(target: Path, model: bytes) -> bool:
    path = target / MODEL_FILE
    return path.is_file() and path.read_bytes() == model
