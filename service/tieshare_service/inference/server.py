"""The inference process."""

import gc
import socket
from typing import TYPE_CHECKING

import uvicorn

from tieshare_service.inference.app import App, Extras, create_app
from tieshare_service.inference.batching import Limits
from tieshare_service.inference.mirror import Mirror
from tieshare_service.inference.protocol import Protocol
from tieshare_service.inference.session import Memory
from tieshare_service.inference.siblings import Siblings
from tieshare_service.settings import Settings
from tieshare_service.store import shared_store
from tieshare_service.tls import Tls, for_uvicorn

if TYPE_CHECKING:  # what most processes need not load, or can't
    from tieshare_service.inference.access import Access
    from tieshare_service.inference.tracing import Tracing


def run(settings: Settings) -> None:
    """Serve the models of the service's data folder until SIGTERM or SIGINT."""
    host, workers = settings.inference_host, settings.inference_workers
    threads, tls = max(settings.threads // workers, 1), Tls.of(settings)
    app = create_app(
        settings.models_dir,
        settings.poll_s,
        rpc_address=address(host, settings.inference_grpc_port),
        limits=Limits(
            settings.max_batch_rows, settings.max_queue, settings.max_queue_delay_us, threads
        ),
        memory=Memory(settings.model_memory_bytes / workers, settings.pinned),
        siblings=Siblings(settings.siblings_dir if workers > 1 else None),
        extras=Extras(
            traced() if settings.tracing else None,
            accessed(settings) if settings.needs_keys(host) else None,
            tls,
            mirrored(settings),
        ),
    )
    serve(app, host, settings.inference_port, shared=workers > 1, tls=tls)


def traced() -> "Tracing":
    """As the environment says. Raises SettingsError where the extra for it is not installed."""
    from tieshare_service.inference.tracing import Tracing  # noqa: PLC0415 - an extra

    return Tracing.from_environ()


def accessed(settings: Settings) -> "Access":
    """By the database, which a process that needs no keys does not load."""
    from tieshare_service.inference.access import Access  # noqa: PLC0415 - as it says

    return Access.of(settings)


def mirrored(settings: Settings) -> Mirror | None:
    """Of the object store, where there is one. Raises SettingsError."""
    store = shared_store(settings)
    return None if store is None else Mirror(store, settings.models_dir)


def serve(app: App, host: str, port: int, *, shared: bool = False, tls: Tls | None = None) -> None:
    """Answer there until SIGTERM or SIGINT; a ``shared`` port others listen on, too."""
    config = config_of(app, host, port, tls)
    gc.collect()
    gc.freeze()  # what is imported by now stays: no later collection looks at it
    uvicorn.Server(config).run([_shared_port(host, port)] if shared else None)


def config_of(app: App, host: str, port: int, tls: Tls | None = None) -> uvicorn.Config:
    """How uvicorn serves the endpoint."""
    return uvicorn.Config(
        app,
        host=host,
        port=port,
        http=Protocol,
        log_level="warning",
        access_log=False,
        ws="none",
        lifespan="on",
        server_header=False,
        proxy_headers=False,  # nothing depends on where a request comes from
        **for_uvicorn(tls),
    )


def _shared_port(host: str, port: int) -> socket.socket:
    """The system gives each new connection to one of the processes that have such a socket."""
    listener = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    listener.bind((host, port))
    return listener


def address(host: str, port: int) -> str:
    """HOST:PORT; an IPv6 address stands in brackets."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
