"""The way of a short inference request: from the socket to its run and back.

uvicorn starts a task for each request and hands it to the application. A request that will have run
in a moment needs none: it is read when its last byte has come, put into the lane of its model, and
answered when its run has ended. Whatever is not as simple as that goes the usual way, if need be
from its first byte.
"""

from typing import cast

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from tieshare_service.inference.app import App, Headers, headers_of, packed, refusal
from tieshare_service.inference.core import Begun, Core
from tieshare_service.inference.encoding import LEAST
from tieshare_service.inference.endpoints import Reply, begin_infer, end_infer
from tieshare_service.inference.errors import ClientGone
from tieshare_service.inference.types import Ran

_LONGEST = 1 << 20  # of a body that is not read piece by piece, as fast as it is used
_UNUSUAL = frozenset((b"content-encoding", b"expect", b"transfer-encoding", b"upgrade"))


class _Quick:
    """A request that waits for its run, with all that uvicorn asks of the last one it began."""

    __slots__ = (
        "begun",
        "body",
        "disconnected",
        "headers",
        "keep_alive",
        "protocol",
        "response_complete",
    )

    def __init__(self, protocol: "Protocol", headers: dict[bytes, bytes]) -> None:
        self.protocol, self.headers, self.body = protocol, headers, bytearray()
        self.disconnected = self.response_complete = False
        self.keep_alive = True
        self.begun: Begun | None = None

    @property
    def message_event(self) -> "_Quick":
        """Of more of the body, or of its end, for which nobody waits."""
        return self

    def set(self) -> None:
        """As an event's; the connection may be lost."""
        if self.disconnected and self.begun is not None:
            self.protocol.ended(self, ClientGone("the client went away"))

    def done(self) -> bool:
        """Its client went away."""
        return self.disconnected

    def set_result(self, ran: Ran) -> None:
        """It has run."""
        self.protocol.ended(self, ran)

    def set_exception(self, error: BaseException) -> None:
        """It has not."""
        self.protocol.ended(self, error)


class Protocol(HttpToolsProtocol):
    """uvicorn's, with a shorter way for what an ``App`` can answer in a moment."""

    def on_headers_complete(self) -> None:
        """The body comes next."""
        idle = self.cycle is None or self.cycle.response_complete
        if idle and self.url.endswith(b"/infer") and b"%" not in self.url:
            headers = dict(self.headers)
            length = headers.get(b"content-length", b"")
            if (
                length.isdigit()
                and int(length) <= min(_LONGEST, self._served.plane.limits.body_bytes)
                and headers.keys().isdisjoint(_UNUSUAL)
                and self.parser.get_method() == b"POST"
                and self.parser.get_http_version() == "1.1"
                and self.parser.should_keep_alive()
            ):
                self.cycle = _Quick(self, headers)  # type: ignore[assignment]
                return
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """A part of it."""
        if isinstance(self.cycle, _Quick):
            self.cycle.body += body
        else:
            super().on_body(body)

    def on_message_complete(self) -> None:
        """The body is there."""
        quick = self.cycle
        if not isinstance(quick, _Quick):
            super().on_message_complete()
            return
        path, body = self.url.decode("ascii"), bytes(quick.body)
        try:
            quick.begun = begin_infer(self._served, path, quick.headers, body, quick)
        except Exception:  # which the usual way meets again, and answers
            quick.begun = None
        if quick.begun is None:
            self._go_the_usual_way(quick)

    def ended(self, quick: _Quick, ran: Ran | BaseException) -> None:
        """The run of a request, or what came in its way."""
        begun, quick.begun = quick.begun, None
        assert begun is not None  # noqa: S101 - it would not have run
        try:
            reply = end_infer(self._served, begun, ran)
        except ClientGone:
            return
        except Exception as error:
            reply = refusal(error, "an inference request")
        accepted = quick.headers.get(b"accept-encoding")
        if accepted is None or len(reply.body) < LEAST:
            self._answer(quick, reply, headers_of(reply))
            return
        packing = self.loop.create_task(self._pack(quick, reply, accepted))
        self.tasks.add(packing)
        packing.add_done_callback(self.tasks.discard)

    @property
    def _served(self) -> Core:
        return cast("App", self.app).core

    def _go_the_usual_way(self, quick: _Quick) -> None:
        self.cycle = None  # type: ignore[assignment]
        super().on_headers_complete()
        self.cycle.body = quick.body
        super().on_message_complete()

    async def _pack(self, quick: _Quick, reply: Reply, accepted: bytes) -> None:
        self._answer(quick, reply, await packed(reply, accepted))

    def _answer(self, quick: _Quick, reply: Reply, headers: Headers) -> None:
        self._served.metrics.answered(reply.status)
        quick.response_complete = True
        if quick.disconnected or self.transport.is_closing():
            return
        lines = [STATUS_LINE[reply.status]]
        for name, value in (*self.server_state.default_headers, *headers):
            lines += (name, b": ", value, b"\r\n")
        if not quick.keep_alive:
            lines.append(b"connection: close\r\n")
        lines += (b"\r\n", reply.body)
        self.transport.write(b"".join(lines))
        if not quick.keep_alive:
            self.transport.close()
        self.on_response_complete()
