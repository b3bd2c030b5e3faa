"""MLServer with a runtime of its own around an ONNX Runtime session.

``PEER_MODEL`` names the file, ``PEER_PORT`` the port. Inference runs in the server's process.
"""

import os
import sys
from pathlib import Path

import onnxruntime
from mlserver import MLModel
from mlserver.codecs import NumpyCodec
from mlserver.types import InferenceRequest, InferenceResponse

_SETTINGS = {
    "DEBUG": "false",
    "GRPC_PORT": "0",
    "METRICS_ENDPOINT": "",
    "PARALLEL_WORKERS": "0",
    "MODEL_NAME": "dense",
    "MODEL_IMPLEMENTATION": "mlserver_onnx.OnnxRuntime",
}


class OnnxRuntime(MLModel):
    """One session on one thread."""

    async def load(self) -> bool:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        self._session = onnxruntime.InferenceSession(os.environ["PEER_MODEL"], options)
        return True

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        x = NumpyCodec.decode_input(payload.inputs[0])
        (y,) = self._session.run(None, {"x": x})
        return InferenceResponse(
            model_name=self.name, outputs=[NumpyCodec.encode_output(name="y", payload=y)]
        )


if __name__ == "__main__":
    os.environ |= {f"MLSERVER_{name}": value for name, value in _SETTINGS.items()}
    os.environ |= {"MLSERVER_HOST": "127.0.0.1", "MLSERVER_HTTP_PORT": os.environ["PEER_PORT"]}
    os.environ["PYTHONPATH"] = str(Path(__file__).parent.resolve())
    command = Path(sys.executable).with_name("mlserver")
    os.execl(command, "mlserver", "start", ".")
