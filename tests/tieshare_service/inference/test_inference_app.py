"""Every route, every refusal and its status, over ASGI without a socket."""

import asyncio
import logging
from collections.abc import Callable, MutableMapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import orjson
import pytest

from tieshare_service.inference import errors
from tieshare_service.inference.app import STATUSES, App

Publish = Callable[[str, int, onnx.ModelProto | bytes], Path]
Application = Callable[..., App]
Ask = Callable[..., tuple[int, dict[str, str], bytes]]

X = {"name": "x", "datatype": "FP32", "shape": [1, 4], "data": [0.5, -1.0, 2.0, 0.25]}
JSON_LENGTH = "Inference-Header-Content-Length"


@pytest.fixture
def app(publish: Publish, application: Application, digits: onnx.ModelProto) -> App:
    publish("digits", 1, digits)
    publish("digits", 2, digits)
    publish("broken", 1, b"not onnx")
    return application()


def test_every_refusal_has_a_status(refusals: set[type[errors.InferenceError]]) -> None:
    assert set(STATUSES) == refusals
    assert all(400 <= status < 600 for status in STATUSES.values())


@pytest.mark.parametrize(
    ("path", "answer"),
    [
        ("/v2/health/live", {"live": True}),
        ("/healthz", {"live": True}),
        ("/v2/health/ready", {"ready": True}),
        ("/readyz", {"ready": True}),
        ("/v2/models/digits/ready", {"name": "digits", "ready": True}),
        ("/v2/models/digits/versions/1/ready", {"name": "digits", "ready": True}),
        (
            "/v2/models/digits",
            {
                "name": "digits",
                "versions": ["1", "2"],
                "platform": "onnxruntime_onnx",
                "inputs": [{"name": "x", "datatype": "FP32", "shape": [-1, 4]}],
                "outputs": [{"name": "y", "datatype": "FP32", "shape": [-1, 2]}],
            },
        ),
    ],
)
def test_what_can_be_read(app: App, ask: Ask, path: str, answer: dict[str, Any]) -> None:
    status, headers, body = ask(app, "GET", path)
    assert status == 200
    assert headers["content-type"] == "application/json"
    assert orjson.loads(body) == answer
    assert ask(app, "HEAD", path)[0] == 200


def test_the_server_names_itself_and_its_extensions(app: App, ask: Ask) -> None:
    document = orjson.loads(ask(app, "GET", "/v2")[2])
    assert document["name"] == "tieshare"
    assert {"binary_tensor_data", "classification", "statistics"} <= set(document["extensions"])


def test_the_index_lists_states_and_reasons(app: App, ask: Ask) -> None:
    entries = orjson.loads(ask(app, "POST", "/v2/repository/index")[2])
    states = [(entry["name"], entry["version"], entry["state"]) for entry in entries]
    ready = [("digits", "1", "READY"), ("digits", "2", "READY")]
    assert states == [("broken", "1", "UNAVAILABLE"), *ready]
    assert "protobuf parsing failed" in entries[0]["reason"]
    only = orjson.loads(ask(app, "POST", "/v2/repository/index", {"ready": True})[2])
    assert [entry["name"] for entry in only] == ["digits", "digits"]


@pytest.mark.parametrize(
    ("path", "version"),
    [("/v2/models/digits/infer", "2"), ("/v2/models/digits/versions/1/infer", "1")],
)
def test_json_inference_is_onnx_runtimes_bit_for_bit(
    app: App, ask: Ask, models_dir: Path, path: str, version: str
) -> None:
    status, headers, body = ask(app, "POST", path, {"id": "seven", "inputs": [X]})
    session = onnxruntime.InferenceSession(models_dir / "digits" / "1" / "model.onnx")
    (y,) = session.run(None, {"x": np.array([X["data"]], dtype=np.float32)})
    document = orjson.loads(body)
    assert (status, headers["content-type"]) == (200, "application/json")
    assert (document["id"], document["model_version"]) == ("seven", version)
    data = np.array(document["outputs"][0]["data"], dtype=np.float32)
    assert data.tobytes() == y.tobytes()


