"""What the protocol lets clients change in Triton and what stays as it is here.

How requests are traced and logged is set when the service starts. Tensors come and go in requests
alone: a region of shared memory would be read and written by its name in the file system.
"""

from collections.abc import Mapping
from typing import Any

from tieshare_service.inference.errors import BadBody, NotFound

TRACE: dict[str, Any] = {
    "trace_level": ["OFF"],
    "trace_rate": "1000",
    "trace_count": "-1",
    "log_frequency": "0",
    "trace_file": "",
    "trace_mode": "triton",
}
TRACE_BY_OPENTELEMETRY: Mapping[str, Any] = TRACE | {
    "trace_level": ["TIMESTAMPS"],
    "trace_rate": "1",
    "trace_mode": "opentelemetry",
}
LOGGING: Mapping[str, Any] = {
    "log_file": "",
    "log_info": False,
    "log_warnings": True,
    "log_errors": True,
    "log_verbose_level": 0,
    "log_format": "default",
}


def trace_settings(*, traced: bool) -> Mapping[str, Any]:
    """Of every model."""
    return TRACE_BY_OPENTELEMETRY if traced else TRACE


def unchanged(settings: Mapping[str, Any], asked: Mapping[str, Any]) -> Mapping[str, Any]:
    """The settings, where no others are asked for; else BadBody names one."""
    for name, value in asked.items():
        if value not in (None, settings.get(name)):
            raise BadBody(f"{name} can't be changed while the service runs")
    return settings


def no_region(name: str) -> NotFound:
    """There never is one."""
    return NotFound(f"no shared memory region {name!r}: tensors come in the request")
