"""The least that uvicorn can do: an empty 200. It listens on port ``PEER_PORT``."""

import os
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

import uvicorn

Message = MutableMapping[str, Any]


async def nothing(
    scope: Message,
    _receive: Callable[[], Awaitable[Message]],
    send: Callable[[Message], Awaitable[None]],
) -> None:
    if scope["type"] != "http":
        return
    headers = [(b"content-length", b"0")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": b""})


if __name__ == "__main__":
    port = int(os.environ["PEER_PORT"])
    uvicorn.run(nothing, port=port, lifespan="off", access_log=False, log_level="warning")
