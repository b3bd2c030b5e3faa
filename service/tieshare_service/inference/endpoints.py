"""One function a route, and the table of routes."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import TYPE_CHECKING, Any

import orjson

from tieshare_service.access import INFERENCE
from tieshare_service.inference import documents, fixed, openapi, wire
from tieshare_service.inference.batching import Waiter
from tieshare_service.inference.core import Begun, Core
from tieshare_service.inference.data_plane import Gone
from tieshare_service.inference.errors import BadBody
from tieshare_service.inference.model import Model
from tieshare_service.inference.types import InferRequest, InferResponse, Ran

if TYPE_CHECKING:  # what most processes need not load
    from tieshare_service.keys import Key

_KNOWN_PATHS = 256

_JSON, _BYTES = b"application/json", b"application/octet-stream"
_TEXT = b"text/plain; version=0.0.4; charset=utf-8"


@dataclass(slots=True)
class Call:
    """A request: ``model`` and ``version`` from its path, headers by lower-case name.

    ``gone`` ends when its client has gone; ``key`` is whose it is, where that matters.
    """

    model: str
    version: str | None
    headers: Mapping[bytes, bytes]
    body: bytes
    gone: Gone | None = None
    key: "Key | None" = None


@dataclass(slots=True)
class Reply:
    """An answer; ``json_length`` where bytes follow the JSON, ``retry_s`` where it may be later."""

    status: int
    body: bytes
    content_type: bytes = _JSON
    json_length: int | None = None
    retry_s: int = 1


Endpoint = Callable[[Core, Call], Awaitable[Reply]]


async def server_metadata(_core: Core, _call: Call) -> Reply:
    """Who answers here."""
    return _json(documents.server_metadata())


async def server_live(_core: Core, _call: Call) -> Reply:
    """The process answers."""
    return _json({"live": True})


async def server_ready(core: Core, _call: Call) -> Reply:
    """Ready once all models found at the start have loaded or failed."""
    ready = core.repository.ready
    return _json({"ready": ready}, 200 if ready else 503)


async def model_metadata(core: Core, call: Call) -> Reply:
    """Inputs and outputs of a model that answers."""
    return _json(documents.model_metadata(core.repository, call.model, call.version))


async def model_config(core: Core, call: Call) -> Reply:
    """How a model is served."""
    return _json(documents.model_config(core.repository, call.model, call.version))


async def model_ready(core: Core, call: Call) -> Reply:
    """A model answers; the error says why it does not."""
    model = core.repository.get(call.model, call.version)
    return _json({"name": model.name, "ready": True})


def infer(core: Core, call: Call) -> Awaitable[Reply]:
    """Run a model."""
    span = None
    if core.tracing is not None:
        template = _MODEL if call.version is None else _VERSION
        span = core.tracing.over_http(call.headers, f"{template}/infer")
    parse = partial(_request, call.headers, call.body)
    return core.infer(call.model, call.version, parse, _reply, call.gone, span)


def begin_infer(
    core: Core, path: str, headers: Mapping[bytes, bytes], body: bytes, waiter: Waiter
) -> Begun | None:
    """An inference request whose ``waiter`` will have its run in a moment; of any other None.

    Raises an InferenceError, or Refused.
    """
    template, model, version = resolve(path)
    if template not in _INFER:
        return None
    key = core.known(INFERENCE[template], headers.get(b"authorization"), model)
    if key is not None and key.max_requests is not None:
        return None  # on the usual way it is counted, once
    return core.begin(model, version, partial(_request, headers, body), waiter)


def end_infer(core: Core, begun: Begun, ran: Ran | BaseException) -> Reply:
    """Its answer, from what the waiter got. Raises an InferenceError."""
    return core.end(begun, ran, _reply)


async def model_statistics(core: Core, call: Call) -> Reply:
    """What was asked of the versions that answer: of all models, of one, or one version."""
    counted = await core.counted()
    found = documents.statistics(core.repository, counted, call.model, call.version, call.key)
    return _json(found)


async def repository_index(core: Core, call: Call) -> Reply:
    """Every version in the folder and its state."""
    only_ready = wire.parse_index(call.body)
    return _json(documents.index(core.repository, call.key, only_ready=only_ready))


async def load_model(core: Core, call: Call) -> Reply:
    """Load the versions in the folder again, those of an unloaded model too."""
    await core.load(call.model, wire.parse_parameters(call.body), call.key)
    return _json({})


async def unload_model(core: Core, call: Call) -> Reply:
    """Serve no version of a model, new ones included, until it is loaded again."""
    wire.parse_parameters(call.body)
    await core.unload(call.model, call.key)
    return _json({})


async def trace_settings(core: Core, call: Call) -> Reply:
    """How requests are traced."""
    known = fixed.trace_settings(traced=core.tracing is not None)
    return _json(fixed.unchanged(known, wire.parse_object(call.body)))


async def log_settings(_core: Core, call: Call) -> Reply:
    """What is logged."""
    return _json(fixed.unchanged(fixed.LOGGING, wire.parse_object(call.body)))


async def no_regions(_core: Core, _call: Call) -> Reply:
    """There are no regions of shared memory."""
    return _json([])


async def no_region(_core: Core, call: Call) -> Reply:
    """Nor this one."""
    raise fixed.no_region(call.model)


async def register_region(_core: Core, call: Call) -> Reply:
    """Of shared memory: refused."""
    wire.parse_object(call.body)
    raise fixed.no_region(call.model)


async def forget_regions(_core: Core, call: Call) -> Reply:
    """Of shared memory: of none, nothing has to be forgotten."""
    wire.parse_object(call.body)
    return _json({})


async def metrics(core: Core, _call: Call) -> Reply:
    """Prometheus text."""
    ready = sum(1 for *_, slot in core.repository.index() if slot.model)
    counted = await core.counted()
    text = counted.render(ready, core.memory.loaded, core.memory.used)
    return Reply(200, text.encode(), _TEXT)


async def openapi_document(_core: Core, _call: Call) -> Reply:
    """The description of these routes."""
    return _json(openapi.document())


_MODEL = "/v2/models/{model}"
_VERSION = "/v2/models/{model}/versions/{version}"
_INFER = (f"{_MODEL}/infer", f"{_VERSION}/infer")

_REGIONS: dict[str, Mapping[str, Endpoint]] = {}
for _kind in ("systemsharedmemory", "cudasharedmemory"):
    _REGIONS |= {
        f"/v2/{_kind}/status": {"GET": no_regions},
        f"/v2/{_kind}/unregister": {"POST": forget_regions},
        f"/v2/{_kind}/region/{{model}}/status": {"GET": no_region},
        f"/v2/{_kind}/region/{{model}}/register": {"POST": register_region},
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


@lru_cache(_KNOWN_PATHS)
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


def _request(headers: Mapping[bytes, bytes], body: bytes, model: Model) -> InferRequest:
    length = _json_length(headers)
    return wire.parse_raw(body, model.inputs) if length == 0 else wire.parse(body, length)


def _reply(response: InferResponse) -> Reply:
    body, json_length = wire.encode(response)
    return Reply(200, body, _JSON if json_length is None else _BYTES, json_length)


def _json(value: Any, status: int = 200) -> Reply:
    return Reply(status, orjson.dumps(value))


def _json_length(headers: Mapping[bytes, bytes]) -> int | None:
    text = headers.get(b"inference-header-content-length")
    if text is None:
        return None
    if not text.isdigit() or len(text) > 18:
        raise BadBody("Inference-Header-Content-Length is not a number")
    return int(text)
