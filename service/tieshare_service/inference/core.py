"""What both fronts, HTTP and gRPC, work on."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Collection, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, TypeVar

from tieshare_service.inference.data_plane import DataPlane, Gone
from tieshare_service.inference.errors import (
    BadBody,
    ClientGone,
    Expired,
    InferenceError,
    Overloaded,
    RunFailed,
)
from tieshare_service.inference.metrics import Metrics
from tieshare_service.inference.model import Model
from tieshare_service.inference.repository import Repository
from tieshare_service.inference.session import Memory
from tieshare_service.inference.siblings import Siblings
from tieshare_service.inference.statistics import Reason, Times
from tieshare_service.inference.types import InferHeader, InferRequest, InferResponse
from tieshare_service.inference.watcher import Watcher

if TYPE_CHECKING:  # an extra that may not be installed
    from tieshare_service.inference.tracing import RequestSpan, Tracing

Answer = TypeVar("Answer")

_REASONS: Mapping[type[InferenceError], Reason] = {
    Overloaded: "REJECTED",
    Expired: "REJECTED",
    ClientGone: "CANCELED",
    RunFailed: "BACKEND",
}


@dataclass(frozen=True)
class Core:
    """The served models, and what is asked of them; ``tracing`` where requests have spans."""

    repository: Repository
    watcher: Watcher
    plane: DataPlane
    metrics: Metrics
    memory: Memory = field(default_factory=Memory)
    siblings: Siblings = field(default_factory=Siblings)
    tracing: "Tracing | None" = None

    def infer(
        self,
        name: str,
        version: str | None,
        parse: Callable[[Model], InferRequest],
        encode: Callable[[InferResponse], Answer],
        gone: Gone | None = None,
        span: "RequestSpan | None" = None,
    ) -> Awaitable[Answer]:
        """One request, from the form that it came in to the form of its answer, counted.

        ``gone`` ends when nobody waits for the answer any more. Raises an InferenceError.
        """
        if span is None:
            return self._infer(name, version, parse, encode, gone)
        return self._spanned(name, version, parse, encode, gone, span)

    async def _spanned(
        self,
        name: str,
        version: str | None,
        parse: Callable[[Model], InferRequest],
        encode: Callable[[InferResponse], Answer],
        gone: Gone | None,
        span: "RequestSpan",
    ) -> Answer:
        with span:
            span.asked(name, version)
            return await self._infer(name, version, parse, encode, gone, span)

    async def _infer(
        self,
        name: str,
        version: str | None,
        parse: Callable[[Model], InferRequest],
        encode: Callable[[InferResponse], Answer],
        gone: Gone | None,
        span: "RequestSpan | None" = None,
    ) -> Answer:
        arrived = time.perf_counter_ns()
        model = self.repository.get(name, version)
        statistics = self.metrics.of(model.name, model.version)
        try:
            request = parse(model)
            parsed = time.perf_counter_ns()
            response = await self.plane.infer(model, request, gone)
            answer = encode(response)
        except InferenceError as error:
            statistics.failed(_REASONS.get(type(error), "OTHER"), time.perf_counter_ns() - arrived)
            raise
        ran = response.ran
        times = Times(
            queue=ran.began - parsed,
            input=parsed - arrived,
            infer=ran.ended - ran.began,
            output=time.perf_counter_ns() - ran.ended,
            rows=_rows(request.header),
            run_rows=ran.rows,
            first=ran.first,
        )
        statistics.succeeded(times)
        if span is not None:
            span.answered(model.version, arrived, times)
        return answer

    async def counted(self) -> Metrics:
        """By all processes that share the endpoint."""
        others = await self.siblings.told()
        return self.metrics.joined(others) if others else self.metrics

    async def load(self, name: str, parameters: Collection[str]) -> None:
        """Load the versions in the folder again. Raises ModelNotFound, NotLoaded.

        BadBody: by ``parameters`` a client would have it load something else.
        """
        if parameters:
            raise BadBody("a model is served as it lies in the folder: load takes no parameters")
        change = partial(self.repository.load, name)
        await asyncio.wrap_future(self.watcher.ask(change))

    async def unload(self, name: str) -> None:
        """Serve no version of a model until it is loaded. Raises ModelNotFound."""
        change = partial(self.repository.unload, name)
        await asyncio.wrap_future(self.watcher.ask(change))


def _rows(header: InferHeader) -> int:
    """Samples, as far as shapes tell."""
    shape = header.inputs[0].shape if header.inputs else ()
    return shape[0] if shape else 1
