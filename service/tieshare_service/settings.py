"""What an operator may set, by environment or by flags."""

import ipaddress
import os
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from tieshare_service.errors import SettingsError

PREFIX = "TIESHARE_"
ENGINES = ("local", "ray")
_NOT_NEGATIVE = (
    "keep_days",
    "keep_versions",
    "stop_s",
    "max_queue_delay_us",
    "job_gpus",
    "job_memory_bytes",
)
_TRUTH = {"1": True, "true": True, "0": False, "false": False}


LONGEST_LEASE_S = 600.0
"""A lease that goes on for longer was given before the clock was set back."""


@dataclass(frozen=True)
class Settings:
    """Every limit and address of the service, and where it keeps its state.

    ``data_dir``          holds everything: database, blobs, served models, work in progress.
    ``database_url``      of a PostgreSQL server, in the place of the file in ``data_dir``.
    ``blobs``             of an object store that many machines share, as s3://BUCKET/PREFIX:
                          uploads, results and served models lie there, not in ``data_dir``.
    ``max_upload_bytes``  the largest body of one upload.
    ``gate_seconds``, ``gate_memory_bytes``  what parsing one upload may cost.
    ``lease_s``           a worker that has not beaten for so long has lost its job.
    ``heartbeat_s``       how often a worker beats; well below the lease.
    ``poll_s``            how often an idle worker looks for a job.
    ``max_attempts``      a job whose worker died so often is failed.
    ``keep_days``         ended jobs, their results and uploads that no job names are removed after
                          so many days; 0: never.
    ``keep_versions``     so many of each served name outlast that, the newest, with their jobs; 0:
                          all of them.
    ``stop_s``            between asking a training process to end and killing it.
    ``threads``           of one training process, and of one inference.
    ``inference_workers`` processes that share the inference ports; they share ``threads`` and
                          ``model_memory_bytes`` too.
    ``max_batch_rows``, ``max_queue_delay_us``, ``max_queue``  of inference requests that run
                          together, wait for others to do so, and wait for one model.
    ``model_memory_bytes``  that served models may take in memory; beyond it the least recently
                          used are loaded again when they are asked.
    ``pinned_models``     names, separated by commas, of those that always stay in memory.
    ``require_keys``      also on a loopback address; on any other they are needed in any case.
    ``tls_certificate``, ``tls_key``  files in PEM: all that listens speaks TLS then.
    ``tracing``           whether each inference request gives a span of OpenTelemetry.
    ``engine``            ``local``: a worker does one job after another on its machine; ``ray``: it
                          has workers started on a Ray cluster, at RAY_ADDRESS.
    ``job_gpus``, ``job_memory_bytes``  that a job takes of a node there, beside ``threads``.
    ``runner``            MODULE:FUNCTION that does a job; it has the signature of
                          ``tieshare.compress``.
    """

    data_dir: Path = Path("tieshare-data")
    database_url: str = ""
    blobs: str = ""
    host: str = "127.0.0.1"
    port: int = 8000
    inference_host: str = "127.0.0.1"
    inference_port: int = 8001
    inference_grpc_port: int = 8002
    inference_workers: int = 1
    max_upload_bytes: int = 2 << 30
    gate_seconds: float = 60.0
    gate_memory_bytes: int = 4 << 30
    lease_s: float = 30.0
    heartbeat_s: float = 5.0
    poll_s: float = 0.2
    max_attempts: int = 5
    keep_days: float = 0.0
    keep_versions: int = 0
    stop_s: float = 2.0
    max_batch_rows: int = 64
    max_queue_delay_us: int = 0
    max_queue: int = 1000
    model_memory_bytes: int = field(default_factory=lambda: machine_memory() // 2)
    pinned_models: str = ""
    require_keys: bool = False
    tls_certificate: str = ""
    tls_key: str = ""
    tracing: bool = False
    threads: int = field(default_factory=lambda: os.cpu_count() or 1)
    engine: str = "local"
    job_gpus: float = 0.0
    job_memory_bytes: int = 0
    runner: str = "tieshare.pipeline:compress"

    def __post_init__(self) -> None:
        for name in ("port", "inference_port", "inference_grpc_port"):
            if not 0 <= getattr(self, name) <= 65535:
                raise SettingsError("must be from 0 to 65535", where=name)
        for name in (
            "max_upload_bytes",
            "gate_seconds",
            "gate_memory_bytes",
            "heartbeat_s",
            "poll_s",
            "max_attempts",
            "inference_workers",
            "max_batch_rows",
            "max_queue",
            "model_memory_bytes",
            "threads",
        ):
            if not getattr(self, name) > 0:
                raise SettingsError("must be above 0", where=name)
        for name in _NOT_NEGATIVE:
            if not getattr(self, name) >= 0:
                raise SettingsError("must be at least 0", where=name)
        if not 2 * self.heartbeat_s <= self.lease_s <= LONGEST_LEASE_S:
            message = f"must be at least twice heartbeat_s, at most {LONGEST_LEASE_S:.0f}"
            raise SettingsError(message, where="lease_s")
        if bool(self.tls_certificate) != bool(self.tls_key):
            missing = "tls_key" if self.tls_certificate else "tls_certificate"
            raise SettingsError("a certificate and its key are given together", where=missing)
        if self.engine not in ENGINES:
            raise SettingsError(f"must be one of {', '.join(ENGINES)}", where="engine")
        if not self.runner.partition(":")[2]:
            raise SettingsError("must be MODULE:FUNCTION", where="runner")

    @classmethod
    def from_env(
        cls,
        overrides: Mapping[str, Any] | None = None,
        environ: Mapping[str, str] | None = None,
    ) -> "Settings":
        """``TIESHARE_DATA_DIR`` and so on; an override that is not None wins over them.

        Raises SettingsError naming the variable whose text can't be read.
        """
        environ = os.environ if environ is None else environ
        values: dict[str, Any] = {}
        for item in fields(cls):
            variable = PREFIX + item.name.upper()
            if variable in environ:
                values[item.name] = _parsed(variable, environ[variable], item.type)
        for name, value in (overrides or {}).items():
            if value is not None:
                values[name] = Path(value) if name == "data_dir" else value
        return cls(**values)

    def to_environ(self) -> dict[str, str]:
        """Every setting as ``from_env`` reads it."""
        return {PREFIX + item.name.upper(): str(getattr(self, item.name)) for item in fields(self)}

    def needs_keys(self, host: str) -> bool:
        """Whether who asks at this address of the service has to say who it is."""
        return self.require_keys or not _is_loopback(host)

    @property
    def database(self) -> Path | str:
        """The SQLite file, or the server's URL."""
        return self.database_url or self.database_file

    @property
    def database_file(self) -> Path:
        """Of SQLite."""
        return self.data_dir / "tieshare.db"

    @property
    def blobs_dir(self) -> Path:
        """Uploads and artifacts."""
        return self.data_dir / "blobs"

    @property
    def models_dir(self) -> Path:
        """The served models, NAME/VERSION/model.onnx; copies of those in an object store."""
        return self.data_dir / ("copies" if self.blobs else "models")

    @property
    def work_dir(self) -> Path:
        """Checkpoints and unfinished results, one folder a job."""
        return self.data_dir / "work"

    @property
    def pinned(self) -> frozenset[str]:
        """Names of ``pinned_models``."""
        return frozenset(name.strip() for name in self.pinned_models.split(",") if name.strip())

    @property
    def siblings_dir(self) -> Path:
        """Where the inference processes find each other."""
        return self.data_dir / "inference"

    @property
    def tmp_dir(self) -> Path:
        """Uploads in flight."""
        return self.data_dir / "tmp"


def machine_memory() -> int:
    """Bytes that this machine has, or its container."""
    known = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    try:
        limit = Path("/sys/fs/cgroup/memory.max").read_text().strip()
    except OSError:
        return known
    return min(known, int(limit)) if limit.isdigit() else known


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _parsed(variable: str, text: str, kind: Any) -> Any:
    try:
        if kind is bool:
            return _TRUTH[text.lower()]
        return kind(text)
    except (KeyError, ValueError) as error:
        raise SettingsError(f"{text!r} can't be read as {kind.__name__}", where=variable) from error
