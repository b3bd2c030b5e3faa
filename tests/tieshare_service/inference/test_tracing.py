"""The spans of requests: whose they are, what is in them, where they go."""

import asyncio
import sys
import threading
from collections.abc import Callable, Iterator, MutableMapping, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import onnx
import pytest
import tritonclient.grpc as triton
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF
from opentelemetry.trace import SpanKind, StatusCode
from tritonclient.utils import InferenceServerException

from tieshare_service.inference import __main__ as command
from tieshare_service.inference.app import App, Extras, create_app
from tieshare_service.inference.tracing import Tracing
from tieshare_service.settings import Settings

Publish = Callable[[str, int, onnx.ModelProto | bytes], Path]
Serve = Callable[..., str]

TRACE = 0x0AF7651916CD43DD8448EB211C80319C
PARENT = 0xB7AD6B7169203331
HEADERS = {"traceparent": f"00-{TRACE:032x}-{PARENT:016x}-01", "tracestate": "vendor=42"}
REQUEST = {"inputs": [{"name": "x", "datatype": "FP32", "shape": [3, 4], "data": [0.5] * 12}]}
PARTS = ["compute_input", "queue", "compute_infer", "compute_output"]


@pytest.fixture
def exporter() -> InMemorySpanExporter:
    return InMemorySpanExporter()


@pytest.fixture
def tracing(exporter: InMemorySpanExporter) -> Tracing:
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    return Tracing(provider)


@pytest.fixture
def url(publish: Publish, digits: onnx.ModelProto, serve: Serve, tracing: Tracing) -> str:
    """Of a server of version 7 of the model digits."""
    publish("digits", 7, digits)
    return serve(extras=Extras(tracing))


@pytest.fixture
def client(
    publish: Publish, digits: onnx.ModelProto, serve: Serve, tracing: Tracing, rpc_address: str
) -> Iterator[Any]:
    """Of such a server, over gRPC."""
    publish("digits", 7, digits)
    serve(extras=Extras(tracing), rpc_address=rpc_address)
    with triton.InferenceServerClient(rpc_address) as connected:
        yield connected


def _whole(spans: Sequence[ReadableSpan]) -> ReadableSpan:
    """The one span of a request."""
    (found,) = [span for span in spans if span.name == "infer"]
    return found


def _checked_parent(span: ReadableSpan) -> None:
    assert span.parent is not None
    assert (span.parent.trace_id, span.parent.span_id) == (TRACE, PARENT)
    assert span.parent.is_remote
    assert span.context.trace_id == TRACE
    assert span.context.trace_state.get("vendor") == "42"


def test_the_trace_settings_say_how_it_is_traced(
    serve: Serve, tracing: Tracing, rpc_address: str
) -> None:
    url = serve(extras=Extras(tracing), rpc_address=rpc_address)
    known = httpx.get(f"{url}/v2/trace/setting").json()
    assert known["trace_mode"] == "opentelemetry"
    assert known["trace_level"] == ["TIMESTAMPS"]
    with triton.InferenceServerClient(rpc_address) as client:
        settings = client.get_trace_settings().settings
    assert {name: list(value.value) for name, value in settings.items()} == {
        name: value if isinstance(value, list) else [value] for name, value in known.items()
    }


def test_a_request_over_http_is_a_part_of_its_callers_trace(
    url: str, exporter: InMemorySpanExporter
) -> None:
    answer = httpx.post(f"{url}/v2/models/digits/infer", json=REQUEST, headers=HEADERS)
    assert answer.status_code == 200
    span = _whole(exporter.get_finished_spans())
    _checked_parent(span)
    assert span.kind is SpanKind.SERVER
    assert span.status.status_code is StatusCode.UNSET
    assert dict(span.attributes or {}) == {
        "http.request.method": "POST",
        "http.route": "/v2/models/{model}/infer",
        "tieshare.model.name": "digits",
        "tieshare.model.version": "7",
        "tieshare.rows": 3,
        "tieshare.run.rows": 3,
    }


