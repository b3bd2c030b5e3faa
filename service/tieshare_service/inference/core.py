"""What both fronts, HTTP and gRPC, work on."""

import asyncio
import time
from collections.abc import Callable, Collection, Mapping
from contextlib import nullcontext
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, TypeVar

from tieshare_service.access import Group
from tieshare_service.inference.batching import Waiter
from tieshare_service.inference.data_plane import DataPlane, Gone, Plan
from tieshare_service.inference.errors import (
    BadBody,
    ClientGone,
    Expired,
    InferenceError,
    ModelNotFound,
    Overloaded,
    RunFailed,
)
from tieshare_service.inference.metrics import Metrics
from tieshare_service.inference.model import Model
from tieshare_service.inference.repository import Repository
from tieshare_service.inference.session import Memory
from tieshare_service.inference.siblings import Siblings
from tieshare_service.inference.statistics import Reason, Times
from tieshare_service.inference.types import InferHeader, InferRequest, InferResponse, Ran
from tieshare_service.inference.watcher import Watcher

if TYPE_CHECKING:  # what most processes need not load, or can't
    from tieshare_service.inference.access import Access
    from tieshare_service.inference.tracing import RequestSpan, Tracing
    from tieshare_service.keys import Key

Answer = TypeVar("Answer")

_REASONS: Mapping[type[InferenceError], Reason] = {
    Overloaded: "REJECTED",
    Expired: "REJECTED",
    ClientGone: "CANCELED",
    RunFailed: "BACKEND",
}


@dataclass(slots=True)
class Begun:
    """A request that runs now. ``arrived``, ``parsed``: on perf_counter_ns."""

    model: Model
    header: InferHeader
    arrived: int
    parsed: int
    plan: Plan


@dataclass(frozen=True)
class Core:
    """The served models, and what is asked of them.

    ``tracing``  where requests have spans.
    ``access``   where they need keys.
    """

    repository: Repository
    watcher: Watcher
    plane: DataPlane
    metrics: Metrics
    memory: Memory = field(default_factory=Memory)
    siblings: Siblings = field(default_factory=Siblings)
    tracing: "Tracing | None" = None
    access: "Access | None" = None

    def allow(self, group: Group, authorization: bytes | None, served: str = "") -> "Key | None":
        """Whose request it is; None where no key is needed.

        Raises NoKey, NotAllowed, TooManyRequests; ModelNotFound where the model is a tenant's that
        the key does not see.
        """
        key = self.known(group, authorization, served)
        if self.access is not None and key is not None:
            self.access.guard.count(key)
        return key

    def known(self, group: Group, authorization: bytes | None, served: str = "") -> "Key | None":
        """As ``allow``, of a request that is not counted yet."""
        if self.access is None:
            return None
        key = self.access.guard.check(group, authorization)
        if served and key is not None and not key.scope.asks(served):
            raise ModelNotFound(f"no model {served!r}")
        return key

    async def infer(
        self,
        name: str,
        version: str | None,
        parse: Callable[[Model], InferRequest],
        encode: Callable[[InferResponse], Answer],
        gone: Gone | None = None,
        span: "RequestSpan | None" = None,
    ) -> Answer:
        """One request, from the form that it came in to the form of its answer, counted.

        ``gone`` ends when nobody waits for the answer any more. Raises an InferenceError.
        """
        with nullcontext() if span is None else span:
            if span is not None:
                span.asked(name, version)
            arrived = time.perf_counter_ns()
            model = self.repository.get(name, version)
            try:
                request = parse(model)
                parsed = time.perf_counter_ns()
                response = await self.plane.infer(model, request, gone)
                answer = encode(response)
            except InferenceError as error:
                self._failed(model, error, arrived)
                raise
            times = self._succeeded(model, request.header, response.ran, arrived, parsed)
            if span is not None:
                span.answered(model.version, arrived, times)
            return answer

    def begin(
        self,
        name: str,
        version: str | None,
        parse: Callable[[Model], InferRequest],
        waiter: Waiter,
    ) -> "Begun | None":
        """A request whose ``waiter`` will have its run in a moment; of any other None.

        Raises an InferenceError. Only what has begun will be counted.
        """
        if self.tracing is not None:
            return None
        arrived = time.perf_counter_ns()
        model = self.repository.get(name, version)
        request = parse(model)
        parsed = time.perf_counter_ns()
        plan = self.plane.begin(model, request, waiter)
        return None if plan is None else Begun(model, request.header, arrived, parsed, plan)

    def end(
        self, begun: "Begun", ran: Ran | BaseException, encode: Callable[[InferResponse], Answer]
    ) -> Answer:
        """The answer, counted, from what the waiter got. Raises an InferenceError."""
        try:
            if isinstance(ran, BaseException):
                raise ran
            answer = encode(begun.plan.response(begun.model, begun.header, ran))
        except InferenceError as error:
            self._failed(begun.model, error, begun.arrived)
            raise
        self._succeeded(begun.model, begun.header, ran, begun.arrived, begun.parsed)
        return answer

    def _succeeded(
        self, model: Model, header: InferHeader, ran: Ran, arrived: int, parsed: int
    ) -> Times:
        times = Times(
            queue=ran.began - parsed,
            input=parsed - arrived,
            infer=ran.ended - ran.began,
            output=time.perf_counter_ns() - ran.ended,
            rows=_rows(header),
            run_rows=ran.rows,
            first=ran.first,
        )
        self.metrics.of(model.name, model.version).succeeded(times)
        return times

    def _failed(self, model: Model, error: InferenceError, arrived: int) -> None:
        reason = _REASONS.get(type(error), "OTHER")
        took = time.perf_counter_ns() - arrived
        self.metrics.of(model.name, model.version).failed(reason, took)

    async def counted(self) -> Metrics:
        """By all processes that share the endpoint."""
        others = await self.siblings.told()
        return self.metrics.joined(others) if others else self.metrics

    async def load(self, name: str, parameters: Collection[str], by: "Key | None" = None) -> None:
        """Load the versions in the folder again. Raises ModelNotFound, NotLoaded.

        BadBody: by ``parameters`` a client would have it load something else.
        """
        if parameters:
            raise BadBody("a model is served as it lies in the folder: load takes no parameters")
        change = partial(self.repository.load, name)
        await asyncio.wrap_future(self.watcher.ask(change))
        await self._note(by, "load_model", name)

    async def unload(self, name: str, by: "Key | None" = None) -> None:
        """Serve no version of a model until it is loaded. Raises ModelNotFound."""
        change = partial(self.repository.unload, name)
        await asyncio.wrap_future(self.watcher.ask(change))
        await self._note(by, "unload_model", name)

    async def _note(self, by: "Key | None", what: str, of: str) -> None:
        if self.access is not None and by is not None:
            await asyncio.to_thread(self.access.audit.note, by.id, what, of)


def _rows(header: InferHeader) -> int:
    """Samples, as far as shapes tell."""
    shape = header.inputs[0].shape if header.inputs else ()
    return shape[0] if shape else 1
