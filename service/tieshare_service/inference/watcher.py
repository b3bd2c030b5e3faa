"""The thread that keeps a repository in step with its folder."""

import logging
import threading

from tieshare_service.inference.repository import Repository

_log = logging.getLogger(__name__)


class Watcher:
    """Syncs every ``poll_s`` seconds from ``start`` to ``stop``."""

    _STOP_S = 5.0

    def __init__(self, repository: Repository, poll_s: float) -> None:
        self._repository = repository
        self._poll_s = poll_s
        self._stopped = threading.Event()
        # a daemon: a load that takes minutes must not hold up the end of the process
        self._thread = threading.Thread(target=self._watch, name="watch-models", daemon=True)

    def start(self) -> None:
        """Begin; the first sync starts at once."""
        self._thread.start()

    def stop(self) -> None:
        """End after the load in progress, or leave that one behind after five seconds."""
        self._stopped.set()
        self._thread.join(self._STOP_S)

    def _watch(self) -> None:
        while not self._stopped.is_set():
            try:
                self._repository.sync(self._stopped.is_set)
            except Exception:  # whatever one pass meets, the next one must come
                _log.exception("the models folder could not be read; what is loaded stays")
            self._stopped.wait(self._poll_s)
