"""Ray Serve with one replica around an ONNX Runtime session.

``PEER_MODEL`` names the file, ``PEER_PORT`` the port. Proxy and replica are two processes, of the
same priority as any other server's.
"""

import os
import signal
import tempfile
from typing import Any

import numpy as np
import onnxruntime
import ray
from ray import serve
from starlette.requests import Request


class Onnx:
    """One session on one thread."""

    def __init__(self, path: str) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        self._session = onnxruntime.InferenceSession(path, options)

    async def __call__(self, request: Request) -> dict[str, Any]:
        x = np.asarray((await request.json())["x"], dtype=np.float32)
        return {"y": self._session.run(None, {"x": x})[0].tolist()}


if __name__ == "__main__":
    os.environ |= {"RAY_worker_niceness": "0", "RAY_USAGE_STATS_ENABLED": "0"}
    quiet = {"enable_access_log": False, "log_level": "WARNING"}
    with tempfile.TemporaryDirectory() as folder:
        ray.init(num_cpus=1, include_dashboard=False, _temp_dir=folder)
        http = {"host": "127.0.0.1", "port": int(os.environ["PEER_PORT"])}
        serve.start(http_options=http, logging_config=quiet)
        one = serve.deployment(num_replicas=1, max_ongoing_requests=100)(Onnx)
        serve.run(one.bind(os.environ["PEER_MODEL"]), logging_config=quiet)
        signal.sigwait({signal.SIGTERM, signal.SIGINT})
        serve.shutdown()
        ray.shutdown()
