"""One function a route, and the table of routes."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from functools import cache, partial
from importlib.metadata import version as distribution_version
from typing import Any

import orjson

from tieshare_service.inference import fixed, openapi, wire
from tieshare_service.inference.data_plane import DataPlane
from tieshare_service.inference.errors import BadBody, InferenceError, RunFailed
from tieshare_service.inference.metrics import Metrics
from tieshare_service.inference.model_config import config_of
from tieshare_service.inference.repository import Repository
from tieshare_service.inference.statistics import Reason, Times
from tieshare_service.inference.types import InferRequest, TensorSpec
from tieshare_service.inference.watcher import Change, Watcher

EXTENSIONS = (
    "binary_tensor_data",
    "classification",
    "logging",
    "model_configuration",
    "model_repository",
    "parameters",
    "statistics",
    "trace",
)
_JSON = b"application/json"
_TEXT = b"text/plain; version=0.0.4; charset=utf-8"


@dataclass(frozen=True, slots=True)
class Call:
    """A request: ``model`` and ``version`` from its path, headers by lower-case name."""

    model: str
    version: str | None
    headers: Mapping[bytes, bytes]
    body: bytes


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer; ``json_length`` where bytes follow the JSON."""

    status: int
    body: bytes
    content_type: bytes = _JSON
    json_length: int | None = None


@dataclass(frozen=True)
class Server:
    """What the routes work on."""

    repository: Repository
    watcher: Watcher
    plane: DataPlane
    metrics: Metrics


Endpoint = Callable[[Server, Call], Awaitable[Reply]]


async def server_metadata(_server: Server, _call: Call) -> Reply:
    """Who answers here."""
    return _json({"name": "tieshare", "version": _version(), "extensions": EXTENSIONS})


async def server_live(_server: Server, _call: Call) -> Reply:
    """The process answers."""
    return _json({"live": True})


async def server_ready(server: Server, _call: Call) -> Reply:
    """Ready once all models found at the start have loaded or failed."""
    ready = server.repository.ready
    return _json({"ready": ready}, 200 if ready else 503)


async def model_metadata(server: Server, call: Call) -> Reply:
    """Inputs and outputs of a model that answers."""
    model = server.repository.get(call.model, call.version)
    return _json(
        {
            "name": model.name,
            "versions": [str(version) for version in server.repository.ready_versions(model.name)],
            "platform": "onnxruntime_onnx",
            "inputs": [_spec(spec) for spec in model.inputs.values()],
            "outputs": [_spec(spec) for spec in model.outputs.values()],
        }
    )


async def model_config(server: Server, call: Call) -> Reply:
    """How a model is served."""
    return _json(config_of(server.repository.get(call.model, call.version)))


async def model_ready(server: Server, call: Call) -> Reply:
    """A model answers; the error says why it does not."""
    model = server.repository.get(call.model, call.version)
    return _json({"name": model.name, "ready": True})


async def infer(server: Server, call: Call) -> Reply:
    """Run a model."""
    arrived = time.perf_counter_ns()
    model = server.repository.get(call.model, call.version)
    statistics = server.metrics.of(model.name, model.version)
    try:
        length = _json_length(call.headers)
        if length == 0:
            request = wire.parse_raw(call.body, model.inputs)
        else:
            request = wire.parse(call.body, length)
        parsed = time.perf_counter_ns()
        response = await server.plane.infer(model, request)
        body, json_length = wire.encode(response)
    except InferenceError as error:
        reason: Reason = "BACKEND" if isinstance(error, RunFailed) else "OTHER"
        statistics.failed(reason, time.perf_counter_ns() - arrived)
        raise
    began, ended = response.ran
    statistics.succeeded(
        Times(
            queue=began - parsed,
            input=parsed - arrived,
            infer=ended - began,
            output=time.perf_counter_ns() - ended,
            rows=_rows(request),
        )
    )
    if json_length is None:
        return Reply(200, body)
    return Reply(200, body, b"application/octet-stream", json_length)


async def model_statistics(server: Server, call: Call) -> Reply:
    """What was asked of the versions that answer: of all models, of one, or one version."""
    if call.version is not None:
        ready = [(call.model, server.repository.get(call.model, call.version).version)]
    elif call.model:
        ready = [(call.model, version) for version in server.repository.ready_versions(call.model)]
    else:
        ready = [(name, version) for name, version, slot in server.repository.index() if slot.model]
    found = [server.metrics.of(*key).document(*key) for key in ready]
    return _json({"model_stats": found})


async def repository_index(server: Server, call: Call) -> Reply:
    """Every version in the folder and its state."""
    only_ready = wire.parse_index(call.body)
    return _json(
        [
            {"name": name, "version": str(version), "state": slot.state, "reason": slot.reason}
            for name, version, slot in server.repository.index()
            if slot.model or not only_ready
        ]
    )


async def load_model(server: Server, call: Call) -> Reply:
    """Load the versions in the folder again, those of an unloaded model too."""
    if wire.parse_parameters(call.body):
        raise BadBody("a model is served as it lies in the folder: load takes no parameters")
    await _change(server, partial(server.repository.load, call.model))
    return _json({})


async def unload_model(server: Server, call: Call) -> Reply:
    """Serve no version of a model, new ones included, until it is loaded again."""
    wire.parse_parameters(call.body)
    await _change(server, partial(server.repository.unload, call.model))
    return _json({})


