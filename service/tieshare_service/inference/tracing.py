"""One span a request and one for each part of it, as OpenTelemetry has them.

Where spans go and which are kept is read from OpenTelemetry's own variables, such as
OTEL_EXPORTER_OTLP_ENDPOINT and OTEL_TRACES_SAMPLER.
"""

import threading
import time
from collections.abc import Iterable, Mapping
from types import TracebackType
from typing import Self

from tieshare_service.errors import ServiceError, SettingsError
from tieshare_service.inference.statistics import Times

try:
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.resources import SERVICE_NAME, OTELResourceDetector, Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor
    from opentelemetry.trace import SpanKind, StatusCode, Tracer, set_span_in_context
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
except ImportError as error:
    raise SettingsError(
        "traces need OpenTelemetry: install it with  pip install 'tieshare[tracing]'",
        where="tracing",
    ) from error

_PARENT = ("traceparent", "tracestate")
_PROPAGATOR = TraceContextTextMapPropagator()
# a collector that does not answer must not keep the process from ending
_FLUSH_S = 4.0


class Tracing:
    """Makes the spans of a process, until ``close``."""

    def __init__(self, provider: TracerProvider) -> None:
        self._provider = provider
        self._tracer = provider.get_tracer("tieshare")

    @classmethod
    def from_environ(cls) -> Self:
        """Sends spans by OTLP over HTTP, as the environment says."""
        named = Resource.create({SERVICE_NAME: "tieshare"})
        resource = named.merge(OTELResourceDetector().detect())
        provider = TracerProvider(resource=resource, shutdown_on_exit=False)
        provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
        return cls(provider)

    def over_http(self, headers: Mapping[bytes, bytes], route: str) -> "RequestSpan":
        """Of a request with these headers, by lower-case name."""
        parent = {
            name: headers[name.encode()].decode("latin-1")
            for name in _PARENT
            if name.encode() in headers
        }
        attributes = {"http.request.method": "POST", "http.route": route}
        return RequestSpan(self._tracer, parent, attributes)

    def over_grpc(
        self, metadata: Iterable[tuple[str, str | bytes]] | None, method: str
    ) -> "RequestSpan":
        """Of a call of SERVICE/METHOD with this metadata."""
        parent = {name: str(value) for name, value in metadata or () if name in _PARENT}
        attributes = {"rpc.system.name": "grpc", "rpc.method": method}
        return RequestSpan(self._tracer, parent, attributes)

    def close(self) -> None:
        """Send what has not been sent; what takes longer than a moment is lost."""
        closing = threading.Thread(target=self._provider.shutdown, daemon=True)
        closing.start()
        closing.join(_FLUSH_S)


class RequestSpan:
    """The span ``infer``, from ``with`` to its end; an exception is its error.

    ``parent``: the headers of W3C Trace Context that came with the request.
    """

    def __init__(
        self, tracer: Tracer, parent: Mapping[str, str], attributes: Mapping[str, str]
    ) -> None:
        self._tracer = tracer
        self._context = _PROPAGATOR.extract(parent)
        self._attributes = attributes
        # the clocks are compared once, so that parts lie within the whole to the nanosecond
        self._epoch = time.time_ns() - time.perf_counter_ns()

    def __enter__(self) -> Self:
        self._span = self._tracer.start_span(
            "infer", self._context, SpanKind.SERVER, self._attributes, start_time=self._now()
        )
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        _traceback: TracebackType | None,
    ) -> None:
        if isinstance(error, ServiceError):
            self._failed(error.type, error.message)
        elif kind is not None:
            self._failed(kind.__qualname__, None)
        self._span.end(self._now())

    def asked(self, model: str, version: str | None) -> None:
        """For this model, maybe for one version of it."""
        self._span.set_attribute("tieshare.model.name", model)
        if version is not None:
            self._span.set_attribute("tieshare.model.version", version)

    def answered(self, version: int, arrived: int, times: Times) -> None:
        """By this version; ``arrived`` on perf_counter_ns."""
        if not self._span.is_recording():
            return
        self._span.set_attributes(
            {
                "tieshare.model.version": str(version),
                "tieshare.rows": times.rows,
                "tieshare.run.rows": times.run_rows,
            }
        )
        inside = set_span_in_context(self._span)
        began = arrived + self._epoch
        for name, ns in (
            ("compute_input", times.input),
            ("queue", times.queue),
            ("compute_infer", times.infer),
            ("compute_output", times.output),
        ):
            part = self._tracer.start_span(name, inside, start_time=began)
            began += ns
            part.end(began)

    def _failed(self, kind: str, message: str | None) -> None:
        self._span.set_attribute("error.type", kind)
        self._span.set_status(StatusCode.ERROR, message)

    def _now(self) -> int:
        return time.perf_counter_ns() + self._epoch
