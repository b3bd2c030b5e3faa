"""Nothing of a request is read before its key is; what it changed is written down."""

from anyio.to_thread import run_sync
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from tieshare_service.access import Refused, control_group
from tieshare_service.control.problems import refusal
from tieshare_service.control.services import KEY, Services
from tieshare_service.keys import Key

_READS = ("GET", "HEAD", "OPTIONS")


class OnlyWithKey:
    """ASGI middleware: where keys are needed, lets those requests pass that have the right one."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Refuse a request, or pass it on and note what it changed."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        services: Services = scope["app"].state.services
        try:
            key = _key_of(scope, services)
        except Refused as error:
            answer = refusal(error)
            answer.headers["Connection"] = "close"  # or the rest of an upload would be read
            await answer(scope, receive, send)
            return
        scope[KEY] = key
        if scope["method"] in _READS:
            await self._app(scope, receive, send)
            return

        async def noted(message: Message) -> None:
            if message["type"] == "http.response.start" and message["status"] < 400:
                headers = Headers(raw=message["headers"])
                of = headers.get("Location", scope["path"])
                what = scope["route"].name
                await run_sync(services.audit.note, None if key is None else key.id, what, of)
            await send(message)

        await self._app(scope, receive, noted)


def _key_of(scope: Scope, services: Services) -> Key | None:
    if services.guard is None:
        return None
    sent = dict(scope["headers"]).get(b"authorization")
    key = services.guard.check(control_group(scope["path"]), sent)
    if key is not None:
        services.guard.count(key)
    return key