@pytest.mark.parametrize("batch", [0, 1, 17])
def test_binary_inference_is_onnx_runtimes_bit_for_bit(
    app: App, ask: Ask, models_dir: Path, batch: int
) -> None:
    x = np.random.default_rng(batch).standard_normal((batch, 4)).astype(np.float32)
    parameters = {"binary_data_size": x.nbytes}
    item = {"name": "x", "datatype": "FP32", "shape": [batch, 4], "parameters": parameters}
    head = orjson.dumps({"inputs": [item], "parameters": {"binary_data_output": True}})
    sent = {JSON_LENGTH: str(len(head))}
    status, headers, body = ask(app, "POST", "/v2/models/digits/infer", head + x.tobytes(), sent)
    session = onnxruntime.InferenceSession(models_dir / "digits" / "2" / "model.onnx")
    (y,) = session.run(None, {"x": x})
    length = int(headers[JSON_LENGTH.lower()])
    assert (status, headers["content-type"]) == (200, "application/octet-stream")
    assert orjson.loads(body[:length])["outputs"][0]["shape"] == [batch, 2]
    assert body[length:] == y.tobytes()


@pytest.mark.parametrize(
    ("request_line", "status", "message"),
    [
        ("GET /", 404, "no such path: /"),
        ("GET /v2/models", 404, "no such path: /v2/models"),
        ("GET /v2/models//ready", 404, "no such path"),
        ("GET /v2/models/digits/versions//ready", 404, "no such path"),
        ("GET /v2/models/digits/other", 404, "no such path"),
        ("GET /v2/models/other", 404, "no model 'other'"),
        ("POST /v2/models/other/infer", 404, "no model 'other'"),
        ("GET /v2/models/digits/versions/9", 404, "model 'digits' has no version '9'"),
        ("GET /v2/models/broken/ready", 503, "model 'broken' failed: "),
        ("POST /v2/models/broken/infer", 503, "model 'broken' failed: "),
        ("GET /v2/models/digits/infer", 405, "GET is not allowed here"),
        ("PUT /v2", 405, "PUT is not allowed here"),
    ],
)
def test_what_is_not_there_is_refused_with_the_right_status(
    app: App, ask: Ask, request_line: str, status: int, message: str
) -> None:
    got, headers, body = ask(app, *request_line.split())
    document = orjson.loads(body)
    assert (got, list(document)) == (status, ["error"])
    assert message in document["error"]
    assert ("retry-after" in headers) == (status == 503)


@pytest.mark.parametrize(
    ("body", "headers", "status", "message"),
    [
        (b"{", {}, 400, "not JSON"),
        ({"inputs": []}, {}, 400, "model 'digits' needs input 'x' too"),
        ({"inputs": [X | {"datatype": "INT64"}]}, {}, 400, "input 'x' is FP32, not INT64"),
        ({"inputs": [X | {"shape": [1, 5]}]}, {}, 400, "input 'x' has shape [-1, 4], not [1, 5]"),
        ({"inputs": [X | {"data": [1.0]}]}, {}, 400, "input 'x' has 1 elements"),
        (b"{}", {JSON_LENGTH: "-1"}, 400, "Inference-Header-Content-Length is not a number"),
        (b"{}", {JSON_LENGTH: "9" * 19}, 400, "Inference-Header-Content-Length is not a number"),
        (b"{}", {JSON_LENGTH: "3"}, 400, "but the body has 2 bytes"),
        (b"", {"Content-Encoding": "br"}, 415, "Content-Encoding 'br' is none of"),
        (b"{}", {"Content-Encoding": "gzip"}, 400, "not gzip data"),
    ],
)
def test_a_request_that_cant_be_run_is_refused_with_the_reason(
    app: App, ask: Ask, body: Any, headers: dict[str, str], status: int, message: str
) -> None:
    got, _, content = ask(app, "POST", "/v2/models/digits/infer", body, headers)
    document = orjson.loads(content)
    assert (got, list(document)) == (status, ["error"])
    assert message in document["error"]


