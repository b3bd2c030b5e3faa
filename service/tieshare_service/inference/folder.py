"""What lies in the models folder: NAME/VERSION/model.onnx."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

FILE_NAME = "model.onnx"
UNLOADED = ".unloaded"  # a folder beside the models: one empty file for each name in it


@dataclass(frozen=True, slots=True)
class Found:
    """One version's file; two that compare equal hold the same bytes."""

    path: str
    inode: int
    modified_ns: int
    size: int


def scan(models_dir: Path) -> dict[tuple[str, int], Found]:
    """Every (name, version) that has a file. A folder that does not exist holds none.

    Passed over: hidden names, where unfinished ones lie; names that no URL can spell; versions that
    are not plain positive numbers. Raises OSError where the disk refuses.
    """
    found = {}
    # plain strings: this runs five times a second, and Path nearly doubles its time
    for name, folder in _folders(os.fspath(models_dir)):
        for number, version in _folders(folder):
            if not (number.isascii() and number.isdigit()) or number.startswith("0"):
                continue
            path = f"{version}/{FILE_NAME}"
            try:
                stat = os.stat(path)  # noqa: PTH116
            except (FileNotFoundError, NotADirectoryError):
                continue
            found[name, int(number)] = Found(path, stat.st_ino, stat.st_mtime_ns, stat.st_size)
    return found


def unloaded(models_dir: Path) -> set[str]:
    """Names that are not to be served, whatever lies there. Raises OSError."""
    try:
        return set(os.listdir(models_dir / UNLOADED))  # noqa: PTH208
    except FileNotFoundError:
        return set()


def set_unloaded(models_dir: Path, name: str, *, state: bool) -> None:
    """Note it for every process that serves this folder, and for later ones. Raises OSError."""
    note = models_dir / UNLOADED / name
    if state:
        note.parent.mkdir(exist_ok=True)
        note.touch()
    else:
        note.unlink(missing_ok=True)


def _folders(parent: str) -> Iterator[tuple[str, str]]:
    """Name and path of each folder that is not hidden."""
    try:
        with os.scandir(parent) as entries:
            found = [(e.name, e.path) for e in entries if _is_plain(e.name) and e.is_dir()]
    except (FileNotFoundError, NotADirectoryError):
        return
    yield from found


def _is_plain(name: str) -> bool:
    return name.isprintable() and not name.startswith(".")
