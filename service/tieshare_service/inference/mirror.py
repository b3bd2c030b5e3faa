"""Served models of an object store, copied into a folder of this machine."""

import fcntl
import logging
import re
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

from tieshare_service.inference.folder import Found, scan
from tieshare_service.shelf import MODEL_FILE, SERVED, FolderShelf
from tieshare_service.store import Entry, Store

EVERY_S = 2.0
_KEY = re.compile(rf"{SERVED}/([^/.][^/]*)/([1-9][0-9]*)/{re.escape(MODEL_FILE)}")
_log = logging.getLogger(__name__)

Version = tuple[str, int]


class Mirror:
    """Keeps ``models_dir`` in step with a store; of several processes on a folder one does it."""

    def __init__(self, store: Store, models_dir: Path, every_s: float = EVERY_S) -> None:
        self._store = store
        self._models_dir = models_dir
        self._shelf = FolderShelf(models_dir)
        self._every_s = every_s
        self._next = 0.0

    def follow(self, stopped: Callable[[], bool] = lambda: False) -> None:
        """Bring what came, then remove what went, if it is time to look again.

        While the store does not answer, what is here stays. Ends early once ``stopped()``.
        """
        if time.monotonic() < self._next:
            return
        self._models_dir.mkdir(parents=True, exist_ok=True)
        with (self._models_dir / ".mirror").open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                self._follow(stopped)
            except BlockingIOError:
                pass
            except OSError:
                _log.warning(
                    "the object store does not answer; what is loaded stays", exc_info=True
                )
        self._next = time.monotonic() + self._every_s

    def _follow(self, stopped: Callable[[], bool]) -> None:
        there, here = self._versions(), scan(self._models_dir)
        # the newest versions first: they are what an unversioned request wants
        for version, entry in sorted(there.items(), key=lambda item: -item[0][1]):
            if stopped():
                return
            if version not in here or not _is_same(here[version], entry):
                self._bring(version, entry)
        for version in here.keys() - there.keys():
            self._shelf.remove(*version)

    def _versions(self) -> dict[Version, Entry]:
        found = ((_KEY.fullmatch(entry.key), entry) for entry in self._store.entries(SERVED))
        return {(key[1], int(key[2])): entry for key, entry in found if key is not None}

    def _bring(self, version: Version, entry: Entry) -> None:
        try:
            file, size = self._store.open(entry.key)
        except FileNotFoundError:  # it has gone since
            return
        with closing(file):
            model = file.read(size)
        self._shelf.put(*version, model, entry.changed_at)


def _is_same(found: Found, entry: Entry) -> bool:
    """The copy has the size and the time of the original."""
    told = entry.bytes, round(entry.changed_at * 1000)
    return told == (found.size, round(found.modified_ns / 1_000_000))
