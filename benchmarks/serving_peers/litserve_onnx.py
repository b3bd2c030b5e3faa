"""LitServe around an ONNX Runtime session.

``PEER_MODEL`` names the file, ``PEER_PORT`` the port. Its server and its one worker are two
processes.
"""

import os
from typing import Any

import litserve
import numpy as np
import onnxruntime


class Onnx(litserve.LitAPI):
    """One session on one thread."""

    def setup(self, device: str) -> None:  # noqa: ARG002
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        self._session = onnxruntime.InferenceSession(os.environ["PEER_MODEL"], options)

    def decode_request(self, request: dict[str, Any]) -> Any:
        return np.asarray(request["x"], dtype=np.float32)

    def predict(self, x: Any) -> Any:
        return self._session.run(None, {"x": x})[0]

    def encode_response(self, output: Any) -> dict[str, Any]:
        return {"y": output.tolist()}


if __name__ == "__main__":
    server = litserve.LitServer(Onnx(), accelerator="cpu", workers_per_device=1)
    server.run(
        host="127.0.0.1",
        port=int(os.environ["PEER_PORT"]),
        num_api_servers=1,
        log_level="warning",
        generate_client_file=False,
        access_log=False,
    )
