"""BentoML around an ONNX Runtime session.

``PEER_MODEL`` names the file, ``PEER_PORT`` the port.
"""

import os
import sys
from pathlib import Path

import bentoml
import numpy as np
import onnxruntime


@bentoml.service(workers=1, logging={"access": {"enabled": False}}, metrics={"enabled": False})
class Onnx:
    """One session on one thread; the handler is a coroutine, so that no thread is between."""

    def __init__(self) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        self._session = onnxruntime.InferenceSession(os.environ["PEER_MODEL"], options)

    @bentoml.api
    async def predict(self, x: np.ndarray) -> np.ndarray:
        y: np.ndarray = self._session.run(None, {"x": x.astype(np.float32)})[0]
        return y


if __name__ == "__main__":
    command = Path(sys.executable).with_name("bentoml")
    service, folder = "bentoml_onnx:Onnx", str(Path(__file__).parent.resolve())
    where = ["--host", "127.0.0.1", "--port", os.environ["PEER_PORT"], "--working-dir", folder]
    os.environ["BENTOML_DO_NOT_TRACK"] = "True"
    os.execl(command, "bentoml", "serve", service, *where, "--quiet")
