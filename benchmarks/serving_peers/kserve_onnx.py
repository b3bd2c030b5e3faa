"""KServe's Python server around an ONNX Runtime session.

``PEER_MODEL`` names the file, ``PEER_PORT`` the port.
"""

import logging
import os

import kserve
import onnxruntime
from kserve import InferRequest, InferResponse
from kserve.utils.utils import get_predict_response


class Onnx(kserve.Model):
    """One session on one thread."""

    def load(self) -> bool:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        self._session = onnxruntime.InferenceSession(os.environ["PEER_MODEL"], options)
        self.ready = True
        return self.ready

    async def predict(
        self,
        payload: InferRequest,
        headers: dict[str, str] | None = None,  # noqa: ARG002
        response_headers: dict[str, str] | None = None,  # noqa: ARG002
    ) -> InferResponse:
        (y,) = self._session.run(None, {"x": payload.inputs[0].as_numpy()})
        return get_predict_response(payload, y, self.name)


if __name__ == "__main__":
    model = Onnx("dense")
    model.load()
    server = kserve.ModelServer(
        http_port=int(os.environ["PEER_PORT"]),
        workers=1,
        enable_grpc=False,
        enable_latency_logging=False,
    )
    logging.getLogger("uvicorn.access").handlers.clear()
    logging.getLogger("kserve.trace").setLevel(logging.WARNING)
    server.start([model])
