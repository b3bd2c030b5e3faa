"""Triton, started by PyTriton, around an ONNX Runtime session.

``PEER_MODEL`` names the file, ``PEER_PORT`` the port. The session lives in this process; Triton
hands it requests in batches, as it does by default. Triton's own interpreter must be of this one's
release, hence its library path.
"""

import os
import socket
import sysconfig

import numpy as np
import onnxruntime
from pytriton.decorators import batch
from pytriton.model_config import ModelConfig, Tensor
from pytriton.triton import Triton, TritonConfig


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


if __name__ == "__main__":
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(os.environ["PEER_MODEL"], options)

    @batch
    def infer(x: np.ndarray) -> list[np.ndarray]:
        return [session.run(None, {"x": x})[0]]

    os.environ["LD_LIBRARY_PATH"] = str(sysconfig.get_config_var("LIBDIR"))
    config = TritonConfig(
        http_address="127.0.0.1",
        http_port=int(os.environ["PEER_PORT"]),
        grpc_port=free_port(),
        allow_metrics=False,
        log_verbose=0,
    )
    with Triton(config=config) as triton:
        triton.bind(
            model_name="dense",
            infer_func=infer,
            inputs=[Tensor(name="x", dtype=np.float32, shape=session.get_inputs()[0].shape[1:])],
            outputs=[Tensor(name="y", dtype=np.float32, shape=session.get_outputs()[0].shape[1:])],
            config=ModelConfig(max_batch_size=256),
        )
        triton.serve()
