"""Requests that are answered without a task: when they are, and that nobody can tell."""

import gzip
import socket
import struct
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import onnx
import orjson
import pytest

from tieshare_service.inference.app import App
from tieshare_service.inference.batching import INLINE_S
from tieshare_service.inference.pace import Pace

Publish = Callable[[str, int, onnx.ModelProto | bytes], Path]
Serve = Callable[..., str]

PATH = "/v2/models/digits/infer"
INPUT = {"name": "x", "datatype": "FP32", "shape": [1, 4], "data": [0.5, -1.0, 2.0, 0.25]}
JSON = orjson.dumps({"id": "7", "inputs": [INPUT]})


def _raw(body: bytes = JSON, path: str = PATH, version: str = "1.1", *headers: str) -> bytes:
    lines = [f"POST {path} HTTP/{version}", "Host: x", f"Content-Length: {len(body)}", *headers]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def _told(url: str, sent: bytes, answers: int = 1) -> list[tuple[int, dict[str, str], bytes]]:
    """Status, headers and body of each answer."""
    host, port = url.removeprefix("http://").split(":")
    found = []
    with socket.create_connection((host, int(port)), 10) as wire:
        wire.sendall(sent)
        reader = wire.makefile("rb")
        for _ in range(answers):
            status = int(reader.readline().split()[1])
            headers = {}
            while (line := reader.readline().strip()) != b"":
                name, _, value = line.decode().partition(": ")
                headers[name] = value
            found.append((status, headers, reader.read(int(headers["content-length"]))))
    return found


