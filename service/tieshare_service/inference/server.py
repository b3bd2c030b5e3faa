"""The inference process."""

from pathlib import Path

import uvicorn

from tieshare_service.inference.app import create_app
from tieshare_service.inference.batching import Limits
from tieshare_service.settings import Settings


def run(settings: Settings) -> None:
    """Serve the models of the service's data folder until SIGTERM or SIGINT."""
    serve(
        settings.models_dir,
        settings.inference_host,
        settings.inference_port,
        grpc_port=settings.inference_grpc_port,
        limits=Limits(
            settings.max_batch_rows,
            settings.max_queue,
            settings.max_queue_delay_us,
            settings.threads,
        ),
        threads=settings.threads,
        poll_s=settings.poll_s,
    )


def serve(
    models_dir: Path,
    host: str,
    port: int,
    *,
    grpc_port: int | None = None,
    limits: Limits | None = None,
    threads: int = 1,
    poll_s: float = 0.2,
) -> None:
    """Serve the models of any folder, NAME/VERSION/model.onnx, until SIGTERM or SIGINT.

    Over gRPC too where ``grpc_port`` is given.
    """
    address = f"[{host}]" if ":" in host else host
    rpc_address = None if grpc_port is None else f"{address}:{grpc_port}"
    uvicorn.run(
        create_app(models_dir, threads, poll_s, rpc_address=rpc_address, limits=limits),
        host=host,
        port=port,
        log_level="warning",
        access_log=False,
        ws="none",
        lifespan="on",
        server_header=False,
    )
