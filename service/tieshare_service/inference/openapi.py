"""The OpenAPI document of the inference endpoint, written by hand."""

from functools import cache
from typing import Any

from tieshare_service.access import INFERENCE, MAYBE_KEY, REASONS, SECURITY
from tieshare_service.inference.datatypes import TABLE
from tieshare_service.inference.openapi_schemas import EXAMPLES, SCHEMAS

_JSON = "application/json"
_BYTES = "application/octet-stream"
_JSON_LENGTH = "Inference-Header-Content-Length"

_REFUSALS = {
    **REASONS,
    "400": "The request does not fit the model; the message names the input or output.",
    "404": "No such model, or no such version of it.",
    "413": "The body is over the limit.",
    "415": "The body is compressed in another way than gzip or deflate.",
    "503": "The model is loading, or failed to load; the message says why.",
}


@cache
def document() -> dict[str, Any]:
    """OpenAPI 3.1; what a server answers at ``/openapi.json``."""
    paths: dict[str, Any] = {
        "/v2": {
            "get": _get("getServerMetadata", "Name, version and protocol extensions", "Server")
        },
        "/v2/health/live": {"get": _get("isServerLive", "Whether the process answers", "Live")},
        "/v2/health/ready": {"get": _ready("isServerReady")},
        "/healthz": {"get": _get("healthz", "The same as /v2/health/live", "Live")},
        "/readyz": {"get": _ready("readyz")},
        "/v2/repository/index": {"post": _index()},
        "/v2/models/stats": {
            "get": _get("getStatistics", "What was asked of all versions", "Statistics")
        },
        **_control(),
        **_fixed(),
        "/metrics": {"get": _metrics()},
        "/openapi.json": {
            "get": _get("getOpenApi", "This document", "AnyObject"),
        },
    }
    for suffix, parts in (("", ["model"]), ("OfVersion", ["model", "version"])):
        prefix = "/v2/models/{model}" + ("/versions/{version}" if suffix else "")
        shared = {"parameters": [{"$ref": f"#/components/parameters/{part}"} for part in parts]}
        paths[prefix] = shared | {
            "get": _get(f"getModelMetadata{suffix}", "Inputs and outputs", "Model", ("404", "503"))
        }
        paths[f"{prefix}/ready"] = shared | {
            "get": _get(
                f"isModelReady{suffix}",
                "Whether it answers; the error says why it does not",
                "ModelReady",
                ("404", "503"),
            )
        }
        paths[f"{prefix}/config"] = shared | {
            "get": _get(f"getModelConfig{suffix}", "How it is served", "Config", ("404", "503"))
        }
        paths[f"{prefix}/stats"] = shared | {
            "get": _get(
                f"getModelStatistics{suffix}",
                "What was asked of it, and how long that took",
                "Statistics",
                ("404", "503"),
            )
        }
        paths[f"{prefix}/infer"] = shared | {"post": _infer(f"infer{suffix}")}
    for path, item in paths.items():
        if INFERENCE[path] != "open":
            for method in item.keys() - {"parameters"}:
                item[method]["security"] = list(MAYBE_KEY)
                item[method]["responses"] |= _refusals(*REASONS)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "tieshare inference",
            "version": "2",
            "description": "The Open Inference Protocol v2 over HTTP, with binary tensors. "
            "Without a version in the path the highest one that is ready answers.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "http://127.0.0.1:8001"}],
        "paths": paths,
        "components": {
            "schemas": SCHEMAS,
            "securitySchemes": SECURITY,
            "parameters": {
                "model": _parameter("model", "path", {"type": "string", "minLength": 1}, "digits"),
                "version": _parameter("version", "path", {"type": "string", "minLength": 1}, "1"),
                "jsonLength": _parameter(
                    _JSON_LENGTH, "header", {"type": "integer", "minimum": 0}, None
                ),
            },
            "responses": {status: _answer(text, "Error") for status, text in _REFUSALS.items()},
        },
    }


def _parameter(
    name: str, place: str, schema: dict[str, Any], example: str | None
) -> dict[str, Any]:
    parameter: dict[str, Any] = {"name": name, "in": place, "schema": schema}
    if place == "path":
        parameter["required"] = True
    if example is not None:
        parameter["example"] = example
    return parameter


def _content(schema: str) -> dict[str, Any]:
    content: dict[str, Any] = {"schema": {"$ref": f"#/components/schemas/{schema}"}}
    if schema in EXAMPLES:
        content["example"] = EXAMPLES[schema]
    return content


def _answer(text: str, schema: str) -> dict[str, Any]:
    return {"description": text, "content": {_JSON: _content(schema)}}


def _refusals(*statuses: str) -> dict[str, Any]:
    return {status: {"$ref": f"#/components/responses/{status}"} for status in statuses}


def _get(
    operation: str, summary: str, schema: str, refusals: tuple[str, ...] = ()
) -> dict[str, Any]:
    return {
        "operationId": operation,
        "summary": summary,
        "responses": {"200": _answer(summary, schema), **_refusals(*refusals)},
    }


