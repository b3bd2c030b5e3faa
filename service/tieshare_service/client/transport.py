"""One HTTP call: what may be sent again does get sent again, every refusal becomes an exception."""

import random
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, TypeVar
from urllib.parse import quote

import httpx

from tieshare_service.client.errors import (
    ConnectionFailed,
    Unavailable,
    UnexpectedAnswer,
    problem_of,
)
from tieshare_service.client.records import Json

T = TypeVar("T")

# The request never left: sending it again can't do anything twice.
NEVER_SENT = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout)


@dataclass(frozen=True)
class Retry:
    """When to send a call again: ``attempts`` in all, pauses in seconds that double.

    Each pause is drawn between half and all of its length, so that clients that lost the service
    at the same moment don't come back at the same moment.
    """

    attempts: int = 6
    first_s: float = 0.2
    longest_s: float = 5.0

    def pauses(self) -> Iterator[float | None]:
        """The pause after each attempt; None after the last."""
        length = self.first_s
        for _ in range(self.attempts - 1):
            yield length * random.uniform(0.5, 1.0)  # noqa: S311
            length = min(2 * length, self.longest_s)
        yield None


@dataclass(frozen=True)
class Call:
    """One request.

    ``path``        the parts of the path below ``/v1``, as they are: quoting is done here
    ``content``     starts the body afresh for each try
    ``replayable``  doing it twice is the same as doing it once
    """

    method: str
    path: tuple[str, ...]
    params: Mapping[str, str | int] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    json: Any = None
    content: Callable[[], Iterator[bytes]] | None = None
    replayable: bool = False


class Transport:
    """Sends calls to one service. Safe to share between threads."""

    def __init__(
        self, http: httpx.Client, retry: Retry, sleep: Callable[[float], None] = time.sleep
    ) -> None:
        self.retry = retry
        self.sleep = sleep
        self._http = http

    def send(self, call: Call) -> httpx.Response:
        """Send ``call`` and read the answer; raises ConnectionFailed or a Problem."""
        lost_before = False
        for pause in self.retry.pauses():
            try:
                response = self._http.send(self._request(call))
            except NEVER_SENT as error:
                if pause is None:
                    raise self.lost(error) from error
                self.sleep(pause)
            except httpx.TransportError as error:
                if pause is None or not call.replayable:
                    raise self.lost(error) from error
                lost_before = True
                self.sleep(pause)
            else:
                if response.is_success or (lost_before and _is_gone(call, response)):
                    return response
                problem = problem_of(response)
                if pause is None or not (call.replayable and isinstance(problem, Unavailable)):
                    raise problem
                self.sleep(max(pause, self._hint(response)))
        raise ConnectionFailed("no attempt was allowed")

    def read(self, call: Call, reader: Callable[[Json], T]) -> T:
        """Send ``call`` and hand its JSON to ``reader``."""
        response = self.send(call)
        try:
            return reader(response.json())
        except (KeyError, TypeError, ValueError) as error:
            raise UnexpectedAnswer(
                f"{call.method} {response.url}: not an answer of this API: {error!r}"
            ) from error

    @contextmanager
    def open(self, call: Call) -> Iterator[httpx.Response]:
        """Send ``call`` once; the body is the caller's to stream, its breaks the caller's to mend.

        Raises httpx.TransportError where the connection breaks, and a Problem.
        """
        response = self._http.send(self._request(call), stream=True)
        try:
            if not response.is_success:
                response.read()
                raise problem_of(response)
            yield response
        finally:
            response.close()

    def lost(self, error: httpx.TransportError) -> ConnectionFailed:
        """The exception for a connection that is given up."""
        reason = str(error) or type(error).__name__
        return ConnectionFailed(f"no answer from {self._http.base_url}: {reason}")

    def every(
        self, path: tuple[str, ...], params: Mapping[str, str | int], reader: Callable[[Json], T]
    ) -> Iterator[T]:
        """All items of a list, page after page as they are wanted."""
        token: str | None = None
        while True:
            page = {"page_token": token} if token else {}
            call = Call("GET", path, params={**params, **page}, replayable=True)
            items, token = self.read(
                call, lambda body: (list(map(reader, body["items"])), body["next_page_token"])
            )
            yield from items
            if token is None:
                return

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def _request(self, call: Call) -> httpx.Request:
        return self._http.build_request(
            call.method,
            "/".join(("/v1", *(quote(part, safe="") for part in call.path))),
            params=dict(call.params) or None,
            headers=dict(call.headers),
            json=call.json,
            content=None if call.content is None else call.content(),
        )

    def _hint(self, response: httpx.Response) -> float:
        """What Retry-After asks for, in seconds, as far as the longest pause allows."""
        hint = response.headers.get("Retry-After", "")
        return min(float(hint), self.retry.longest_s) if hint.isdigit() else 0.0


def _is_gone(call: Call, response: httpx.Response) -> bool:
    """Whether the try before, whose answer was lost, has deleted it already."""
    return call.method == "DELETE" and response.status_code == httpx.codes.NOT_FOUND