@pytest.fixture
def usual(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The paths of the requests that the application got."""
    seen: list[str] = []
    call = App.__call__

    async def noted(self: App, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http" and scope["path"].endswith("/infer"):
            seen.append(scope["path"])
        await call(self, scope, receive, send)

    monkeypatch.setattr(App, "__call__", noted)
    return seen


def test_a_short_request_is_answered_without_the_application(
    publish: Publish, serve: Serve, digits: onnx.ModelProto, usual: list[str]
) -> None:
    publish("digits", 3, digits)
    url = serve()
    ((status, headers, body),) = _told(url, _raw())
    assert usual == []
    assert status == 200
    assert headers["content-type"] == "application/json"
    assert "date" in headers
    document = orjson.loads(body)
    assert (document["id"], document["model_version"]) == ("7", "3")
    assert document["outputs"][0]["data"] == pytest.approx([-1.65, 5.425], abs=1e-5)
    metrics = httpx.get(f"{url}/metrics").text
    assert 'nv_inference_request_success{model="digits",version="3"} 1' in metrics


def test_both_ways_give_the_same_answer(
    publish: Publish, serve: Serve, digits: onnx.ModelProto, usual: list[str]
) -> None:
    publish("digits", 1, digits)
    url = serve()
    paths = PATH, "/v2/models/digits/versions/1/infer"
    quick = [_told(url, _raw(path=path))[0] for path in paths]
    ((status, headers, body),) = _told(url, _raw(JSON, PATH, "1.1", "Connection: close"))
    assert usual == [PATH]
    for one_status, one_headers, one_body in quick:
        assert (one_status, one_body) == (status, body)
        assert headers == one_headers | {"date": headers["date"], "connection": "close"}


@pytest.mark.parametrize(
    ("body", "status"),
    [(b"{", 400), (orjson.dumps({"inputs": []}), 400), (JSON.replace(b"0.5", b"1e99"), 400)],
)
def test_a_request_to_be_refused_is_refused_and_counted_once(
    publish: Publish,
    serve: Serve,
    digits: onnx.ModelProto,
    usual: list[str],
    body: bytes,
    status: int,
) -> None:
    publish("digits", 1, digits)
    url = serve()
    ((found, _, answer),) = _told(url, _raw(body))
    assert (found, list(orjson.loads(answer))) == (status, ["error"])
    assert usual == [PATH]
    failures = 'nv_inference_request_failure{model="digits",version="1",reason="OTHER"} 1'
    assert failures in httpx.get(f"{url}/metrics").text
    assert _told(url, _raw(JSON, "/v2/models/other/infer"))[0][0] == 404


def test_who_goes_away_before_the_run_is_counted(
    publish: Publish, serve: Serve, digits: onnx.ModelProto
) -> None:
    publish("digits", 1, digits)
    url = serve()
    host, port = url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), 10) as wire:
        wire.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        wire.sendall(_raw())
    ways = 'request_success{model="digits",version="1"} 1', 'reason="CANCELED"} 1'
    while not any(way in httpx.get(f"{url}/metrics").text for way in ways):
        time.sleep(0.01)


def test_a_run_that_fails_is_answered_and_counted(
    publish: Publish, serve: Serve, usual: list[str]
) -> None:
    gather = """
    <ir_version: 9, opset_import: ["" : 17]>
    digits (float[n, 4] x, int64[1] i) => (float[m, 4] y) { y = Gather (x, i) }
    """
    publish("digits", 1, onnx.parser.parse_model(gather))
    url = serve()
    index = {"name": "i", "datatype": "INT64", "shape": [1], "data": [3]}
    ((status, _, answer),) = _told(url, _raw(orjson.dumps({"inputs": [INPUT, index]})))
    assert status == 400
    assert "could not run on these inputs" in orjson.loads(answer)["error"]
    assert usual == []
    failures = 'nv_inference_request_failure{model="digits",version="1",reason="BACKEND"} 1'
    assert failures in httpx.get(f"{url}/metrics").text


def test_pipelined_requests_are_answered_in_their_order(
    publish: Publish, serve: Serve, digits: onnx.ModelProto, usual: list[str]
) -> None:
    publish("digits", 1, digits)
    sent = [orjson.dumps({"id": str(place), "inputs": [INPUT]}) for place in range(20)]
    answers = _told(serve(), b"".join(map(_raw, sent)), len(sent))
    assert [orjson.loads(body)["id"] for _, _, body in answers] == list(map(str, range(20)))
    assert len(usual) < len(sent)


@pytest.mark.parametrize(
    "sent",
    [
        _raw(JSON, PATH, "1.0"),
        _raw(JSON, PATH, "1.1", "Connection: close"),
        _raw(gzip.compress(JSON), PATH, "1.1", "Content-Encoding: gzip"),
        _raw(JSON + b" " * (1 << 20)),
        f"POST {PATH} HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n".encode()
        + b"%x\r\n%s\r\n0\r\n\r\n" % (len(JSON), JSON),
    ],
)
def test_what_is_not_simple_goes_the_usual_way(
    publish: Publish, serve: Serve, digits: onnx.ModelProto, usual: list[str], sent: bytes
) -> None:
    publish("digits", 1, digits)
    ((status, _, body),) = _told(serve(), sent)
    assert (status, orjson.loads(body)["id"]) == (200, "7")
    assert usual == [PATH]


def test_a_long_run_goes_the_usual_way(
    publish: Publish,
    serve: Serve,
    digits: onnx.ModelProto,
    usual: list[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    publish("digits", 1, digits)
    monkeypatch.setattr(Pace, "expected", lambda *_: 2 * INLINE_S)
    assert _told(serve(), _raw())[0][0] == 200
    assert usual == [PATH]


def test_a_long_answer_is_compressed_where_that_is_accepted(
    publish: Publish,
    serve: Serve,
    digits: onnx.ModelProto,
    usual: list[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    publish("digits", 1, digits)
    monkeypatch.setattr(Pace, "expected", lambda *_: 0.0)
    rows = INPUT | {"shape": [500, 4], "data": [0.5] * 2000}
    body = orjson.dumps({"inputs": [rows]})
    url = serve()
    ((_, plain_headers, plain),) = _told(url, _raw(body))
    ((_, headers, packed),) = _told(url, _raw(body, PATH, "1.1", "Accept-Encoding: gzip"))
    ((_, short_headers, _),) = _told(url, _raw(JSON, PATH, "1.1", "Accept-Encoding: gzip"))
    assert usual == []
    assert headers["content-encoding"] == "gzip"
    assert gzip.decompress(packed) == plain
    assert "content-encoding" not in plain_headers | short_headers


def test_clients_that_go_away_leave_nothing_behind(
    publish: Publish, serve: Serve, digits: onnx.ModelProto
) -> None:
    publish("digits", 1, digits)
    url = serve()
    host, port = url.removeprefix("http://").split(":")
    for sent in (_raw(), _raw()[:-3], _raw() + _raw()[:50], b"nonsense\r\n\r\n"):
        with socket.create_connection((host, int(port)), 10) as wire:
            wire.sendall(sent)
    time.sleep(0.1)
    assert _told(url, _raw())[0][0] == 200
