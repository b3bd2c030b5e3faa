"""The processes that share an endpoint: each tells the others what it has counted.

Each has a socket of its own in a folder that all know; who connects is told, and that is all.
"""

import asyncio
import contextlib
import os
from collections.abc import Callable
from pathlib import Path

_TOLD_S = 1.0  # one that does not tell in this time is left out


class Siblings:
    """Used from one event loop; without a folder there are none."""

    def __init__(self, folder: Path | None = None) -> None:
        self._folder = folder
        self._server: asyncio.Server | None = None

    @property
    def expected(self) -> bool:
        """Whether other processes share the endpoint."""
        return self._folder is not None

    async def start(self, tell: Callable[[], bytes]) -> None:
        """From now on others are told."""
        if self._folder is None:
            return

        async def answer(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            with contextlib.suppress(ConnectionError):
                writer.write(tell())
                await writer.drain()
            writer.close()

        self._folder.mkdir(parents=True, exist_ok=True)
        self._own.unlink(missing_ok=True)  # of a process that had this number
        self._server = await asyncio.start_unix_server(answer, self._own)

    def stop(self) -> None:
        """Tell nobody any more."""
        if self._server is not None:
            self._server.close()
            self._own.unlink(missing_ok=True)

    async def told(self) -> list[bytes]:
        """What each of the others tells."""
        if self._folder is None:
            return []
        others = [path for path in self._folder.glob("*.sock") if path != self._own]
        answers = await asyncio.gather(*map(_asked, others))
        return [answer for answer in answers if answer is not None]

    @property
    def _own(self) -> Path:
        assert self._folder is not None  # noqa: S101
        return self._folder / f"{os.getpid()}.sock"


async def _asked(path: Path) -> bytes | None:
    """None of one that does not answer; the socket of one that has died is removed."""
    try:
        reader, writer = await asyncio.open_unix_connection(path)
    except ConnectionRefusedError:
        path.unlink(missing_ok=True)
        return None
    except OSError:
        return None
    try:
        return await asyncio.wait_for(reader.read(), _TOLD_S)
    except (OSError, TimeoutError):
        return None
    finally:
        writer.close()
