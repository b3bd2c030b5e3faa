"""What has to be on the disk before a name may point to it."""

import os
from io import FileIO
from pathlib import Path


def write_whole(file: FileIO, data: bytes | bytearray) -> None:
    """All of it; one call of an unbuffered file may write less."""
    view = memoryview(data)
    while view:
        view = view[file.write(view) :]


def write_synced(path: Path, data: bytes) -> None:
    """Write a file whose bytes are on the disk when this returns; its name may not be yet."""
    with path.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def sync(path: Path) -> None:
    """Bring a file's bytes or a folder's names to the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def rename_synced(source: Path, target: Path) -> None:
    """Give a synced file or folder its name; OSError where ``target`` is a folder with files."""
    source.rename(target)
    sync(target.parent)
