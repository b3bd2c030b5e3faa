"""The requests that wait for one model, run in turn: several in one run where its rows allow.

Requests that come within one turn of the event loop, or while a run is going on, are put together.
A short run stays on the event loop, to which a hop to a thread and back costs more; a long one goes
to a thread, and a longer one is cut into pieces, between which others have their turn. A model
that rests is loaded first, in a thread.
"""

import asyncio
import logging
import time
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from math import prod
from typing import Any, Protocol
from weakref import ref

import numpy as np

from tieshare_service.inference.errors import Expired, Overloaded, RunFailed
from tieshare_service.inference.model import Model
from tieshare_service.inference.types import Array, Ran

_log = logging.getLogger(__name__)

# a hop to a thread and back costs about 0.05 ms: below this the event loop runs it itself
INLINE_S = 0.001
# nobody waits longer than this for the piece of another one's request
PIECE_S = 0.01


@dataclass(frozen=True)
class Limits:
    """Of what comes in, waits and runs.

    ``rows``      samples that are put together in one run.
    ``requests``  that wait for one model; more are refused.
    ``delay_us``  that a request waits for others to run with; 0: until the event loop's next turn.
    ``workers``   long runs at a time.
    ``body_bytes``  of one HTTP request or gRPC message.
    """

    rows: int = 64
    requests: int = 1000
    delay_us: int = 0
    workers: int = 1
    body_bytes: int = 64 << 20


@dataclass(frozen=True, slots=True)
class Kind:
    """What a request asks for, whatever its data.

    ``outputs``   by name.
    ``elements``  of its inputs.
    ``alike``     what those have in common that can run together; None: it runs alone.
    """

    outputs: tuple[str, ...]
    rows: int
    elements: int
    alike: tuple[Any, ...] | None


def kind_of(model: Model, inputs: Mapping[str, tuple[int, ...]], outputs: tuple[str, ...]) -> Kind:
    """Of requests with inputs of these shapes."""
    first = next(iter(inputs.values()), ())
    rows = first[0] if first else 1
    elements = sum(map(prod, inputs.values()))
    if not model.separate or any(shape[0] != rows for shape in inputs.values()):
        return Kind(outputs, rows, elements, None)
    alike = (outputs, *(inputs[name][1:] for name in model.inputs))
    return Kind(outputs, rows, elements, alike)


class Waiter(Protocol):
    """Who waits for a run, as a future does."""

    def done(self) -> bool:
        """It got it, or does not wait any more."""

    def set_result(self, result: Ran, /) -> None:
        """It gets it."""

    def set_exception(self, exception: BaseException, /) -> None:
        """It will not get it."""


@dataclass(slots=True, eq=False)
class Waiting:
    """One request."""

    model: Model
    feeds: Mapping[str, Array]
    kind: Kind
    expires: float
    waiter: Waiter


