"""Counts what the API does, for /metrics."""

from collections import Counter
from threading import Lock

from starlette.types import ASGIApp, Message, Receive, Scope, Send

Labels = tuple[tuple[str, str], ...]


class Counters:
    """Numbers that only rise, by name and labels. Safe to use from several threads."""

    def __init__(self) -> None:
        self._counts: Counter[tuple[str, Labels]] = Counter()
        self._lock = Lock()

    def add(self, name: str, amount: int = 1, **labels: str) -> None:
        """Count ``amount`` more."""
        with self._lock:
            self._counts[name, tuple(sorted(labels.items()))] += amount

    def of(self, name: str) -> list[tuple[Labels, int]]:
        """Everything counted under a name, by labels."""
        with self._lock:
            return sorted((labels, n) for (key, labels), n in self._counts.items() if key == name)


class CountRequests:
    """ASGI middleware: one count per finished request, by operation, method and status."""

    def __init__(self, app: ASGIApp, counters: Counters) -> None:
        self._app = app
        self._counters = counters

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on and watch the answer."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        status = 500

        async def watched(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, watched)
        finally:
            # Not the path: whoever asks for random ones would make the page endless.
            operation = getattr(scope.get("route"), "name", "none")
            self._counters.add("requests", operation=operation, status=str(status))
