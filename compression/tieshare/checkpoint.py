"""What a job has done so far, in a folder of its own: written whole or not at all."""

import os
from collections.abc import Callable, Iterable, Mapping
from operator import methodcaller
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import torch

from tieshare.graph.tensors import Array

FORMAT = 3
"""Of what the steps of a job keep here: raised when it changes, so that a job that another version
began is begun anew."""


class Checkpoints:
    """States of training by name, and arrays that don't change once they are there."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder

    def save(self, name: str, state: dict[str, Any]) -> None:
        """Replace the state of this name."""
        self._write(f"{name}.pt", lambda file: torch.save(state, file))

    def load(self, name: str) -> dict[str, Any] | None:
        """The last state that was written whole; None where there is none.

        Its tensors are read when they are used, and stay what they are when it is replaced.
        """
        path = self.folder / f"{name}.pt"
        if not path.exists():
            return None
        state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
        return state

    def holds(self, name: str) -> bool:
        """Whether there is a state of this name."""
        return (self.folder / f"{name}.pt").exists()

    def drop(self, name: str) -> None:
        """Forget a state."""
        (self.folder / f"{name}.pt").unlink(missing_ok=True)

    def save_arrays(self, name: str, arrays: dict[str, Array]) -> None:
        """Arrays under names of any characters."""
        order = sorted(arrays)
        values = [np.array(order), *(arrays[key] for key in order)]
        self._write(f"{name}.npz", lambda file: np.savez(file, *values))

    def load_arrays(self, name: str) -> dict[str, Array] | None:
        """The arrays of this name; None where there are none."""
        path = self.folder / f"{name}.npz"
        if not path.exists():
            return None
        with np.load(path, allow_pickle=False) as stored:
            names = [str(key) for key in stored["arr_0"]]
            return {key: stored[f"arr_{index}"] for index, key in enumerate(names, start=1)}

    def paths(self, names: Iterable[str]) -> list[Path]:
        """The files of those of these names that are there."""
        files = (self.folder / f"{name}{end}" for name in names for end in (".pt", ".npz"))
        return [path for path in files if path.exists()]

    def put(self, files: Mapping[str, bytes]) -> None:
        """Files of another folder, by their names there."""
        for name, data in files.items():
            self._write(name, methodcaller("write", data))

    def _write(self, name: str, write: Callable[[BinaryIO], object]) -> None:
        # several processes may write one state
        unfinished = self.folder / f"{name}.{os.getpid()}.part"
        with unfinished.open("wb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        unfinished.replace(self.folder / name)