class Lane:
    """Used from the event loop only; it does not keep its model alive, its requests do."""

    def __init__(self, model: Model, pool: ThreadPoolExecutor, limits: Limits) -> None:
        self._known, self._pool, self._limits = ref(model), pool, limits
        self._waiting: deque[Waiting] = deque()
        self._planned = False
        self._running = 0

    def is_short(self, kind: Kind) -> bool:
        """Whether one that comes now runs at once, on the event loop."""
        model = self._model
        return (
            not self._running
            and not self._limits.delay_us
            and model.session.loaded
            and model.pace.expected(kind.elements) <= INLINE_S
        )

    def run(
        self, feeds: Mapping[str, Array], kind: Kind, timeout_s: float
    ) -> "asyncio.Future[Ran]":
        """Have a request run; the future raises RunFailed or Expired. Raises Overloaded."""
        future: asyncio.Future[Ran] = asyncio.get_running_loop().create_future()
        self.put(feeds, kind, timeout_s, future)
        return future

    def put(self, feeds: Mapping[str, Array], kind: Kind, timeout_s: float, waiter: Waiter) -> None:
        """The same for anybody who waits; from an event loop as well."""
        model = self._model
        if len(self._waiting) >= self._limits.requests:
            raise Overloaded(f"{len(self._waiting)} requests wait for model {model.name!r} already")
        self._loop = asyncio.get_running_loop()
        expires = self._loop.time() + timeout_s
        self._waiting.append(Waiting(model, feeds, kind, expires, waiter))
        self._plan()

    def cut(
        self, feeds: Mapping[str, Array], kind: Kind
    ) -> Iterator[tuple[Mapping[str, Array], Kind]]:
        """The feeds in pieces, each of which runs for a moment; whole where rows mean nothing."""
        pieces = 1
        if kind.alike is not None and kind.elements:
            long = self._model.pace.expected(kind.elements) / PIECE_S
            pieces = min(max(int(long), 1), -(-kind.rows // self._limits.rows))
        if pieces == 1:
            yield feeds, kind
            return
        step = -(-kind.rows // pieces)
        for start in range(0, kind.rows, step):
            rows = min(step, kind.rows - start)
            piece = replace(kind, rows=rows, elements=kind.elements * rows // kind.rows)
            yield {name: feed[start : start + step] for name, feed in feeds.items()}, piece

    @property
    def _model(self) -> Model:
        """Who calls with a request for it holds it."""
        model = self._known()
        assert model is not None  # noqa: S101
        return model

    def _plan(self) -> None:
        if self._planned or self._running >= self._limits.workers:
            return
        self._planned = True
        if self._limits.delay_us:
            self._loop.call_later(self._limits.delay_us / 1e6, self._turn)
        else:
            self._loop.call_soon(self._turn)

    def _turn(self) -> None:
        if self._waiting and not self._model.session.loaded:
            loading = self._loop.run_in_executor(None, self._model.wake)
            loading.add_done_callback(self._woken)
            return
        self._planned = False
        batch = self._take()
        if not batch:
            return
        elements = sum(item.kind.elements for item in batch)
        if batch[0].model.pace.expected(elements) <= INLINE_S:
            for item, result in zip(batch, _results(batch), strict=True):
                _settle(item, result)
        else:
            self._running += 1
            running = self._loop.run_in_executor(self._pool, _results, batch)
            running.add_done_callback(lambda done: self._ended(batch, done))
        if self._waiting:
            self._plan()

    def _woken(self, done: "asyncio.Future[Any]") -> None:
        error = Overloaded("the service stops") if done.cancelled() else done.exception()
        if error is None:
            self._turn()
            return
        self._planned = False
        while self._waiting:
            _settle(self._waiting.popleft(), error)

    def _ended(
        self, batch: Sequence[Waiting], done: "asyncio.Future[list[Ran | Exception]]"
    ) -> None:
        self._running -= 1
        if done.cancelled():
            results: Sequence[Ran | Exception] = [Overloaded("the service stops")] * len(batch)
        else:
            results = done.result()
        for item, result in zip(batch, results, strict=True):
            _settle(item, result)
        if self._waiting:
            self._plan()

    def _take(self) -> list[Waiting]:
        """Those that run next: the first, and as many alike behind it as fit."""
        batch: list[Waiting] = []
        rows, now = 0, self._loop.time()
        while self._waiting:
            item = self._waiting[0]
            if item.waiter.done():  # its client went away
                self._waiting.popleft()
                continue
            if now > item.expires:
                self._waiting.popleft()
                _settle(item, Expired("the request waited longer than its timeout"))
                continue
            kind = item.kind
            fits = rows + kind.rows <= self._limits.rows
            if batch and not (fits and kind.alike and kind.alike == batch[0].kind.alike):
                break
            batch.append(self._waiting.popleft())
            rows += kind.rows
        return batch


def _results(batch: Sequence[Waiting]) -> list[Ran | Exception]:
    """What each request gets, whatever happens."""
    try:
        return _run(batch)
    except Exception as error:
        return [error] * len(batch)


def _run(batch: Sequence[Waiting]) -> list[Ran | Exception]:
    """Parts of one run, or a run each if that one fails."""
    if len(batch) == 1:
        return [_run_alone(batch[0])]
    rows = sum(item.kind.rows for item in batch)
    feeds = {name: np.concatenate([item.feeds[name] for item in batch]) for name in batch[0].feeds}
    began = time.perf_counter_ns()
    try:
        arrays = batch[0].model.run(batch[0].kind.outputs, feeds)
    except RunFailed:  # by what one of them holds, which is no matter of the others
        return [_run_alone(item) for item in batch]
    ended = time.perf_counter_ns()
    results: list[Ran | Exception] = []
    start = 0
    for place, item in enumerate(batch):
        own = [array[start : start + item.kind.rows] for array in arrays]
        results.append(Ran(own, began, ended, rows, first=place == 0))
        start += item.kind.rows
    return results


def _run_alone(item: Waiting) -> Ran | Exception:
    began = time.perf_counter_ns()
    try:
        arrays = item.model.run(item.kind.outputs, item.feeds)
    except RunFailed as error:
        return error
    return Ran(arrays, began, time.perf_counter_ns(), item.kind.rows, first=True)


def _settle(item: Waiting, result: Ran | BaseException) -> None:
    if item.waiter.done():
        return
    try:
        if isinstance(result, BaseException):
            item.waiter.set_exception(result)
        else:
            item.waiter.set_result(result)
    except Exception:  # which is no matter of the others in the run
        _log.exception("an answer could not be given")