def test_a_request_over_grpc_is_a_part_of_its_callers_trace(
    client: Any, exporter: InMemorySpanExporter
) -> None:
    x = triton.InferInput("x", [2, 4], "FP32").set_data_from_numpy(np.zeros((2, 4), np.float32))
    client.infer("digits", [x], headers=HEADERS)
    single = _whole(exporter.get_finished_spans())
    exporter.clear()
    heard = threading.Event()
    client.start_stream(lambda result, error: heard.set(), headers=HEADERS)
    client.async_stream_infer("digits", [x])
    assert heard.wait(20)
    client.stop_stream()
    streamed = _whole(exporter.get_finished_spans())
    for span, method in ((single, "ModelInfer"), (streamed, "ModelStreamInfer")):
        _checked_parent(span)
        assert span.kind is SpanKind.SERVER
        assert dict(span.attributes or {}) == {
            "rpc.system.name": "grpc",
            "rpc.method": f"inference.GRPCInferenceService/{method}",
            "tieshare.model.name": "digits",
            "tieshare.model.version": "7",
            "tieshare.rows": 2,
            "tieshare.run.rows": 2,
        }


def test_the_parts_of_a_request_follow_each_other_inside_it(
    url: str, exporter: InMemorySpanExporter
) -> None:
    httpx.post(f"{url}/v2/models/digits/infer", json=REQUEST)
    *parts, whole = exporter.get_finished_spans()
    assert whole.parent is None
    assert [part.name for part in parts] == PARTS
    assert {part.parent and part.parent.span_id for part in parts} == {whole.context.span_id}
    edges = [whole.start_time or 0]
    for part in parts:
        edges += [part.start_time or 0, part.end_time or 0]
    edges.append(whole.end_time or 0)
    assert edges == sorted(edges)
    assert edges[2:-2:2] == edges[3:-1:2]
    counted = httpx.get(f"{url}/v2/models/digits/stats").json()["model_stats"][0]
    stats = counted["inference_stats"]
    for part in parts:
        assert (part.end_time or 0) - (part.start_time or 0) == stats[part.name]["ns"]


@pytest.mark.parametrize(
    ("path", "request_body", "kind", "message"),
    [
        ("digits/versions/7", {"inputs": []}, "inference-bad-tensor", "needs input 'x' too"),
        ("digits", {"outputs": []}, "inference-bad-body", "inputs"),
        ("other", REQUEST, "inference-model-not-found", "no model 'other'"),
    ],
)
def test_a_refused_request_has_an_error(
    url: str,
    exporter: InMemorySpanExporter,
    path: str,
    request_body: dict[str, Any],
    kind: str,
    message: str,
) -> None:
    answer = httpx.post(f"{url}/v2/models/{path}/infer", json=request_body, headers=HEADERS)
    assert answer.status_code in {400, 404}
    (span,) = exporter.get_finished_spans()
    _checked_parent(span)
    assert span.status.status_code is StatusCode.ERROR
    assert message in (span.status.description or "")
    attributes = dict(span.attributes or {})
    assert attributes["error.type"] == kind
    assert attributes["tieshare.model.name"] == path.partition("/")[0]
    assert attributes.get("tieshare.model.version") == ("7" if "versions" in path else None)


def test_a_refused_call_has_an_error(client: Any, exporter: InMemorySpanExporter) -> None:
    with pytest.raises(InferenceServerException, match="no model 'other'"):
        client.infer("other", [], headers=HEADERS)
    (span,) = exporter.get_finished_spans()
    _checked_parent(span)
    assert span.status.status_code is StatusCode.ERROR


def test_a_fault_of_the_program_ends_the_span_too(
    tracing: Tracing, exporter: InMemorySpanExporter
) -> None:
    with pytest.raises(ZeroDivisionError), tracing.over_http({}, "/"):
        1 / 0  # noqa: B018
    (span,) = exporter.get_finished_spans()
    assert span.status.status_code is StatusCode.ERROR
    assert span.status.description is None
    assert (span.attributes or {})["error.type"] == "ZeroDivisionError"


