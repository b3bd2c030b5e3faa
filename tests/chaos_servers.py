"""Servers beside a service that may be killed, too: PostgreSQL, and an object store on a disk."""

import os
import shutil
import signal
import socket
import subprocess
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import httpx
from tests import objects, postgresql
from tests.waiting import until

DOWN_S = 0.5
_KEY = "S3RVER"  # the one that s3rver knows


class Killable(ABC):
    """A server that is started again, on the same data, each time that it was killed."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.process = self.start()

    @abstractmethod
    def start(self) -> "subprocess.Popen[bytes]":
        """Its process, once it answers."""

    def kill(self) -> None:
        """And bring it back."""
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()
        time.sleep(DOWN_S)
        self.process = self.start()

    def close(self) -> None:
        """For good."""
        postgresql.stop(self.process)


class Database(Killable):
    """PostgreSQL, with one database at ``url``."""

    def __init__(self, server: postgresql.Server) -> None:
        self._server = server
        super().__init__("database")
        self.url = server.new()

    def start(self) -> "subprocess.Popen[bytes]":
        """As ``Killable``'s; what is left of one that was killed may be in its way for a moment."""
        while True:
            try:
                return self._server.start()
            except RuntimeError:
                time.sleep(DOWN_S)


class Store(Killable):
    """s3rver from the npm registry: S3, with each object a file in ``folder``."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        with socket.create_server(("127.0.0.1", 0)) as listener:
            self._port = listener.getsockname()[1]
        self.url = f"http://127.0.0.1:{self._port}"
        super().__init__("store")

    def start(self) -> "subprocess.Popen[bytes]":
        """As ``Killable``'s."""
        found = shutil.which("s3rver")
        if found is None:
            raise SystemExit("s3rver is missing: npm install --global s3rver")
        place = "--directory", str(self._folder), "--address", "127.0.0.1"
        process = subprocess.Popen(
            [found, *place, "--port", str(self._port), "--silent", "--no-vhost-buckets"]
        )
        until(self._answers, 60)
        return process

    def _answers(self) -> bool:
        try:
            return httpx.get(self.url).status_code < httpx.codes.INTERNAL_SERVER_ERROR
        except httpx.TransportError:
            return False


@contextmanager
def servers(folder: Path) -> Iterator[list[Killable]]:
    """Both, with all in the environment that a service needs to lean on them."""
    with ExitStack() as stack:
        server = stack.enter_context(postgresql.made_server())
        if server is None:
            raise SystemExit("PostgreSQL is missing: apt-get install postgresql")
        database = Database(server)
        stack.callback(database.close)
        (folder / "objects" / "chaos").mkdir(parents=True)
        store = Store(folder / "objects")
        stack.callback(store.close)
        os.environ.update(
            objects.environ(store.url, _KEY),
            TIESHARE_DATABASE_URL=database.url,
            TIESHARE_BLOBS="s3://chaos/files",
        )
        yield [database, store]
