"""What the inference endpoint is measured against: ASGI applications for ``uvicorn``.

``PEER_MODEL`` names the ONNX file that ``plain_fastapi`` runs.
"""

import os
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

import numpy as np
import onnxruntime
from fastapi import FastAPI
from pydantic import BaseModel

Message = MutableMapping[str, Any]


async def nothing(
    scope: Message,
    _receive: Callable[[], Awaitable[Message]],
    send: Callable[[Message], Awaitable[None]],
) -> None:
    """The least that an application can do: an empty 200."""
    if scope["type"] != "http":
        return
    headers = [(b"content-length", b"0")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": b""})


class Samples(BaseModel):
    """One input, row by row."""

    x: list[list[float]]


class Scores(BaseModel):
    """One output, row by row."""

    y: list[list[float]]


def plain_fastapi() -> FastAPI:
    """What one writes first: a typed handler around an ONNX Runtime session."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(os.environ["PEER_MODEL"], options)
    app = FastAPI()

    @app.post("/predict")
    async def predict(samples: Samples) -> Scores:
        (y,) = session.run(None, {"x": np.asarray(samples.x, dtype=np.float32)})
        return Scores(y=y.tolist())

    return app
