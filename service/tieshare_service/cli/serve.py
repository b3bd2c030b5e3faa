"""``tieshare serve``."""

import click

from tieshare_service.cli.extras import hint, missing, require_key, require_tracing
from tieshare_service.cli.settings import settings_options
from tieshare_service.serve import serve as run_all
from tieshare_service.settings import Settings


@click.command()
@settings_options(
    "data_dir",
    "database_url",
    "blobs",
    "host",
    "port",
    "inference_host",
    "inference_port",
    "inference_grpc_port",
    "inference_workers",
    "max_upload_bytes",
    "gate_seconds",
    "gate_memory_bytes",
    "keep_days",
    "keep_versions",
    "lease_s",
    "heartbeat_s",
    "poll_s",
    "max_attempts",
    "stop_s",
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
def serve(settings: Settings) -> None:
    """Start control API, inference endpoint and one worker on this machine.

    Ctrl-C or SIGTERM ends all of it within ten seconds.
    """
    if settings.tracing:
        require_tracing()
    require_key(settings, "host", "inference_host")
    with_worker = not missing()
    if not with_worker:
        click.echo(f"no worker, jobs will wait in line: {hint()}", err=True)
    run_all(settings, with_worker=with_worker, say=click.echo)
