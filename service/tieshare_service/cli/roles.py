"""One role of the service in this process."""

import logging

import click

from tieshare_service.cli.extras import require_compress, require_key, require_tracing
from tieshare_service.cli.lazy import load
from tieshare_service.cli.settings import settings_options
from tieshare_service.lifeline import end_with_stdin
from tieshare_service.settings import Settings

STREAMS_END_S = 3

end_with_stdin_option = click.option(
    "--end-with-stdin",
    "tied_to_stdin",
    is_flag=True,
    help="End when standard input does, so that this process can't outlive its parent.",
)


@click.command()
@settings_options(
    "data_dir",
    "database_url",
    "blobs",
    "host",
    "port",
    "max_upload_bytes",
    "gate_seconds",
    "gate_memory_bytes",
    "keep_days",
    "keep_versions",
    "require_keys",
    "tls_certificate",
    "tls_key",
)
@end_with_stdin_option
def api(settings: Settings, tied_to_stdin: bool) -> None:
    """Start the control API alone."""
    _prepare(settings, tied_to_stdin)
    if settings.database_url:  # one that does not answer is told of in one line
        load("tieshare_service.database:open_database")(settings.database_url).dispose()
    require_key(settings, "host")
    tls = load("tieshare_service.tls:Tls").of(settings)
    load("uvicorn:run")(
        load("tieshare_service.control.app:create_app")(settings),
        host=settings.host,
        port=settings.port,
        log_level="warning",
        access_log=False,
        server_header=False,
        # Streams of events have no end of their own.
        timeout_graceful_shutdown=STREAMS_END_S,
        **load("tieshare_service.tls:for_uvicorn")(tls),
    )


@click.command()
@settings_options(
    "data_dir",
    "database_url",
    "blobs",
    "lease_s",
    "heartbeat_s",
    "poll_s",
    "max_attempts",
    "stop_s",
    "threads",
    "engine",
    "job_gpus",
    "job_memory_bytes",
)
@end_with_stdin_option
def worker(settings: Settings, tied_to_stdin: bool) -> None:
    """Start a worker alone; several may share one data folder."""
    if settings.engine == "local":
        require_compress()
    _prepare(settings, tied_to_stdin)
    if settings.engine == "local":
        load("tieshare_service.worker:run")(settings)
    else:
        load("tieshare_service.ray_engine:run")(settings)


@click.command()
@settings_options(
    "data_dir",
    "database_url",
    "blobs",
    "inference_host",
    "inference_port",
    "inference_grpc_port",
    "inference_workers",
    "poll_s",
    "max_batch_rows",
    "max_queue_delay_us",
    "max_queue",
    "model_memory_bytes",
    "pinned_models",
    "require_keys",
    "tls_certificate",
    "tls_key",
    "tracing",
    "threads",
)
@click.option("--one-worker", is_flag=True, hidden=True, help="One of the processes, not all.")
@end_with_stdin_option
def inference(settings: Settings, tied_to_stdin: bool, one_worker: bool) -> None:
    """Start the inference endpoint alone."""
    if settings.tracing:
        require_tracing()
    _prepare(settings, tied_to_stdin)
    require_key(settings, "inference_host")
    if settings.inference_workers > 1 and not one_worker:
        load("tieshare_service.serve:serve_inference")(settings, click.echo)
    else:
        load("tieshare_service.inference.server:run")(settings)


def _prepare(settings: Settings, tied_to_stdin: bool) -> None:
    if tied_to_stdin:
        end_with_stdin()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    settings.data_dir.mkdir(parents=True, exist_ok=True)