def _ready(operation: str) -> dict[str, Any]:
    summary = "Whether all models found at the start have loaded or failed"
    get = _get(operation, summary, "Ready")
    get["responses"]["503"] = _answer("Not yet", "Ready")
    return get


def _index() -> dict[str, Any]:
    summary = "Every version in the models folder and its state"
    return {
        "operationId": "getRepositoryIndex",
        "summary": summary,
        "requestBody": {"required": False, "content": {_JSON: _content("IndexRequest")}},
        "responses": {"200": _answer(summary, "Index"), **_refusals("400", "413", "415")},
    }


def _control() -> dict[str, Any]:
    """Loading and unloading."""
    load = _post("loadModel", "Load what lies in the folder, again where it is loaded")
    unload = _post("unloadModel", "Serve no version of it until it is loaded again")
    named = {"parameters": [{"$ref": "#/components/parameters/model"}]}
    return {
        "/v2/repository/models/{model}/load": named | {"post": load},
        "/v2/repository/models/{model}/unload": named | {"post": unload},
    }


def _fixed() -> dict[str, Any]:
    """What Triton's clients can ask for and nobody can change."""
    named = {"parameters": [{"$ref": "#/components/parameters/model"}]}
    trace, log = "How requests are traced", "What is logged"
    paths: dict[str, Any] = {
        "/v2/trace/setting": {
            "get": _get("getTraceSettings", trace, "AnyObject"),
            "post": _post("setTraceSettings", f"{trace}: it can't be changed", ("400",)),
        },
        "/v2/models/{model}/trace/setting": named
        | {
            "get": _get("getTraceSettingsOfModel", trace, "AnyObject"),
            "post": _post("setTraceSettingsOfModel", f"{trace}: it can't be changed", ("400",)),
        },
        "/v2/logging": {
            "get": _get("getLogSettings", log, "AnyObject"),
            "post": _post("setLogSettings", f"{log}: it can't be changed", ("400",)),
        },
    }
    for kind, name in (("systemsharedmemory", "System"), ("cudasharedmemory", "Cuda")):
        none, prefix = "There are no regions of shared memory", f"/v2/{kind}"
        region = f"{prefix}/region/{{model}}"
        paths |= {
            f"{prefix}/status": {"get": _get(f"get{name}Regions", none, "Regions")},
            f"{prefix}/unregister": {"post": _post(f"forget{name}Regions", none, ("400",))},
            f"{region}/status": named | {"get": _no_region(f"get{name}Region")},
            f"{region}/register": named | {"post": _register(f"register{name}Region")},
            f"{region}/unregister": named | {"post": _post(f"forget{name}Region", none, ("400",))},
        }
    return paths


def _no_region(operation: str) -> dict[str, Any]:
    summary = "There are no regions of shared memory: tensors come in the request"
    return {"operationId": operation, "summary": summary, "responses": _refusals("404", "413")}


def _register(operation: str) -> dict[str, Any]:
    refused = _post(operation, "Refused: tensors come in the request")
    del refused["responses"]["200"]
    return refused


def _post(
    operation: str, summary: str, refusals: tuple[str, ...] = ("400", "404")
) -> dict[str, Any]:
    return {
        "operationId": operation,
        "summary": summary,
        "requestBody": {"required": False, "content": {_JSON: _content("AnyObject")}},
        "responses": {
            "200": _answer(summary, "AnyObject"),
            **_refusals(*refusals, "413", "415"),
        },
    }


def _metrics() -> dict[str, Any]:
    return {
        "operationId": "getMetrics",
        "summary": "Counts and times in Prometheus' text format",
        "responses": {
            "200": {
                "description": "Counts and times",
                "content": {"text/plain": {"schema": {"type": "string"}}},
            }
        },
    }


def _infer(operation: str) -> dict[str, Any]:
    names = ", ".join(datatype.name for datatype in TABLE)
    binary = {"schema": {"type": "string", "format": "binary"}}
    return {
        "operationId": operation,
        "summary": "Run the model",
        "description": f"Datatypes: {names}. JSON data is a flat row-major list or nested lists; "
        "true and false count as 1 and 0. In the binary form the JSON comes first, its length in "
        f"{_JSON_LENGTH}, then the little-endian bytes of each input with binary_data_size, in "
        "order; a BYTES element is a 4-byte length and UTF-8. Where the JSON has length 0 "
        "the whole body is the only input's bytes. Outputs come back as bytes where binary_data "
        "(for one) or binary_data_output (for all) asks for it, and as strings VALUE:PLACE of "
        "their largest entries where classification says how many.",
        "parameters": [{"$ref": "#/components/parameters/jsonLength"}],
        "requestBody": {
            "required": True,
            "content": {_JSON: _content("InferRequest"), _BYTES: binary},
        },
        "responses": {
            "200": {
                "description": "The outputs, exactly as ONNX Runtime gives them",
                "headers": {
                    _JSON_LENGTH: {
                        "description": "Length of the JSON, where bytes follow it",
                        "schema": {"type": "integer"},
                    }
                },
                "content": {_JSON: _content("InferResponse"), _BYTES: binary},
            },
            **_refusals(*_REFUSALS),
        },
    }
