"""/metrics, in Prometheus' text format 0.0.4."""

from collections.abc import Iterable

from fastapi import APIRouter, Response

from tieshare_service.control.answers import Responses, problems
from tieshare_service.control.counters import Labels
from tieshare_service.control.services import Parts, Services

MEDIA_TYPE = "text/plain; version=0.0.4"

router = APIRouter(tags=["system"])

_SHOWN: Responses = {200: {"content": {"text/plain": {"schema": {"type": "string"}}}}}


@router.get("/metrics", response_class=Response, responses={**_SHOWN, **problems()})
def get_metrics(parts: Parts) -> Response:
    """Count jobs by status, and what this process has taken and answered since it started."""
    return Response(page(parts), media_type=MEDIA_TYPE)


def page(parts: Services) -> str:
    """The whole page."""
    jobs = [((("status", status),), n) for status, n in sorted(parts.queue.counts().items())]
    counters = parts.counters
    lines = [
        *_family("tieshare_jobs", "gauge", "Jobs by status.", jobs),
        *_family("tieshare_workers", "gauge", "Workers alive.", [((), len(parts.workers()))]),
        *_family("tieshare_uploads_total", "counter", "Files kept.", counters.of("uploads")),
        *_family(
            "tieshare_upload_bytes_total", "counter", "Bytes kept.", counters.of("upload_bytes")
        ),
        *_family(
            "tieshare_requests_total", "counter", "Requests answered.", counters.of("requests")
        ),
    ]
    return "\n".join([*lines, ""])


def _family(name: str, kind: str, text: str, samples: Iterable[tuple[Labels, int]]) -> list[str]:
    lines = [f"# HELP {name} {text}", f"# TYPE {name} {kind}"]
    for labels, value in samples:
        inside = ",".join(f'{key}="{label}"' for key, label in labels)
        lines.append(f"{name}{{{inside}}} {value}" if inside else f"{name} {value}")
    return lines
