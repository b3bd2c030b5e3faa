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
        self._digested = 0

    def chunks(self, start: int = 0) -> Iterator[bytes]:
        """The bytes from ``start`` on, up to which they have been sent before."""
        done = start
        for chunk in self._pieces(start):
            self._digest.update(chunk[max(self._digested - done, 0) :])
            yield chunk
            done += len(chunk)
            self._digested = max(self._digested, done)
            self._progress(done, self.size)

    def params(self, name: str | None) -> dict[str, str | int]:
        """What it is to be called: ``name``, or as the file is without its ending."""
        if name is None and isinstance(self.source, Path):
            name = self.source.stem
        return {"name": name} if name else {}

    def call(self, path: tuple[str, ...], name: str | None) -> Call:
        """The one request that sends it all."""
        return Call(
            "POST",
            path,
            params=self.params(name),
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

    def _pieces(self, start: int) -> Iterator[bytes]:
        if isinstance(self.source, bytes):
            for place in range(start, self.size, CHUNK):
                yield self.source[place : place + CHUNK]
            return
        with self.source.open("rb") as file:
            file.seek(start)
            while chunk := file.read(CHUNK):
                yield chunk
