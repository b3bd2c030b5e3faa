"""Every route of both apps, and every method of gRPC, belongs to a group."""

from collections.abc import Iterator
from typing import Any

import grpc
import pytest
from starlette.routing import BaseRoute

from tieshare_service.access import CONTROL, INFERENCE, ROLES, RPC, control_group
from tieshare_service.control.app import create_app
from tieshare_service.inference.batching import Limits
from tieshare_service.inference.core import Core
from tieshare_service.inference.data_plane import DataPlane
from tieshare_service.inference.endpoints import ENDPOINTS
from tieshare_service.inference.metrics import Metrics
from tieshare_service.inference.repository import Repository
from tieshare_service.inference.rpc import service
from tieshare_service.inference.watcher import Watcher
from tieshare_service.settings import Settings

OPEN = {"/healthz", "/readyz", "/openapi.json", "/docs", "/docs/oauth2-redirect", "/redoc"}


def paths(routes: list[BaseRoute]) -> Iterator[str]:
    for route in routes:
        nested = getattr(route, "routes", None)
        if nested:
            yield from paths(nested)
        yield from [route.path] if hasattr(route, "path") else []


def test_every_route_of_the_control_api_belongs_to_a_group() -> None:
    app = create_app(Settings())
    found = {path for path in paths(app.routes) if path}
    found |= set(app.openapi()["paths"])
    assert {"/v1/models", "/v1/jobs/{id}/publish", "/metrics", "/docs"} <= found
    for path in found:
        assert path.split("/")[1] in CONTROL, path
        expected = "open" if path in OPEN else "watch" if path == "/metrics" else "work"
        assert control_group(path) == expected, path


def test_a_path_is_not_opened_by_how_it_is_written() -> None:
    for path in ("/v1", "/v1/", "/v1/models", "/v1//models", "/v1/../healthz"):
        assert control_group(path) == "work"


def test_what_stands_in_no_table_is_not_open() -> None:
    for path in ("/", "", "*", "/v2/models", "//v1/models", "/V1/models", "/later"):
        assert control_group(path) == "manage"


def test_every_route_of_the_inference_endpoint_belongs_to_a_group() -> None:
    assert set(INFERENCE) == set(ENDPOINTS)
    opened = {path for path, group in INFERENCE.items() if group == "open"}
    health = {"/healthz", "/readyz", "/v2/health/live", "/v2/health/ready"}
    assert opened == health | {"/v2", "/openapi.json"}
    managed = {path for path, group in INFERENCE.items() if group == "manage"}
    assert {path for path in INFERENCE if "load" in path or "setting" in path} <= managed


def test_every_method_of_grpc_belongs_to_the_group_of_its_route(
    tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: dict[str, Any] = {}
    monkeypatch.setattr(
        grpc, "method_handlers_generic_handler", lambda _, handlers: seen.update(handlers)
    )
    monkeypatch.setattr(grpc.aio, "server", lambda **_: _NoServer())
    repository = Repository(tmp_path, threads=1)
    plane = DataPlane(Limits())
    service.RpcServer(Core(repository, Watcher(repository, 1), plane, Metrics()), "", 1)
    plane.close()
    assert set(seen) == set(RPC)
    same = {"ModelInfer": "/infer", "ModelMetadata": "", "ModelStatistics": "/stats"}
    for method, what in same.items():
        assert RPC[method] == INFERENCE["/v2/models/{model}" + what]
    assert RPC["RepositoryModelLoad"] == INFERENCE["/v2/repository/models/{model}/load"]
    assert RPC["LogSettings"] == INFERENCE["/v2/logging"]


def test_a_role_may_all_that_a_lower_one_may() -> None:
    assert ROLES["use"] > ROLES["work"] > ROLES["manage"] == {"admin"}


class _NoServer:
    def add_generic_rpc_handlers(self, _: Any) -> None:
        """Nothing is served."""

    def add_insecure_port(self, _: str) -> int:
        return 0
