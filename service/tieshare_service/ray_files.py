"""What a job sends to nodes of a Ray cluster, and what of them it takes."""

import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tieshare_service.settings import Settings

Files = Mapping[str, bytes]


@dataclass(frozen=True)
class Place:
    """As much of a node as the job itself has.

    ``rooms``: where files may lie there, in the job's own folder, which a worker clears away after
    a job that ended badly.
    """

    settings: Settings
    rooms: Path | None = None

    @property
    def threads(self) -> int:
        """Of its arithmetic."""
        return self.settings.threads

    @property
    def options(self) -> dict[str, Any]:
        """Of a Ray task."""
        return {
            "num_cpus": self.settings.threads,
            "num_gpus": self.settings.job_gpus,
            "memory": self.settings.job_memory_bytes or None,
            "max_retries": 0,
        }

    def fits(self, free: Mapping[str, float]) -> int:
        """How many of it fit into free resources, which Ray names ``CPU`` and so on."""
        asked = {
            "CPU": self.settings.threads,
            "GPU": self.settings.job_gpus,
            "memory": self.settings.job_memory_bytes,
        }
        return min(int(free.get(name, 0) // amount) for name, amount in asked.items() if amount)


def files_of(paths: Iterable[Path]) -> Files:
    """Their bytes, by their names without a folder."""
    return {path.name: path.read_bytes() for path in paths}


@contextmanager
def unpacked(job: Files, checkpoints: Files, rooms: Path | None) -> Iterator[Path]:
    """The folder of a stored job, with its checkpoints around it, until it is done with."""
    if rooms is not None:
        rooms.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="tieshare-", dir=rooms) as room:
        folder = Path(room) / "job"
        folder.mkdir()
        for place, files in ((folder, job), (folder.parent, checkpoints)):
            for name, data in files.items():
                (place / name).write_bytes(data)
        yield folder
