"""The client: one connection pool, three groups of verbs."""

import time
from collections.abc import Callable
from types import TracebackType

import httpx

from tieshare_service.client.errors import BadUrl
from tieshare_service.client.files import Dataset, Model
from tieshare_service.client.jobs import Jobs
from tieshare_service.client.stored import Stored
from tieshare_service.client.transport import Retry, Transport


class Client:
    """Talks to the control API at ``url``, such as ``http://127.0.0.1:8000``.

    ``timeout_s``  the longest silence of the service that is no lost connection
    ``retry``      how long to go on where the connection fails; calls that would do something
                   twice are not sent again once they may have arrived
    ``key``        is sent where the service wants to know who asks
    ``http``       the transport of httpx to use instead of sockets
    ``sleep``      waits a number of seconds between two tries

    Safe to share between threads. Use it in a ``with`` statement, or ``close`` it.
    """

    def __init__(
        self,
        url: str = "http://127.0.0.1:8000",
        *,
        timeout_s: float = 60.0,
        retry: Retry | None = None,
        key: str | None = None,
        http: httpx.BaseTransport | None = None,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        headers = {} if key is None else {"Authorization": f"Bearer {key}"}
        pool = httpx.Client(
            base_url=_checked(url), headers=headers, timeout=timeout_s, transport=http
        )
        self._transport = Transport(pool, retry or Retry(), sleep)
        self.models: Stored[Model] = Stored(self._transport, "models", Model.from_json)
        self.datasets: Stored[Dataset] = Stored(self._transport, "datasets", Dataset.from_json)
        self.jobs = Jobs(self._transport)

    def close(self) -> None:
        """Close the connections."""
        self._transport.close()

    def __enter__(self) -> "Client":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def _checked(url: str) -> httpx.URL:
    try:
        parts = httpx.URL(url)
    except httpx.InvalidURL as error:
        raise BadUrl(f"{url!r} is not an address: {error}") from error
    if parts.scheme not in ("http", "https") or not parts.host:
        raise BadUrl(f"{url!r} is not an address such as http://127.0.0.1:8000")
    return parts
