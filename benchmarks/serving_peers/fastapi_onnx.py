"""What one writes first: a typed FastAPI handler around an ONNX Runtime session.

Like every peer here it runs the file that ``PEER_MODEL`` names, on port ``PEER_PORT``.
"""

import os
from typing import Any

import numpy as np
import onnxruntime
import uvicorn
from fastapi import FastAPI
from pydantic import BaseModel


class Rows(BaseModel):
    """One input whose samples are rows."""

    x: list[list[float]]


class Images(BaseModel):
    """One input whose samples are images of some channels."""

    x: list[list[list[list[float]]]]


class Scores(BaseModel):
    """One output, row by row."""

    y: list[list[float]]


def plain_fastapi() -> FastAPI:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(os.environ["PEER_MODEL"], options)
    app = FastAPI()

    def answer(x: list[Any]) -> Scores:
        (y,) = session.run(None, {"x": np.asarray(x, dtype=np.float32)})
        return Scores(y=y.tolist())

    async def predict_rows(samples: Rows) -> Scores:
        return answer(samples.x)

    async def predict_images(samples: Images) -> Scores:
        return answer(samples.x)

    rows = len(session.get_inputs()[0].shape) == 2
    app.post("/predict")(predict_rows if rows else predict_images)
    return app


if __name__ == "__main__":
    port = int(os.environ["PEER_PORT"])
    uvicorn.run(plain_fastapi(), port=port, access_log=False, log_level="warning")
