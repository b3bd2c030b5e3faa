"""The thread that keeps a repository in step with its folder, and the only one to change it."""

import logging
import queue
import threading
from collections.abc import Callable
from concurrent.futures import Future

from tieshare_service.inference.mirror import Mirror
from tieshare_service.inference.repository import Repository

_log = logging.getLogger(__name__)

Change = Callable[[], None]

LOOKING = 0.1  # of a core, at most: ten thousand models are looked through less often than one


class Watcher:
    """Syncs every ``poll_s`` seconds from ``start`` to ``stop``, and makes changes asked for.

    ``mirror`` fills the folder, where the models lie in an object store.
    """

    _STOP_S = 5.0

    def __init__(self, repository: Repository, poll_s: float, mirror: Mirror | None = None) -> None:
        self._repository = repository
        self._poll_s = poll_s
        self._mirror = mirror
        self._stopped = threading.Event()
        self._asked: queue.SimpleQueue[tuple[Future[None], Change] | None] = queue.SimpleQueue()
        # a daemon: a load that takes minutes must not hold up the end of the process
        self._thread = threading.Thread(target=self._watch, name="watch-models", daemon=True)

    def start(self) -> None:
        """Begin; the first sync starts at once."""
        self._thread.start()

    def stop(self) -> None:
        """End after the load in progress, or leave that one behind after five seconds."""
        self._stopped.set()
        self._asked.put(None)
        self._thread.join(self._STOP_S)

    def ask(self, change: Change) -> Future[None]:
        """Have the thread make a change of the repository, after what it is doing now."""
        future: Future[None] = Future()
        self._asked.put((future, change))
        return future

    def _watch(self) -> None:
        while not self._stopped.is_set():
            try:
                if self._mirror is not None:
                    self._mirror.follow(self._stopped.is_set)
                self._repository.sync(self._stopped.is_set)
            except Exception:  # whatever one pass meets, the next one must come
                _log.exception("the models folder could not be read; what is loaded stays")
            try:
                wait = max(self._poll_s, self._repository.look_s * (1 / LOOKING - 1))
                asked = self._asked.get(timeout=wait)
            except queue.Empty:
                continue
            if asked is not None:
                _make(*asked)


def _make(future: Future[None], change: Change) -> None:
    if not future.set_running_or_notify_cancel():
        return
    try:
        change()
    except Exception as error:
        future.set_exception(error)
    else:
        future.set_result(None)