@pytest.mark.parametrize("header", ["", "00-0-0-01", "\xff" * 55, f"00-{0:032x}-{1:016x}-01"])
def test_a_parent_that_is_none_begins_a_new_trace(
    tracing: Tracing, exporter: InMemorySpanExporter, header: str
) -> None:
    with tracing.over_http({b"traceparent": header.encode("latin-1")}, "/"):
        pass
    assert _whole(exporter.get_finished_spans()).parent is None


def test_what_is_not_sampled_gives_no_span(
    publish: Publish, digits: onnx.ModelProto, serve: Serve, exporter: InMemorySpanExporter
) -> None:
    publish("digits", 1, digits)
    provider = TracerProvider(ALWAYS_OFF, shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    url = serve(extras=Extras(Tracing(provider)))
    assert httpx.post(f"{url}/v2/models/digits/infer", json=REQUEST).status_code == 200
    assert exporter.get_finished_spans() == ()


def test_only_inference_is_traced(url: str, exporter: InMemorySpanExporter) -> None:
    for path in ("/v2", "/metrics", "/v2/models/digits", "/v2/models/digits/stats"):
        assert httpx.get(url + path, headers=HEADERS).status_code == 200
    assert exporter.get_finished_spans() == ()


def test_nothing_is_traced_unless_asked_for(
    publish: Publish, digits: onnx.ModelProto, serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert Settings().tracing is False
    monkeypatch.setattr(Tracing, "__init__", None)
    monkeypatch.setattr("tieshare_service.inference.tracing.RequestSpan", None)
    publish("digits", 1, digits)
    url = serve()
    answer = httpx.post(f"{url}/v2/models/digits/infer", json=REQUEST, headers=HEADERS)
    assert answer.status_code == 200


def _live(app: App) -> None:
    """Its whole lifespan."""

    async def receive() -> MutableMapping[str, Any]:
        return {}

    async def send(message: MutableMapping[str, Any]) -> None:
        pass

    asyncio.run(app({"type": "lifespan"}, receive, send))


def test_spans_that_wait_are_sent_when_the_application_ends(
    models_dir: Path, exporter: InMemorySpanExporter
) -> None:
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(BatchSpanProcessor(exporter, schedule_delay_millis=1e6))
    tracing = Tracing(provider)
    with tracing.over_http({}, "/"):
        pass
    assert exporter.get_finished_spans() == ()
    _live(create_app(models_dir, extras=Extras(tracing)))
    assert [span.name for span in exporter.get_finished_spans()] == ["infer"]


@contextmanager
def _collector() -> Iterator[tuple[str, list[tuple[str, dict[str, str], bytes]]]]:
    """Its address, and path, headers and body of what it has been sent."""
    received: list[tuple[str, dict[str, str], bytes]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            received.append((self.path, dict(self.headers), body))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_words: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=[0.01])
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}", received
        server.shutdown()
        thread.join()


@pytest.mark.parametrize("service", [None, "digits-of-bills"])
def test_the_environment_says_where_spans_go(
    monkeypatch: pytest.MonkeyPatch, service: str | None
) -> None:
    if service:
        monkeypatch.setenv("OTEL_SERVICE_NAME", service)
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", "x-key=secret")
    with _collector() as (url, received):
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", url)
        tracing = Tracing.from_environ()
        with tracing.over_http({}, "/"):
            pass
        tracing.close()
    ((path, headers, body),) = received
    assert (path, headers["x-key"]) == ("/v1/traces", "secret")
    (sent,) = ExportTraceServiceRequest.FromString(body).resource_spans
    names = {one.key: one.value.string_value for one in sent.resource.attributes}
    assert names["service.name"] == (service or "tieshare")
    assert [span.name for scope in sent.scope_spans for span in scope.spans] == ["infer"]


def test_without_the_extra_the_command_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, models_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "opentelemetry.exporter.otlp.proto.http.trace_exporter", None)
    monkeypatch.delitem(sys.modules, "tieshare_service.inference.tracing")
    monkeypatch.setattr(sys, "argv", ["inference", "--models", str(models_dir), "--tracing"])
    with pytest.raises(SystemExit) as ended:
        command.main()
    assert ended.value.code == 2
    assert "pip install 'tieshare[tracing]'" in capsys.readouterr().err
