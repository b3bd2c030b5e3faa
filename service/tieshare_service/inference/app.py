"""The ASGI application: no framework between the server and an endpoint."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson

from tieshare_service.access import INFERENCE, NoKey, NotAllowed, Refused, TooManyRequests
from tieshare_service.inference import errors
from tieshare_service.inference.batching import Limits
from tieshare_service.inference.core import Core
from tieshare_service.inference.data_plane import DataPlane
from tieshare_service.inference.encoding import decoded, encoded
from tieshare_service.inference.endpoints import ENDPOINTS, Call, Reply, resolve
from tieshare_service.inference.metrics import Metrics
from tieshare_service.inference.mirror import Mirror
from tieshare_service.inference.model import load
from tieshare_service.inference.repository import Repository
from tieshare_service.inference.rpc.service import RpcServer
from tieshare_service.inference.session import Memory
from tieshare_service.inference.siblings import Siblings
from tieshare_service.inference.watcher import Watcher
from tieshare_service.tls import Tls

if TYPE_CHECKING:  # what most processes need not load, or can't
    from tieshare_service.inference.access import Access
    from tieshare_service.inference.tracing import Tracing

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Headers = list[tuple[bytes, bytes]]

_MESSAGE_LENGTH = 1000
# a server says nothing but that the client has gone; one that does is not asked again at once
_GONE_S = 0.1

STATUSES: Mapping[type[errors.InferenceError], int] = {
    errors.BadBody: 400,
    errors.BadTensor: 400,
    errors.RunFailed: 400,
    errors.BodyTooLarge: 413,
    errors.UnsupportedEncoding: 415,
    errors.NotFound: 404,
    errors.ModelNotFound: 404,
    errors.NotLoaded: 400,
    errors.ModelNotReady: 503,
    errors.Overloaded: 503,
    errors.Expired: 503,
    errors.ClientGone: 499,
}
REFUSALS: Mapping[type[Refused], int] = {NoKey: 401, NotAllowed: 403, TooManyRequests: 429}

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Extras:
    """What an application has only where it was asked for.

    ``tracing`` gives each inference request a span, ``access`` demands keys, ``tls`` is for gRPC:
    that of HTTP is the server's. ``mirror`` brings models out of an object store.
    """

    tracing: "Tracing | None" = None
    access: "Access | None" = None
    tls: Tls | None = None
    mirror: Mirror | None = None


class App:
    """Serves a repository while its lifespan runs."""

    def __init__(self, core: Core, rpc_address: str | None = None, tls: Tls | None = None) -> None:
        self.core = core
        self._rpc_address, self._tls = rpc_address, tls
        self._max_body_bytes = core.plane.limits.body_bytes

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """ASGI 3: ``lifespan`` and ``http``."""
        if scope["type"] == "http":
            await self._http(scope, receive, send)
        elif scope["type"] == "lifespan":
            await self._lifespan(receive, send)

    async def _lifespan(self, receive: Receive, send: Send) -> None:
        await receive()
        self.core.watcher.start()
        await self.core.siblings.start(self.core.metrics.dump)
        rpc = None
        if self._rpc_address is not None:
            rpc = RpcServer(self.core, self._rpc_address, self._max_body_bytes, self._tls)
            await rpc.start()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        if rpc is not None:
            await rpc.stop()
        self.core.siblings.stop()
        self.core.watcher.stop()
        self.core.plane.close()
        for one in (self.core.tracing, self.core.access):
            if one is not None:
                one.close()
        await send({"type": "lifespan.shutdown.complete"})

    async def _http(self, scope: Message, receive: Receive, send: Send) -> None:
        method = scope["method"]
        template, model, version = resolve(scope["path"])
        methods = ENDPOINTS.get(template)
        allow = accepted = b""
        if methods is None:
            reply = _error(404, f"no such path: {scope['path']}")
        elif (endpoint := methods.get("GET" if method == "HEAD" else method)) is None:
            allow = ", ".join(methods).encode()
            reply = _error(405, f"{method} is not allowed here")
        else:
            headers = dict(scope["headers"])
            accepted = headers.get(b"accept-encoding", b"")
            try:
                sent = headers.get(b"authorization")
                key = self.core.allow(INFERENCE[template], sent, model)
                body = await self._body(headers, receive)
                if body is None:
                    return
                if encoding := headers.get(b"content-encoding"):
                    body = await decoded(body, encoding, self._max_body_bytes)
                gone = partial(_disconnected, receive)
                reply = await endpoint(self.core, Call(model, version, headers, body, gone, key))
            except errors.ClientGone:
                return
            except Exception as error:
                reply = refusal(error, f"{method} {scope['path']}")
        self.core.metrics.answered(reply.status)
        await _send(send, reply, allow, accepted)

    async def _body(self, headers: Mapping[bytes, bytes], receive: Receive) -> bytes | None:
        """The whole body, or None if the client went away. Raises before it holds too much."""
        declared = headers.get(b"content-length", b"")
        if declared.isdigit() and int(declared) > self._max_body_bytes:
            raise errors.BodyTooLarge(self._max_body_bytes)
        chunks, size = [], 0
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                return None
            chunk = message.get("body", b"")
            size += len(chunk)
            if size > self._max_body_bytes:
                raise errors.BodyTooLarge(self._max_body_bytes)
            chunks.append(chunk)
            if not message.get("more_body", False):
                return chunks[0] if len(chunks) == 1 else b"".join(chunks)


def create_app(
    models_dir: Path,
    poll_s: float = 0.2,
    rpc_address: str | None = None,
    limits: Limits | None = None,
    memory: Memory | None = None,
    siblings: Siblings | None = None,
    extras: Extras | None = None,
) -> App:
    """An application over ``models_dir``, looked at every ``poll_s`` seconds.

    One run may use as many threads as there may be long runs at a time; ``memory`` is what loaded
    models may take; ``siblings`` are the other processes of the endpoint; ``rpc_address``,
    HOST:PORT, is where gRPC is answered beside HTTP. The ``extras`` are closed when the application
    ends.
    """
    limits, memory, extras = limits or Limits(), memory or Memory(), extras or Extras()
    repository = Repository(models_dir, limits.workers, partial(load, memory=memory))
    core = Core(
        repository,
        Watcher(repository, poll_s, extras.mirror),
        DataPlane(limits),
        Metrics(repository.versions),
        memory,
        siblings or Siblings(),
        extras.tracing,
        extras.access,
    )
    return App(core, rpc_address, extras.tls)


async def _disconnected(receive: Receive) -> None:
    """Wait until the client, whose whole body has come, goes away."""
    while (await receive())["type"] != "http.disconnect":
        await asyncio.sleep(_GONE_S)


def refusal(error: Exception, of: str) -> Reply:
    """The answer to a request that failed; what nobody expected is logged."""
    if isinstance(error, errors.InferenceError):
        return _error(STATUSES[type(error)], error.message)
    if isinstance(error, Refused):
        reply = _error(REFUSALS[type(error)], error.message)
        reply.retry_s = getattr(error, "retry_s", reply.retry_s)
        return reply
    _log.error("%s failed", of, exc_info=error)
    return _error(500, "internal error")


def headers_of(reply: Reply) -> Headers:
    """Of the answer as it is."""
    headers = [
        (b"content-type", reply.content_type),
        (b"content-length", b"%d" % len(reply.body)),
    ]
    if reply.json_length is not None:
        headers.append((b"inference-header-content-length", b"%d" % reply.json_length))
    if reply.status in (429, 503):
        headers.append((b"retry-after", b"%d" % reply.retry_s))
    if reply.status == 401:
        headers.append((b"www-authenticate", b"Bearer"))
    return headers


async def packed(reply: Reply, accepted: bytes) -> Headers:
    """The answer's body is compressed if that is accepted and pays; its headers then."""
    reply.body, encoding = await encoded(reply.body, accepted)
    headers = headers_of(reply)
    if encoding:
        headers += ((b"content-encoding", encoding), (b"vary", b"accept-encoding"))
    return headers


def _error(status: int, message: str) -> Reply:
    return Reply(status, orjson.dumps({"error": message[:_MESSAGE_LENGTH]}))


async def _send(send: Send, reply: Reply, allow: bytes, accepted: bytes) -> None:
    headers = await packed(reply, accepted) if accepted else headers_of(reply)
    if allow:
        headers.append((b"allow", allow))
    await send({"type": "http.response.start", "status": reply.status, "headers": headers})
    await send({"type": "http.response.body", "body": reply.body})
