"""The flags of the roles: one for each setting that the role reads, named like it."""

import functools
from collections.abc import Callable, Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

import click

from tieshare_service.settings import PREFIX, Settings

HELP: Mapping[str, str] = {
    "data_dir": "Folder that holds all state.",
    "database_url": "PostgreSQL server for all records: postgresql://USER@HOST/DATABASE.",
    "blobs": "Object store for all files: s3://BUCKET/PREFIX, gs://... or az://...",
    "host": "Address of the control API.",
    "port": "Port of the control API; 0 takes any free one.",
    "inference_host": "Address of the inference endpoint.",
    "inference_port": "Port of the inference endpoint; 0 takes any free one.",
    "inference_grpc_port": "Port of the inference endpoint for gRPC; 0 takes any free one.",
    "inference_workers": "Processes that share the inference ports.",
    "max_upload_bytes": "Largest body of one upload.",
    "gate_seconds": "Time that parsing one upload may take.",
    "gate_memory_bytes": "Memory that parsing one upload may take.",
    "lease_s": "Seconds of silence after which a worker has lost its job.",
    "heartbeat_s": "Seconds between two signs of life of a worker.",
    "poll_s": "Seconds between two looks for new work or new models.",
    "max_attempts": "A job whose worker died so often is failed.",
    "keep_days": "Days after which ended jobs and uploads without a job are removed; 0: never.",
    "keep_versions": "Newest versions of each served name that outlast that; 0: all.",
    "stop_s": "Seconds from asking a training process to end to killing it.",
    "max_batch_rows": "Samples of several inference requests that run together.",
    "max_queue_delay_us": "Microseconds that an inference request waits for others; usually 0.",
    "max_queue": "Inference requests that wait for one model; more are refused.",
    "model_memory_bytes": "Memory that served models may take; half of the machine's.",
    "pinned_models": "Served models, separated by commas, that always stay in memory.",
    "require_keys": "Ask for a key on a loopback address, too; on any other one is needed anyway.",
    "tls_certificate": "Certificate in PEM, with its chain: all that listens speaks TLS then.",
    "tls_key": "Its private key in PEM, without a password.",
    "tracing": "Send a trace of each inference request to OpenTelemetry's OTEL_* addresses.",
    "engine": "local, or ray: workers are started on the Ray cluster at RAY_ADDRESS.",
    "job_gpus": "GPUs that one job takes of a node of that cluster.",
    "job_memory_bytes": "Memory that one job takes of a node of that cluster.",
    "threads": "Threads of one training process and of one inference; the machine's cores.",
}


def settings_options(
    *names: str,
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Give a command the parameter ``settings``, from flags, then environment, then defaults."""
    kinds: Mapping[str, Any] = {item.name: item.type for item in fields(Settings)}

    def decorate(command: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(command)
        def with_settings(**given: Any) -> Any:
            flags = {name: given.pop(name) for name in names}
            return command(settings=Settings.from_env(flags), **given)

        for name in reversed(names):
            with_settings = click.option(
                f"--{name.replace('_', '-')}",
                type=click.Path(path_type=Path) if kinds[name] is Path else kinds[name],
                is_flag=kinds[name] is bool,
                default=None,
                help=f"{HELP[name]}  [env: {PREFIX}{name.upper()}]",
            )(with_settings)
        return with_settings

    return decorate
