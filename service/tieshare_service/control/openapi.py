"""The OpenAPI document of the control API: what FastAPI derives, and the problems beside it."""

from importlib.metadata import version
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from tieshare_service.access import MAYBE_KEY, REASONS, SECURITY, control_group
from tieshare_service.control.answers import PROBLEM
from tieshare_service.control.examples import EXAMPLES
from tieshare_service.control.schemas import Problem

_DESCRIPTION = """\
Upload a trained ONNX network and a data set, submit a job, follow it, fetch a smaller network.

Every refusal is `application/problem+json` (RFC 9457); its `type` is stable, and `where` names the
field, node, array or byte that is wrong.
"""
_TAGS = [
    {"name": "models", "description": "trained networks, ONNX"},
    {"name": "datasets", "description": "what they are trained and tested on, npz"},
    {"name": "uploads", "description": "models and data sets that come in several requests"},
    {"name": "jobs", "description": "compressions"},
    {"name": "artifacts", "description": "the files that a job has made"},
    {"name": "system", "description": "for probes and monitoring"},
]


def describe(app: FastAPI) -> None:
    """Make ``app.openapi()`` this document."""

    def document() -> dict[str, Any]:
        if app.openapi_schema is None:
            made = get_openapi(
                title=app.title,
                version=version("tieshare"),
                description=_DESCRIPTION,
                tags=_TAGS,
                routes=app.routes,
            )
            _drop_null(made)
            _say_where_keys_are_needed(made)
            schemas = made["components"]["schemas"]
            schemas["Problem"] = Problem.model_json_schema()
            for name, shown in EXAMPLES.items():  # here, for FastAPI drops what is null in them
                schemas[name]["examples"] = shown
            app.openapi_schema = made
        return app.openapi_schema

    app.openapi = document  # type: ignore[method-assign]


def _say_where_keys_are_needed(document: dict[str, Any]) -> None:
    document["components"]["securitySchemes"] = SECURITY
    refusals = {
        status: {"description": text, "content": PROBLEM} for status, text in REASONS.items()
    }
    for path, item in document["paths"].items():
        if control_group(path) != "open":
            for operation in item.values():
                operation["security"] = list(MAYBE_KEY)
                operation["responses"] |= refusals


def _drop_null(document: dict[str, Any]) -> None:
    """A parameter may be left out; null is nothing that a query or a header could hold."""
    for item in document["paths"].values():
        for operation in item.values():
            for parameter in operation.get("parameters", []):
                schema = parameter["schema"]
                if {"type": "null"} in schema.get("anyOf", []):
                    schema |= schema.pop("anyOf")[0]
