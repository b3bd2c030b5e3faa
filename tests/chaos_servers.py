"""Servers beside a service that may be killed, too.

PostgreSQL, an object store on a disk, and a node of a Ray cluster, which does the jobs.
"""

import os
import shutil
import signal
import socket
import subprocess
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from itertools import cycle
from pathlib import Path
from typing import Protocol

import httpx
from tests import objects, postgresql
from tests.ray_cluster import Cluster
from tests.waiting import until

DOWN_S = 0.5
_KEY = "S3RVER"  # the one that s3rver knows


class Killable(Protocol):
    """What comes back each time that it was killed."""

    name: str

    def kill(self) -> None:
        """And bring it back."""

    def close(self) -> None:
        """For good."""


class Server(ABC):
    """A ``Killable`` that is one process, started again on the same data."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.process = self.start()

    @abstractmethod
    def start(self) -> "subprocess.Popen[bytes]":
        """Its process, once it answers."""

    def kill(self) -> None:
        """As ``Killable``'s."""
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()
        time.sleep(DOWN_S)
        self.process = self.start()

    def close(self) -> None:
        """As ``Killable``'s."""
        postgresql.stop(self.process)


class Database(Server):
    """PostgreSQL, with one database at ``url``."""

    def __init__(self, server: postgresql.Server) -> None:
        self._server = server
        super().__init__("database")
        self.url = server.new()

    def start(self) -> "subprocess.Popen[bytes]":
        """As ``Server``'s; what is left of one that was killed may be in its way for a moment."""
        while True:
            try:
                return self._server.start()
            except RuntimeError:
                time.sleep(DOWN_S)


class Store(Server):
    """s3rver from the npm registry: S3, with each object a file in ``folder``."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        with socket.create_server(("127.0.0.1", 0)) as listener:
            self._port = listener.getsockname()[1]
        self.url = f"http://127.0.0.1:{self._port}"
        super().__init__("store")

    def start(self) -> "subprocess.Popen[bytes]":
        """As ``Server``'s."""
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


class Node:
    """A ``Killable`` that is one of two nodes; the other one goes on."""

    name = "node"

    def __init__(self, folder: Path) -> None:
        self._cluster = Cluster(folder)
        self.address = self._cluster.address
        self._next = cycle(range(2))

    def kill(self) -> None:
        """As ``Killable``'s."""
        node = next(self._next)
        self._cluster.kill(node)
        time.sleep(DOWN_S)
        self._cluster.start(node)

    def close(self) -> None:
        """As ``Killable``'s: the whole cluster."""
        self._cluster.close()


@contextmanager
def servers(folder: Path) -> Iterator[list[Killable]]:
    """All of them, with all in the environment that a service needs to lean on them."""
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
            TIESHARE_ENGINE="ray",
        )
        node = Node(folder)
        stack.callback(node.close)
        os.environ["RAY_ADDRESS"] = node.address
        yield [database, store, node]
