"""One function a route, and the table of routes."""

import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.metadata import version as distribution_version
from typing import Any

import orjson

from tieshare_service.inference import openapi, wire
from tieshare_service.inference.data_plane import DataPlane
from tieshare_service.inference.errors import BadBody, InferenceError
from tieshare_service.inference.metrics import Metrics
from tieshare_service.inference.repository import Repository
from tieshare_service.inference.types import TensorSpec

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
    plane: DataPlane
    metrics: Metrics


Endpoint = Callable[[Server, Call], Awaitable[Reply]]


async def server_metadata(_server: Server, _call: Call) -> Reply:
    """Who answers here."""
    return _json({"name": "tieshare", "version": _version(), "extensions": ["binary_tensor_data"]})


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


async def model_ready(server: Server, call: Call) -> Reply:
    """A model answers; the error says why it does not."""
    model = server.repository.get(call.model, call.version)
    return _json({"name": model.name, "ready": True})


async def infer(server: Server, call: Call) -> Reply:
    """Run a model."""
    started = time.perf_counter()
    model = server.repository.get(call.model, call.version)
    try:
        request = wire.parse(call.body, _json_length(call.headers))
        response = await server.plane.infer(model, request)
        body, json_length = wire.encode(response)
    except InferenceError:
        server.metrics.failed(model.name, model.version)
        raise
    server.metrics.inferred(model.name, model.version, time.perf_counter() - started)
    if json_length is None:
        return Reply(200, body)
    return Reply(200, body, b"application/octet-stream", json_length)


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


async def metrics(server: Server, _call: Call) -> Reply:
    """Prometheus text."""
    ready = sum(1 for *_, slot in server.repository.index() if slot.model)
    return Reply(200, server.metrics.render(ready).encode(), _TEXT)


async def openapi_document(_server: Server, _call: Call) -> Reply:
    """The description of these routes."""
    return _json(openapi.document())


_MODEL = "/v2/models/{model}"
_VERSION = "/v2/models/{model}/versions/{version}"

ENDPOINTS: Mapping[str, Mapping[str, Endpoint]] = {
    "/v2": {"GET": server_metadata},
    "/v2/health/live": {"GET": server_live},
    "/v2/health/ready": {"GET": server_ready},
    "/v2/repository/index": {"POST": repository_index},
    _MODEL: {"GET": model_metadata},
    f"{_MODEL}/ready": {"GET": model_ready},
    f"{_MODEL}/infer": {"POST": infer},
    _VERSION: {"GET": model_metadata},
    f"{_VERSION}/ready": {"GET": model_ready},
    f"{_VERSION}/infer": {"POST": infer},
    "/healthz": {"GET": server_live},
    "/readyz": {"GET": server_ready},
    "/metrics": {"GET": metrics},
    "/openapi.json": {"GET": openapi_document},
}


def resolve(path: str) -> tuple[str, str, str | None]:
    """The key of ``ENDPOINTS`` that a path would have, its model and its version."""
    parts = path.split("/")
    if len(parts) < 4 or parts[1:3] != ["v2", "models"] or not parts[3]:
        return path, "", None
    if len(parts) > 5 and parts[4] == "versions" and parts[5]:
        return "/".join((_VERSION, *parts[6:])), parts[3], parts[5]
    return "/".join((_MODEL, *parts[4:])), parts[3], None


def _json(value: Any, status: int = 200) -> Reply:
    return Reply(status, orjson.dumps(value))


def _spec(spec: TensorSpec) -> dict[str, Any]:
    return {"name": spec.name, "datatype": spec.datatype.name, "shape": list(spec.shape)}


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
