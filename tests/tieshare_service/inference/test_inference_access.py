"""The inference endpoint where keys are needed: on both ways of a request, and over gRPC."""

import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import onnx
import pytest
import tritonclient.grpc as triton
from tests.waiting import until
from tritonclient.utils import InferenceServerException

from tieshare_service.access import Role
from tieshare_service.database import open_database
from tieshare_service.inference.access import Access
from tieshare_service.inference.app import Extras
from tieshare_service.inference.endpoints import ENDPOINTS
from tieshare_service.keys import Keys
from tieshare_service.settings import Settings
from tieshare_service.tenants import UNLIMITED, Quotas

Publish = Callable[[str, int, onnx.ModelProto | bytes], Path]
Serve = Callable[..., str]

REQUEST = {"inputs": [{"name": "x", "datatype": "FP32", "shape": [1, 4], "data": [1, 2, 3, 4]}]}
INFER = "/v2/models/digits/infer"
LOAD = "/v2/repository/models/digits/load"


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(data_dir=tmp_path / "data", require_keys=True)


OWN, OTHERS = "ours~digits", "theirs~digits"
INDEX = "/v2/repository/index"


@pytest.fixture
def let_in(settings: Settings) -> Callable[..., dict[str, str]]:
    """Makes a key before the endpoint starts, and gives the header that sends it."""

    def made(role: Role, tenant: str, quotas: Quotas = UNLIMITED) -> dict[str, str]:
        engine = open_database(settings.database)
        _, text = Keys(engine, time.time).create(role, "", tenant, quotas)
        engine.dispose()
        return with_key(text)

    return made


@pytest.fixture
def ours(let_in: Callable[..., dict[str, str]]) -> dict[str, str]:
    return let_in("admin", "ours")


@pytest.fixture
def access(settings: Settings, texts: dict[Role, str]) -> Access:
    """Closed by the application that gets it."""
    assert texts
    return Access.of(settings)


@pytest.fixture
def url(
    publish: Publish, digits: onnx.ModelProto, serve: Serve, access: Access, rpc_address: str
) -> str:
    publish("digits", 1, digits)
    return serve(rpc_address=rpc_address, extras=Extras(access=access))


