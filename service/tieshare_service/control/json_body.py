"""A JSON body is read whole, so it has to be small, and it has to say what it is."""

from collections.abc import Callable, Coroutine
from typing import Any

from fastapi import Request, Response
from fastapi.routing import APIRoute

from tieshare_service.blobs import TooLarge
from tieshare_service.control.errors import UnsupportedMediaType

LIMIT_BYTES = 1 << 20


class JsonRoute(APIRoute):
    """A route that refuses a body over the limit, or of another type than JSON, before reading."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """FastAPI's handler behind the two checks."""
        handle = super().get_route_handler()

        async def checked(request: Request) -> Response:
            if self.body_field is not None:
                _check_type(request)
                request = _SmallRequest(request.scope, request.receive)
                await request.body()
            return await handle(request)

        return checked


class _SmallRequest(Request):
    """Its body is kept once it is read; TooLarge at the first byte over the limit."""

    async def body(self) -> bytes:
        if not hasattr(self, "_whole"):
            whole = bytearray()
            async for chunk in self.stream():
                whole += chunk
                if len(whole) > LIMIT_BYTES:
                    raise TooLarge(LIMIT_BYTES)
            self._whole = bytes(whole)
        return self._whole


def _check_type(request: Request) -> None:
    media_type = request.headers.get("Content-Type", "").partition(";")[0].strip().lower()
    if media_type != "application/json":
        raise UnsupportedMediaType(
            f"the body is {media_type or 'of no type'}; send application/json",
            where="Content-Type",
            headers={"Accept": "application/json"},
        )