def test_a_method_that_is_not_allowed_names_those_that_are(app: App, ask: Ask) -> None:
    assert ask(app, "DELETE", "/v2/models/digits/infer")[1]["allow"] == "POST"
    assert ask(app, "POST", "/v2")[1]["allow"] == "GET"


def test_nothing_is_ready_before_the_first_sync(application: Application, ask: Ask) -> None:
    status, headers, body = ask(application(sync=False), "GET", "/v2/health/ready")
    assert (status, headers["retry-after"], body) == (503, "1", b'{"ready":false}')


def test_a_body_at_the_limit_is_read_and_one_byte_more_is_not(
    publish: Publish, application: Application, ask: Ask, digits: onnx.ModelProto
) -> None:
    publish("digits", 1, digits)
    body = orjson.dumps({"inputs": [X]})
    path = "/v2/models/digits/infer"
    assert ask(application(body_bytes=len(body)), "POST", path, body)[0] == 200
    status, _, content = ask(application(body_bytes=len(body) - 1), "POST", path, body)
    assert (status, orjson.loads(content)) == (
        413,
        {"error": f"the request is larger than {len(body) - 1} bytes"},
    )


def test_a_declared_length_over_the_limit_is_refused_unread(
    application: Application, ask: Ask
) -> None:
    declared = {"Content-Length": "101"}
    assert ask(application(body_bytes=100), "GET", "/v2", b"", declared)[0] == 413


def _drive(app: App, messages: list[dict[str, Any]]) -> list[MutableMapping[str, Any]]:
    sent: list[MutableMapping[str, Any]] = []

    async def receive() -> MutableMapping[str, Any]:
        return messages.pop(0)

    async def send(message: MutableMapping[str, Any]) -> None:
        sent.append(message)

    path = "/v2/models/digits/infer"
    scope = {"type": "http", "method": "POST", "path": path, "headers": []}
    asyncio.run(app(scope, receive, send))
    return sent


def test_a_body_in_pieces_is_put_together(app: App) -> None:
    body = orjson.dumps({"inputs": [X]})
    pieces: list[dict[str, Any]] = [
        {"type": "http.request", "body": body[:10], "more_body": True},
        {"type": "http.request", "body": body[10:]},
    ]
    assert _drive(app, pieces)[0]["status"] == 200


def test_a_client_that_went_away_gets_no_answer(app: App) -> None:
    pieces: list[dict[str, Any]] = [
        {"type": "http.request", "body": b"{", "more_body": True},
        {"type": "http.disconnect"},
    ]
    assert _drive(app, pieces) == []


def test_what_nobody_expected_is_a_500_that_tells_nothing(
    app: App, ask: Ask, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def explode(body: bytes, length: int | None) -> None:
        raise ZeroDivisionError("secret")

    monkeypatch.setattr("tieshare_service.inference.wire.parse", explode)
    with caplog.at_level(logging.ERROR):
        status, _, body = ask(app, "POST", "/v2/models/digits/infer", {"inputs": [X]})
    assert (status, body) == (500, b'{"error":"internal error"}')
    assert "secret" in caplog.text


def test_metrics_count_what_was_answered(app: App, ask: Ask) -> None:
    ask(app, "POST", "/v2/models/digits/infer", {"inputs": [X]})
    ask(app, "POST", "/v2/models/digits/versions/1/infer", {"inputs": []})
    ask(app, "POST", "/v2/models/nobody/infer", {"inputs": []})
    status, headers, body = ask(app, "GET", "/metrics")
    text = body.decode()
    assert (status, headers["content-type"]) == (200, "text/plain; version=0.0.4; charset=utf-8")
    assert "tieshare_ready_versions 2\n" in text
    assert 'tieshare_http_answers_total{status="200"} 1\n' in text
    assert 'tieshare_inference_seconds_count{model="digits",version="2"} 1\n' in text
    failed = 'nv_inference_request_failure{model="digits",version="1",reason="OTHER"} 1\n'
    assert failed in text
    assert "nobody" not in text
