"""``python -m tieshare_service.inference``: serve one folder, with no other part of the service."""

import argparse
from pathlib import Path

from tieshare_service.inference.server import serve


def main() -> None:
    """Read the flags and serve."""
    parser = argparse.ArgumentParser(prog="python -m tieshare_service.inference")
    parser.add_argument("--models", type=Path, required=True, help="holds NAME/VERSION/model.onnx")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8001)
    parser.add_argument("--grpc-port", type=int, help="answer gRPC there too")
    parser.add_argument("--threads", type=int, default=1, help="for one run")
    parser.add_argument("--poll-s", type=float, default=0.2, help="how often to look for models")
    flags = parser.parse_args()
    serve(
        flags.models,
        flags.host,
        flags.port,
        grpc_port=flags.grpc_port,
        threads=flags.threads,
        poll_s=flags.poll_s,
    )


if __name__ == "__main__":
    main()
