"""A file or bytes on their way up: streamed, counted and digested in one pass."""

import hashlib
from collections.abc import Callable, Iterator
from pathlib import Path

from tieshare_service.client.errors import DigestMismatch
from tieshare_service.client.transport import Call

CHUNK = 1 << 20

# Called with (bytes done, bytes in all).
OnBytes = Callable[[int, int], None]


def ignore(_done: int, _total: int) -> None:
    """Tell nobody."""


class Upload:
    """The body of one upload. Memory stays at one chunk, however large the file."""

    def __init__(self, source: str | Path | bytes, progress: OnBytes = ignore) -> None:
        self.source = Path(source) if isinstance(source, str) else source
        self.size = (
            self.source.stat().st_size if isinstance(self.source, Path) else len(self.source)
        )
        self._progress = progress
        self._digest = hashlib.sha256()

    def chunks(self) -> Iterator[bytes]:
        """The bytes, from the start."""
        self._digest = hashlib.sha256()
        done = 0
        for chunk in self._pieces():
            self._digest.update(chunk)
            yield chunk
            done += len(chunk)
            self._progress(done, self.size)

    def call(self, path: tuple[str, ...], name: str | None) -> Call:
        """The request that sends it, under ``name`` or the file's own without its ending."""
        if name is None and isinstance(self.source, Path):
            name = self.source.stem
        return Call(
            "POST",
            path,
            params={"name": name} if name else {},
            headers={
                "Content-Length": str(self.size),
                "Content-Type": "application/octet-stream",
            },
            content=self.chunks,
        )

    def check(self, sha256: str) -> None:
        """Compare what was sent with the digest of what the service has stored."""
        if self._digest.hexdigest() != sha256:
            raise DigestMismatch(
                f"the service stored {sha256}, sent was {self._digest.hexdigest()}"
            )

    def _pieces(self) -> Iterator[bytes]:
        if isinstance(self.source, bytes):
            for start in range(0, self.size, CHUNK):
                yield self.source[start : start + CHUNK]
            return
        with self.source.open("rb") as file:
            while chunk := file.read(CHUNK):
                yield chunk
