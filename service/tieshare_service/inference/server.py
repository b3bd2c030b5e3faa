"""The inference process."""

import uvicorn

from tieshare_service.inference.app import App, create_app
from tieshare_service.inference.batching import Limits
from tieshare_service.inference.session import Memory
from tieshare_service.settings import Settings


def run(settings: Settings) -> None:
    """Serve the models of the service's data folder until SIGTERM or SIGINT."""
    host = settings.inference_host
    app = create_app(
        settings.models_dir,
        settings.threads,
        settings.poll_s,
        rpc_address=address(host, settings.inference_grpc_port),
        limits=Limits(
            settings.max_batch_rows,
            settings.max_queue,
            settings.max_queue_delay_us,
            settings.threads,
        ),
        memory=Memory(settings.model_memory_bytes, settings.pinned),
    )
    serve(app, host, settings.inference_port)


def serve(app: App, host: str, port: int) -> None:
    """Answer there until SIGTERM or SIGINT."""
    uvicorn.run(
        app,
        host=host,
        port=port,
        log_level="warning",
        access_log=False,
        ws="none",
        lifespan="on",
        server_header=False,
    )


def address(host: str, port: int) -> str:
    """HOST:PORT; an IPv6 address stands in brackets."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