async def trace_settings(_server: Server, call: Call) -> Reply:
    """How requests are traced."""
    return _json(fixed.unchanged(fixed.TRACE, call.body))


async def log_settings(_server: Server, call: Call) -> Reply:
    """What is logged."""
    return _json(fixed.unchanged(fixed.LOGGING, call.body))


async def no_regions(_server: Server, _call: Call) -> Reply:
    """There are no regions of shared memory."""
    return _json([])


async def no_region(_server: Server, call: Call) -> Reply:
    """Nor this one."""
    raise fixed.no_region(call.model)


async def forget_regions(_server: Server, _call: Call) -> Reply:
    """Of shared memory: of none, nothing has to be forgotten."""
    return _json({})


async def metrics(server: Server, _call: Call) -> Reply:
    """Prometheus text."""
    ready = sum(1 for *_, slot in server.repository.index() if slot.model)
    return Reply(200, server.metrics.render(ready).encode(), _TEXT)


async def openapi_document(_server: Server, _call: Call) -> Reply:
    """The description of these routes."""
    return _json(openapi.document())


_MODEL = "/v2/models/{model}"
_VERSION = "/v2/models/{model}/versions/{version}"

_REGIONS: dict[str, Mapping[str, Endpoint]] = {}
for _kind in ("systemsharedmemory", "cudasharedmemory"):
    _REGIONS |= {
        f"/v2/{_kind}/status": {"GET": no_regions},
        f"/v2/{_kind}/unregister": {"POST": forget_regions},
        f"/v2/{_kind}/region/{{model}}/status": {"GET": no_region},
        f"/v2/{_kind}/region/{{model}}/register": {"POST": no_region},
        f"/v2/{_kind}/region/{{model}}/unregister": {"POST": forget_regions},
    }

ENDPOINTS: Mapping[str, Mapping[str, Endpoint]] = {
    "/v2": {"GET": server_metadata},
    "/v2/health/live": {"GET": server_live},
    "/v2/health/ready": {"GET": server_ready},
    "/v2/repository/index": {"POST": repository_index},
    "/v2/repository/models/{model}/load": {"POST": load_model},
    "/v2/repository/models/{model}/unload": {"POST": unload_model},
    "/v2/trace/setting": {"GET": trace_settings, "POST": trace_settings},
    f"{_MODEL}/trace/setting": {"GET": trace_settings, "POST": trace_settings},
    "/v2/logging": {"GET": log_settings, "POST": log_settings},
    **_REGIONS,
    _MODEL: {"GET": model_metadata},
    "/v2/models/stats": {"GET": model_statistics},
    f"{_MODEL}/config": {"GET": model_config},
    f"{_MODEL}/stats": {"GET": model_statistics},
    f"{_MODEL}/ready": {"GET": model_ready},
    f"{_MODEL}/infer": {"POST": infer},
    _VERSION: {"GET": model_metadata},
    f"{_VERSION}/config": {"GET": model_config},
    f"{_VERSION}/stats": {"GET": model_statistics},
    f"{_VERSION}/ready": {"GET": model_ready},
    f"{_VERSION}/infer": {"POST": infer},
    "/healthz": {"GET": server_live},
    "/readyz": {"GET": server_ready},
    "/metrics": {"GET": metrics},
    "/openapi.json": {"GET": openapi_document},
}


def resolve(path: str) -> tuple[str, str, str | None]:
    """The key of ``ENDPOINTS`` that a path would have, its model and its version."""
    if path in ENDPOINTS:
        return path, "", None
    parts = path.split("/")
    if len(parts) < 4 or parts[1:3] != ["v2", "models"] or not parts[3]:
        return _resolve_named(path, parts)
    if len(parts) > 5 and parts[4] == "versions" and parts[5]:
        return "/".join((_VERSION, *parts[6:])), parts[3], parts[5]
    return "/".join((_MODEL, *parts[4:])), parts[3], None


def _resolve_named(path: str, parts: list[str]) -> tuple[str, str, str | None]:
    """Of a path outside the models with a name for its fifth part."""
    if len(parts) == 6 and parts[4]:
        template = "/".join((*parts[:4], "{model}", parts[5]))
        if template in ENDPOINTS:
            return template, parts[4], None
    return path, "", None


async def _change(server: Server, change: Change) -> None:
    await asyncio.wrap_future(server.watcher.ask(change))


def _json(value: Any, status: int = 200) -> Reply:
    return Reply(status, orjson.dumps(value))


def _spec(spec: TensorSpec) -> dict[str, Any]:
    return {"name": spec.name, "datatype": spec.datatype.name, "shape": list(spec.shape)}


def _rows(request: InferRequest) -> int:
    """Samples, as far as shapes tell."""
    shape = request.inputs[0].shape if request.inputs else ()
    return shape[0] if shape else 1


def _json_length(headers: Mapping[bytes, bytes]) -> int | None:
    text = headers.get(b"inference-header-content-length")
    if text is None:
        return None
    if not text.isdigit() or len(text) > 18:
        raise BadBody("Inference-Header-Content-Length is not a number")
    return int(text)


@cache
def _version() -> str:
    return distribution_version("tieshare")
