"""``python -m tieshare_service.inference``: serve one folder, with no other part of the service."""

import argparse
import math
from pathlib import Path

from tieshare_service.errors import SettingsError
from tieshare_service.inference.app import Extras, create_app
from tieshare_service.inference.batching import Limits
from tieshare_service.inference.server import address, serve, traced
from tieshare_service.inference.session import Memory


def main() -> None:
    """Read the flags and serve NAME/VERSION/model.onnx."""
    parser = argparse.ArgumentParser(prog="python -m tieshare_service.inference")
    parser.add_argument("--models", type=Path, required=True, help="holds NAME/VERSION/model.onnx")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8001)
    parser.add_argument("--grpc-port", type=int, help="answer gRPC there too")
    parser.add_argument("--threads", type=int, default=1, help="for one run")
    parser.add_argument("--poll-s", type=float, default=0.2, help="how often to look for models")
    parser.add_argument(
        "--model-memory-bytes", type=float, default=math.inf, help="that loaded models may take"
    )
    parser.add_argument("--pin", action="append", default=[], help="a model that stays in memory")
    parser.add_argument("--tracing", action="store_true", help="a trace of each request, by OTLP")
    flags = parser.parse_args()
    try:
        tracing = traced() if flags.tracing else None
    except SettingsError as error:
        parser.error(str(error))
    rpc_address = None if flags.grpc_port is None else address(flags.host, flags.grpc_port)
    memory = Memory(flags.model_memory_bytes, flags.pin)
    app = create_app(
        flags.models,
        flags.poll_s,
        rpc_address=rpc_address,
        limits=Limits(workers=flags.threads),
        memory=memory,
        extras=Extras(tracing),
    )
    serve(app, flags.host, flags.port)


if __name__ == "__main__":
    main()