def with_key(text: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {text}"}


def test_without_a_key_only_health_and_the_document_are_answered(url: str) -> None:
    for path in ("/healthz", "/readyz", "/v2", "/v2/health/live", "/openapi.json"):
        assert httpx.get(url + path).status_code == 200
    for method, path in (
        ("POST", INFER),
        ("GET", "/v2/models/digits"),
        ("GET", "/v2/models/stats"),
        ("POST", "/v2/repository/index"),
        ("POST", LOAD),
        ("GET", "/metrics"),
    ):
        answer = httpx.request(method, url + path, json=REQUEST)
        assert answer.status_code == 401, path
        assert answer.headers["WWW-Authenticate"] == "Bearer"
        assert "key" in answer.json()["error"]


@pytest.mark.parametrize("headers", [{}, {"Expect": "100-continue"}], ids=["short", "usual"])
def test_a_request_needs_a_key_on_both_ways(
    url: str, texts: dict[Role, str], headers: dict[str, str]
) -> None:
    with httpx.Client(base_url=url) as http:
        right = headers | with_key(texts["infer"])
        wrong = headers | with_key(texts["infer"][:-1])
        for _ in range(2):  # the second time it is known
            assert http.post(INFER, json=REQUEST, headers=right).status_code == 200
            assert http.post(INFER, json=REQUEST, headers=wrong).status_code == 401
            assert http.post(INFER, json=REQUEST, headers=headers).status_code == 401


def test_a_body_without_a_key_is_not_even_parsed(url: str) -> None:
    assert httpx.post(url + INFER, content=b"{" * 1000).status_code == 401


@pytest.mark.parametrize("role", ["infer", "submit"])
def test_only_an_admin_loads_models(url: str, texts: dict[Role, str], role: Role) -> None:
    answer = httpx.post(url + LOAD, json={}, headers=with_key(texts[role]))
    assert answer.status_code == 403
    assert role in answer.json()["error"]


def test_who_loaded_a_model_is_noted(url: str, texts: dict[Role, str], access: Access) -> None:
    headers = with_key(texts["admin"])
    assert httpx.post(url + LOAD, json={}, headers=headers).status_code == 200
    missing = LOAD.replace("digits", "nothing")
    assert httpx.post(url + missing, json={}, headers=headers).status_code == 404
    (change,) = access.audit.last(10)
    key_id = texts["admin"].partition(".")[0]
    assert (change.key_id, change.what, change.of) == (key_id, "load_model", "digits")


@pytest.fixture
def shared_url(
    ours: dict[str, str],
    publish: Publish,
    digits: onnx.ModelProto,
    serve: Serve,
    access: Access,
    rpc_address: str,
) -> str:
    """With a model of the operator's and one of each of two tenants."""
    assert ours
    for name in ("digits", OWN, OTHERS):
        publish(name, 1, digits)
    return serve(rpc_address=rpc_address, extras=Extras(access=access))


@pytest.mark.parametrize("more", [{}, {"Expect": "100-continue"}], ids=["short", "usual"])
def test_a_tenant_asks_its_own_models_alone(
    shared_url: str, ours: dict[str, str], texts: dict[Role, str], more: dict[str, str]
) -> None:
    with httpx.Client(base_url=shared_url) as http:
        plain, operator = with_key(texts["infer"]), with_key(texts["admin"])
        for name, sent, status in (
            (OWN, ours, 200),
            (OTHERS, ours, 404),
            ("digits", ours, 404),
            ("digits", plain, 200),
            (OWN, plain, 404),
            (OWN, operator, 200),
        ):
            answer = http.post(f"/v2/models/{name}/infer", json=REQUEST, headers=sent | more)
            assert answer.status_code == status, (name, sent)
            if status == 200:
                assert answer.json()["model_name"] == name
            else:
                assert answer.json() == {"error": f"no model {name!r}"}


def test_every_path_of_another_s_model_says_that_there_is_none(
    shared_url: str, ours: dict[str, str]
) -> None:
    with httpx.Client(base_url=shared_url, headers=ours) as http:
        for template, methods in ENDPOINTS.items():
            if "{model}" not in template or "region" in template:
                continue
            for method in methods:
                path = template.replace("{version}", "1")
                answer = http.request(method, path.replace("{model}", OTHERS), json=REQUEST)
                assert (answer.status_code, answer.json()) == (
                    404,
                    {"error": f"no model {OTHERS!r}"},
                )
        assert http.post(f"/v2/repository/models/{OWN}/unload", json={}).status_code == 200
        assert http.post(f"/v2/repository/models/{OWN}/load", json={}).status_code == 200


def test_lists_tell_a_tenant_of_its_own_models(
    shared_url: str, ours: dict[str, str], texts: dict[Role, str]
) -> None:
    with httpx.Client(base_url=shared_url) as http:
        for headers, names in (
            (ours, [OWN]),
            (with_key(texts["infer"]), ["digits"]),
            (with_key(texts["admin"]), ["digits", OWN, OTHERS]),
        ):
            index = http.post(INDEX, json={}, headers=headers).json()
            assert [item["name"] for item in index] == names
            counted = http.get("/v2/models/stats", headers=headers).json()["model_stats"]
            assert [item["name"] for item in counted] == names
        assert http.get("/metrics", headers=ours).status_code == 403
        assert OTHERS not in http.get("/v2", headers=ours).text


def test_over_grpc_it_is_the_same(shared_url: str, rpc_address: str, ours: dict[str, str]) -> None:
    assert shared_url
    headers = {name.lower(): text for name, text in ours.items()}
    client = triton.InferenceServerClient(rpc_address)
    try:
        assert client.infer(OWN, [_input()], headers=headers).as_numpy("y").shape == (1, 2)
        with pytest.raises(InferenceServerException, match="NOT_FOUND"):
            client.infer(OTHERS, [_input()], headers=headers)
        for ask in (
            client.get_model_metadata,
            client.get_model_config,
            client.is_model_ready,
            client.unload_model,
        ):
            with pytest.raises(InferenceServerException, match="NOT_FOUND"):
                ask(OTHERS, headers=headers)
        listed = client.get_model_repository_index(headers=headers).models
        assert [model.name for model in listed] == [OWN]
        counted = client.get_inference_statistics(headers=headers).model_stats
        assert [model.name for model in counted] == [OWN]
        told: list[Any] = []
        client.start_stream(lambda result, error: told.append(error or result), headers=headers)
        client.async_stream_infer(OTHERS, [_input()])
        until(lambda: bool(told))
        client.stop_stream()
        assert f"no model {OTHERS!r}" in str(told[0])
    finally:
        client.close()


@pytest.mark.parametrize("more", [{}, {"Expect": "100-continue"}], ids=["short", "usual"])
def test_a_key_asks_as_often_in_a_minute_as_it_may(
    let_in: Callable[..., dict[str, str]],
    publish: Publish,
    digits: onnx.ModelProto,
    serve: Serve,
    settings: Settings,
    more: dict[str, str],
) -> None:
    sent = let_in("infer", "", Quotas(requests=3)) | more
    publish("digits", 1, digits)
    url = serve(extras=Extras(access=Access.of(settings)))
    with httpx.Client(base_url=url, headers=sent) as http:
        answers = [http.post(INFER, json=REQUEST) for _ in range(4)]
    assert [answer.status_code for answer in answers] == [200, 200, 200, 429]
    assert 1 <= int(answers[-1].headers["Retry-After"]) <= 20


@pytest.fixture
def client(url: str, rpc_address: str) -> Iterator[Any]:
    assert url
    made = triton.InferenceServerClient(rpc_address)
    yield made
    made.close()


def _input() -> Any:
    x = np.ones((1, 4), np.float32)
    return triton.InferInput("x", [1, 4], "FP32").set_data_from_numpy(x)


def test_grpc_needs_the_same_keys(client: Any, texts: dict[Role, str], access: Access) -> None:
    assert client.is_server_live()
    with pytest.raises(InferenceServerException, match="UNAUTHENTICATED"):
        client.infer("digits", [_input()])
    headers = {"authorization": f"Bearer {texts['infer']}"}
    assert client.infer("digits", [_input()], headers=headers).as_numpy("y").shape == (1, 2)
    with pytest.raises(InferenceServerException, match="PERMISSION_DENIED"):
        client.load_model("digits", headers=headers)
    with pytest.raises(InferenceServerException, match="UNAUTHENTICATED"):
        client.get_model_metadata("digits", headers={"authorization": "Bearer nonsense"})
    admin = {"authorization": f"Bearer {texts['admin']}"}
    client.unload_model("digits", headers=admin)
    client.load_model("digits", headers=admin)
    assert [change.what for change in access.audit.last(10)] == ["unload_model", "load_model"]


def test_a_stream_of_grpc_needs_one_too(client: Any, texts: dict[Role, str]) -> None:
    answers: list[Any] = []

    def told(result: Any, error: Any) -> None:
        answers.append(error or result.as_numpy("y").shape)

    for headers, expected in (
        ({"authorization": f"Bearer {texts['infer']}"}, (1, 2)),
        (None, "UNAUTHENTICATED"),
    ):
        client.start_stream(told, headers=headers)
        with suppress(InferenceServerException):  # which is told as an answer, too
            client.async_stream_infer("digits", [_input()])
        give_up_at = time.monotonic() + 10
        while not answers and time.monotonic() < give_up_at:
            time.sleep(0.01)
        client.stop_stream()
        found = answers.pop()
        assert found == expected or str(expected) in str(found)
