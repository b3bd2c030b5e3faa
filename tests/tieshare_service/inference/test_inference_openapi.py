"""The document describes what is served: routes, examples, answers, and the file in the tree."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import onnx
import orjson
import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from jsonschema_rs import validator_for
from schemathesis.checks import positive_data_acceptance

from tieshare_service.inference.batching import Limits
from tieshare_service.inference.endpoints import ENDPOINTS
from tieshare_service.inference.openapi import document

Publish = Callable[[str, int, onnx.ModelProto | bytes], Path]
Serve = Callable[..., str]

ROOT = Path(__file__).parents[3]
PLACE = {"model": "digits", "version": "1"}
OPERATIONS = [
    (path, method)
    for path, item in document()["paths"].items()
    for method in item
    if method != "parameters"
]
# only a POST has anything in it that can be wrong
EXPLORED = [
    (path, method, mode)
    for path, method in OPERATIONS
    for mode in schemathesis.GenerationMode
    if mode is schemathesis.GenerationMode.POSITIVE or method == "post"
]


@pytest.fixture
def url(publish: Publish, serve: Serve, digits: onnx.ModelProto) -> str:
    publish("digits", 1, digits)
    return serve(limits=Limits(body_bytes=1 << 20))


def _schema(path: str, method: str, status: int) -> dict[str, Any]:
    answer = document()["paths"][path][method]["responses"][str(status)]
    if "$ref" in answer:
        answer = document()["components"]["responses"][answer["$ref"].rpartition("/")[2]]
    schema: dict[str, Any] = answer["content"]["application/json"]["schema"]
    return schema | {"components": document()["components"]}


def test_the_document_has_the_routes_that_are_served() -> None:
    served = {(path, method.lower()) for path, methods in ENDPOINTS.items() for method in methods}
    assert set(OPERATIONS) == served


def test_operation_ids_are_unique() -> None:
    ids = [document()["paths"][path][method]["operationId"] for path, method in OPERATIONS]
    assert len(set(ids)) == len(ids)


def test_the_file_in_the_tree_is_the_document() -> None:
    written = (ROOT / "openapi" / "inference.json").read_bytes()
    assert orjson.loads(written) == document()


@pytest.mark.parametrize(("path", "method"), OPERATIONS)
def test_examples_run_and_their_answers_have_the_schemas_form(
    url: str, path: str, method: str
) -> None:
    operation = document()["paths"][path][method]
    content = operation.get("requestBody", {}).get("content", {}).get("application/json", {})
    place = url + path.format_map(PLACE)
    answer = httpx.request(method.upper(), place, json=content.get("example"))
    usual = "200" if "200" in operation["responses"] else "404"
    assert answer.status_code == int(usual)
    if answer.headers["content-type"] != "application/json":
        assert list(operation["responses"]["200"]["content"]) == ["text/plain"]
        return
    assert validator_for(_schema(path, method, int(usual))).is_valid(answer.json())
    if usual != "200":
        return
    described = operation["responses"]["200"]["content"]["application/json"]
    if "example" in described:
        assert answer.json() == described["example"]


@pytest.mark.parametrize("status", [400, 404])
def test_refusals_have_the_schemas_form(url: str, status: int) -> None:
    path = "/v2/models/{model}/infer"
    name = "other" if status == 404 else "digits"
    answer = httpx.post(f"{url}/v2/models/{name}/infer", content=b"{")
    assert answer.status_code == status
    assert validator_for(_schema(path, "post", status)).is_valid(answer.json())


@pytest.mark.slow
@pytest.mark.parametrize(("path", "method", "mode"), EXPLORED)
def test_schemathesis_finds_nothing(
    url: str, path: str, method: str, mode: schemathesis.GenerationMode
) -> None:
    operation = schemathesis.openapi.from_dict(document())[path][method]
    known = {name: value for name, value in PLACE.items() if f"{{{name}}}" in path}
    anywhere = operation.as_strategy(mode)
    here = operation.as_strategy(mode, path_parameters=known) if known else anywhere

    @given(anywhere | here)
    @settings(max_examples=20, deadline=None, suppress_health_check=list(HealthCheck))
    def run(case: Any) -> None:
        # no schema can say that the data must be as many elements as the shape
        case.call_and_validate(base_url=url, excluded_checks=[positive_data_acceptance])

    run()
