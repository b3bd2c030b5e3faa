"""A PostgreSQL server of the tests' own, from Debian's packages, and new databases on it.

``database``  a test that takes it runs once with a new SQLite file and once with a new database of
              that server; where no server can be had the second is left out, and says why
"""

import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path

import pytest

USER = "postgres"
TRIES, PAUSE_S = 600, 0.05
SETTINGS = {"listen_addresses": "", "fsync": "off", "full_page_writes": "off"}


class Server:
    """It listens on a socket in its own folder, and to nobody else."""

    def __init__(self, programs: Path, folder: Path) -> None:
        self.programs, self.folder = programs, folder
        self.names = (f"test_{number}" for number in count(1))

    @property
    def user(self) -> str | None:
        """PostgreSQL does not run as root."""
        return USER if os.geteuid() == 0 else None

    @property
    def data(self) -> Path:
        return self.folder / "data"

    def create(self) -> None:
        if self.user:
            shutil.chown(self.folder, self.user)
        words = "--username", USER, "--auth", "trust", "--no-sync"
        self.run("initdb", "--pgdata", self.data, *words)

    def start(self) -> subprocess.Popen[bytes]:
        given = {**SETTINGS, "unix_socket_directories": str(self.folder)}
        flags = [word for name, value in given.items() for word in ("-c", f"{name}={value}")]
        command = [str(self.programs / "postgres"), "-D", str(self.data), *flags]
        with (self.folder / "log").open("wb") as log:
            process = subprocess.Popen(command, user=self.user, stderr=log, stdout=log)
        for _ in range(TRIES):
            if process.poll() is not None:
                break
            ready = [str(self.programs / "pg_isready"), "--host", str(self.folder), "--quiet"]
            if subprocess.run(ready, check=False).returncode == 0:
                return process
            time.sleep(PAUSE_S)
        process.kill()
        raise RuntimeError((self.folder / "log").read_text())

    def new(self) -> str:
        """The URL of an empty database."""
        name = next(self.names)
        self.run("createdb", "--host", self.folder, "--username", USER, name)
        return f"postgresql+psycopg://{USER}@/{name}?host={self.folder}"

    def run(self, program: str, *words: object) -> None:
        command = [str(self.programs / program), *map(str, words)]
        made = subprocess.run(
            command, user=self.user, cwd=self.folder, capture_output=True, text=True, check=False
        )
        if made.returncode:
            raise RuntimeError(made.stderr)


def programs() -> Path | None:
    """The newest of Debian's, or what is on the path."""
    found = sorted(
        Path("/usr/lib/postgresql").glob("*/bin/postgres"), key=lambda p: float(p.parts[-3])
    )
    on_path = shutil.which("postgres")
    every = [*([Path(on_path)] if on_path else []), *found]
    return every[-1].parent if every else None


@pytest.fixture(scope="session")
def new_database() -> Iterator[Callable[[], str]]:
    """URLs of empty databases of a server; skips where there is none."""
    with made_server() as server:
        if server is None:
            pytest.skip("PostgreSQL is not installed: apt-get install postgresql")
        process = server.start()
        try:
            yield server.new
        finally:
            stop(process)


@contextmanager
def made_server() -> Iterator[Server | None]:
    """A new one, not started yet; None where PostgreSQL is not installed."""
    found = programs()
    if found is None:
        yield None
        return
    # Short, for the path of a socket may have 107 characters.
    folder = Path(tempfile.mkdtemp(prefix="postgresql-", dir="/tmp"))
    try:
        server = Server(found, folder)
        server.create()
        yield server
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def stop(process: subprocess.Popen[bytes]) -> None:
    """Ask it to end, and kill it if it does not."""
    process.terminate()
    try:
        process.wait(10)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Path | str:
    """A new database, for ``open_database``."""
    if request.param == "sqlite":
        return tmp_path / "t.db"
    new: Callable[[], str] = request.getfixturevalue("new_database")
    return new()
