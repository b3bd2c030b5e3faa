"""Schemathesis tries each operation with what the document allows and with what it does not."""

from typing import Any

import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from schemathesis import GenerationMode
from schemathesis.checks import positive_data_acceptance

from tieshare_service.control.app import create_app
from tieshare_service.control.services import Services
from tieshare_service.settings import Settings

schemathesis.serializer.alias("application/partial-upload", "application/octet-stream")

DOCUMENT: dict[str, Any] = create_app(Settings()).openapi()
OPERATIONS = [
    (path, method, mode)
    for path, item in DOCUMENT["paths"].items()
    for method, operation in item.items()
    for mode in GenerationMode
    if mode is GenerationMode.POSITIVE or "parameters" in operation
]


@pytest.fixture
def place(http: httpx.Client, services: Services, uploaded: tuple[str, str]) -> dict[str, str]:
    """What stands where the paths have braces, by the collection: things that there are."""
    model, dataset = uploaded
    job = http.post("/v1/jobs", json={"model": model, "dataset": dataset}).json()["id"]
    services.queue.claim("worker", 30)
    names = ("tied.onnx", "point-1.shared.onnx", "point-1.packed.onnx")
    made = [services.blobs.put_artifact(job, name, b"onnx") for name in names]
    services.queue.succeed(job, 1, {"report": {}, "artifacts": list(names), "served": None}, made)
    begun = http.post("/v1/uploads?kind=models", headers={"Upload-Complete": "?0"}).json()["id"]
    return {"models": model, "datasets": dataset, "jobs": job, "uploads": begun}


@pytest.mark.slow
@pytest.mark.parametrize(("path", "method", "mode"), OPERATIONS)
def test_schemathesis_finds_nothing(
    http: httpx.Client, place: dict[str, str], path: str, method: str, mode: GenerationMode
) -> None:
    operation = schemathesis.openapi.from_dict(DOCUMENT)[path][method]
    anywhere = here = operation.as_strategy(mode)
    if "{id}" in path:
        known = {"id": place[path.split("/")[2]], "name": "tied.onnx"}
        here = operation.as_strategy(
            mode, path_parameters={k: v for k, v in known.items() if f"{{{k}}}" in path}
        )
    # No schema can say which bytes are a model, nor where an upload ends.
    unsaid = any(kind in str(operation.body) for kind in ("octet-stream", "partial-upload"))
    excluded = [positive_data_acceptance] if unsaid else []

    @given(anywhere | here)
    @settings(
        max_examples=15, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck)
    )
    def run(case: Any) -> None:
        if mode is GenerationMode.POSITIVE:
            _mend(case, place)
        case.call_and_validate(base_url=str(http.base_url), excluded_checks=excluded)

    run()


def _mend(case: Any, place: dict[str, str]) -> None:
    """Put in what no schema can say: tokens that a list returned, ranges in a file, ids."""
    (case.query or {}).pop("page_token", None)
    (case.headers or {}).pop("Range", None)
    if case.operation.label == "POST /v1/jobs":
        case.body |= {"model": place["models"], "dataset": place["datasets"]}
        for name in ("penalties", "tie_groups", "target"):  # of its layers; a target once
            (case.body.get("recipe") or {}).pop(name, None)
    if case.operation.label == "POST /v1/jobs/{id}/publish":
        case.body["point"] = 1
