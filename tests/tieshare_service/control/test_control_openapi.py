"""The document describes what is served: the file in the tree, the examples, the answers."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from click.testing import CliRunner
from jsonschema_rs import validator_for

from tieshare_service.control import examples
from tieshare_service.control.app import create_app
from tieshare_service.control.services import Services
from tieshare_service.openapi import documents, main, rendered
from tieshare_service.settings import Settings

FILE = Path(__file__).parents[3] / "openapi" / "control.json"
DOCUMENT: dict[str, Any] = create_app(Settings()).openapi()


def operations() -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, item in DOCUMENT["paths"].items():
        for method, operation in item.items():
            yield method, path, operation


def schema(name: str) -> dict[str, Any]:
    return {"$ref": f"#/components/schemas/{name}", "components": DOCUMENT["components"]}


def test_the_file_in_the_tree_is_the_document() -> None:
    assert FILE.read_bytes() == rendered(DOCUMENT)


def test_the_document_is_served(http: httpx.Client) -> None:
    assert http.get("/openapi.json").json() == DOCUMENT


def test_the_command_writes_both_documents(tmp_path: Path) -> None:
    done = CliRunner().invoke(main, [str(tmp_path / "new")])
    assert (done.exit_code, done.output) == (0, "")
    written = {path.name: json.loads(path.read_bytes()) for path in (tmp_path / "new").iterdir()}
    assert written == documents()


def test_making_the_document_touches_no_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    create_app(Settings()).openapi()
    assert list(tmp_path.iterdir()) == []


def test_every_bound_is_written_in_words_of_json_schema() -> None:
    recipe = DOCUMENT["components"]["schemas"]["JobRecipe"]["properties"]
    number, null = recipe["path_epochs"]["anyOf"]
    assert (number["minimum"], number["maximum"], null["type"]) == (1, 100_000, "null")
    assert not {'"ge":', '"gt":', '"le":', '"lt":'} & set(json.dumps(DOCUMENT).split())


def test_operation_ids_are_plain_and_unique() -> None:
    ids = [operation["operationId"] for _, _, operation in operations()]
    assert len(set(ids)) == len(ids)
    assert all(name.replace("_", "").isalpha() for name in ids)
    assert {"create_job", "create_model", "list_events", "get_artifact"} <= set(ids)


def test_every_refusal_is_a_problem() -> None:
    for _, path, operation in operations():
        refusals = {s: a for s, a in operation["responses"].items() if s >= "400"}
        assert refusals, path
        for answer in refusals.values():
            (media_type,) = answer["content"]
            assert media_type == "application/problem+json"


@pytest.mark.parametrize("path", ["/v1/models", "/v1/datasets"])
def test_an_upload_is_a_raw_body(path: str) -> None:
    body = DOCUMENT["paths"][path]["post"]["requestBody"]
    binary = {"type": "string", "format": "binary"}
    assert body == {"required": True, "content": {"application/octet-stream": {"schema": binary}}}


@pytest.mark.parametrize("name", examples.EXAMPLES)
def test_an_example_has_its_schemas_form(name: str) -> None:
    assert DOCUMENT["components"]["schemas"][name]["examples"] == examples.EXAMPLES[name]
    for example in examples.EXAMPLES[name]:
        validator_for(schema(name)).validate(example)


def test_the_example_requests_make_jobs(http: httpx.Client, uploaded: tuple[str, str]) -> None:
    for example in DOCUMENT["components"]["schemas"]["JobRequest"]["examples"]:
        ids = {"model": uploaded[0], "dataset": uploaded[1]}
        answer = http.post("/v1/jobs", json=example | ids)
        assert answer.status_code == 202
        validator_for(schema("Job")).validate(answer.json())
        for name, value in example.get("recipe", {}).items():
            assert answer.json()["recipe"][name] == value


def test_the_example_stream_is_what_a_stream_says(
    http: httpx.Client, services: Services, uploaded: tuple[str, str]
) -> None:
    asked = {"model": uploaded[0], "dataset": uploaded[1]}
    job = http.post("/v1/jobs", json=asked).json()["id"]
    services.queue.claim("worker", 30)
    services.queue.fail(job, 1, {"type": "x", "message": "y"})
    stream = http.get(f"/v1/jobs/{job}/events", headers={"Accept": "text/event-stream"}).text
    assert stream.startswith(examples.EVENT_STREAM)


def test_real_answers_have_their_schemas_form(
    http: httpx.Client,
    services: Services,
    uploaded: tuple[str, str],
    front: list[dict[str, Any]],
) -> None:
    model, dataset = uploaded
    job = http.post("/v1/jobs", json={"model": model, "dataset": dataset}).json()["id"]
    services.queue.claim("worker", 30)
    names = ("report.json", "point-2.shared.onnx")
    made = [services.blobs.put_artifact(job, name, b"{}") for name in names]
    services.queue.front(job, 1, front)
    result = {
        "report": {"front": front},
        "artifacts": ["report.json"],
        "served": {"name": "digits", "version": 1},
    }
    services.queue.succeed(job, 1, result, made)
    for path, name in {
        "/v1/models": "ModelPage",
        f"/v1/models/{model}": "Model",
        "/v1/datasets": "DatasetPage",
        f"/v1/datasets/{dataset}": "Dataset",
        "/v1/jobs": "JobPage",
        f"/v1/jobs/{job}": "Job",
        f"/v1/jobs/{job}/events": "EventPage",
        f"/v1/jobs/{job}/artifacts": "ArtifactPage",
        "/healthz": "Health",
        "/readyz": "Readiness",
        "/nothing": "Problem",
    }.items():
        validator_for(schema(name)).validate(http.get(path).json())
    served = http.post(f"/v1/jobs/{job}/publish", json={"point": 2})
    validator_for(schema("Served")).validate(served.json())
