"""One request: checked against its model, run with others, and put together again."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from weakref import WeakKeyDictionary

import numpy as np

from tieshare_service.inference.batching import Kind, Lane, Limits, Waiter, kind_of
from tieshare_service.inference.classes import classified
from tieshare_service.inference.errors import BadTensor, ClientGone
from tieshare_service.inference.model import Model
from tieshare_service.inference.tensors import to_array
from tieshare_service.inference.types import (
    Array,
    InferHeader,
    InferRequest,
    InferResponse,
    OutputTensor,
    Ran,
    RequestedOutput,
    TensorSpec,
)

_MOST_PLANS = 64

Gone = Callable[[], Awaitable[None]]
"""Ends when the client that waits for an answer has gone."""


@dataclass(frozen=True, slots=True)
class Plan:
    """A header that fits a model: what runs, and the outputs with how each is asked for."""

    kind: Kind
    wanted: tuple[tuple[TensorSpec, RequestedOutput], ...]

    def response(self, model: Model, header: InferHeader, ran: Ran) -> InferResponse:
        """The outputs of the run as they are asked for; raises BadTensor."""
        outputs = tuple(map(_output, self.wanted, ran.arrays))
        return InferResponse(model.name, model.version, header.id, outputs, ran)


@dataclass(frozen=True, slots=True)
class _Served:
    """Of one model: where its requests wait, and the plans of headers that came lately."""

    lane: Lane
    plans: dict[InferHeader, Plan] = field(default_factory=dict)

    def plan(self, model: Model, header: InferHeader) -> Plan:
        """What is known of the header, or is worked out now. Raises BadTensor."""
        known = self.plans.get(header)
        if known is None:
            wanted = tuple(_wanted(model, header))
            outputs = tuple(spec.name for spec, _ in wanted)
            known = Plan(kind_of(model, _shapes(model, header.inputs), outputs), wanted)
            if len(self.plans) == _MOST_PLANS:
                self.plans.clear()
            self.plans[header] = known
        return known


class DataPlane:
    """Runs requests within its limits; used from one event loop."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self._pool = ThreadPoolExecutor(limits.workers, thread_name_prefix="infer")
        self._served: WeakKeyDictionary[Model, _Served] = WeakKeyDictionary()

    async def infer(self, model: Model, request: InferRequest, gone: Gone | None) -> InferResponse:
        """The outputs asked for: ONNX Runtime's, maybe of a run with others' rows around them.

        Raises BadTensor naming the input or output, RunFailed, Overloaded, Expired, or ClientGone
        where ``gone`` ends before a long run has begun.
        """
        lane, plan, feeds = self._fitted(model, request)
        timeout_s = request.header.timeout_s
        if lane.is_short(plan.kind):  # nobody goes away in a moment
            gone = None
        parts = [
            await _unless_gone(lane.run(piece, kind, timeout_s), gone)
            for piece, kind in lane.cut(feeds, plan.kind)
        ]
        ran = parts[0] if len(parts) == 1 else _whole(parts)
        return plan.response(model, request.header, ran)

    def begin(self, model: Model, request: InferRequest, waiter: Waiter) -> Plan | None:
        """``waiter`` will have its run in a moment; None of a request that may take longer.

        Raises BadTensor or Overloaded.
        """
        lane, plan, feeds = self._fitted(model, request)
        if not lane.is_short(plan.kind):
            return None
        lane.put(feeds, plan.kind, request.header.timeout_s, waiter)
        return plan

    def _fitted(self, model: Model, request: InferRequest) -> tuple[Lane, Plan, dict[str, Array]]:
        served = self._served.get(model)
        if served is None:
            served = self._served[model] = _Served(Lane(model, self._pool, self.limits))
        header = request.header
        plan = served.plan(model, header)
        feeds = {
            tensor.name: to_array(tensor, data)
            for tensor, data in zip(header.inputs, request.data, strict=True)
        }
        return served.lane, plan, feeds

    def close(self) -> None:
        """Drop what waits and let what runs end by itself."""
        self._pool.shutdown(wait=False, cancel_futures=True)


async def _unless_gone(running: "asyncio.Future[Ran]", gone: Gone | None) -> Ran:
    """What was run; where that takes longer than a moment, as long as somebody waits for it."""
    if gone is None:
        return await running
    await asyncio.sleep(0)  # by when a short run has ended
    if running.done():
        return running.result()
    leaving = asyncio.ensure_future(gone())
    try:
        await asyncio.wait((running, leaving), return_when=asyncio.FIRST_COMPLETED)
        if running.done():
            return running.result()
        raise ClientGone("the client went away")
    finally:
        leaving.cancel()
        running.cancel()


def _whole(parts: Sequence[Ran]) -> Ran:
    """Of a request that ran in pieces."""
    arrays = [
        np.concatenate(arrays) for arrays in zip(*(part.arrays for part in parts), strict=True)
    ]
    rows = sum(part.rows for part in parts)
    return Ran(arrays, parts[0].began, parts[-1].ended, rows, first=True)


def _shapes(model: Model, inputs: tuple[TensorSpec, ...]) -> dict[str, tuple[int, ...]]:
    """Of the model's inputs, by name."""
    shapes: dict[str, tuple[int, ...]] = {}
    for tensor in inputs:
        spec = model.inputs.get(tensor.name)
        if spec is None:
            raise BadTensor(
                f"model {model.name!r} has no input {tensor.name!r}; it takes {_list(model.inputs)}"
            )
        if tensor.name in shapes:
            raise BadTensor(f"input {tensor.name!r} comes twice")
        _check(tensor, spec)
        shapes[tensor.name] = tensor.shape
    if len(shapes) < len(model.inputs):
        missing = [name for name in model.inputs if name not in shapes]
        raise BadTensor(f"model {model.name!r} needs input {_list(missing)} too")
    return shapes


def _check(tensor: TensorSpec, spec: TensorSpec) -> None:
    if tensor.datatype is not spec.datatype:
        raise BadTensor(f"input {spec.name!r} is {spec.datatype.name}, not {tensor.datatype.name}")
    if len(tensor.shape) != len(spec.shape):
        raise BadTensor(
            f"input {spec.name!r} has {len(spec.shape)} dimensions {list(spec.shape)}, "
            f"not {len(tensor.shape)}"
        )
    for given, size in zip(tensor.shape, spec.shape, strict=True):
        if size not in (-1, given):
            raise BadTensor(
                f"input {spec.name!r} has shape {list(spec.shape)}, not {list(tensor.shape)}"
            )


def _output(wanted: tuple[TensorSpec, RequestedOutput], array: Array) -> OutputTensor:
    spec, asked = wanted
    if asked.classes:
        spec, array = classified(spec, array, asked.classes)
    return OutputTensor(spec, array, asked.binary)


def _wanted(model: Model, header: InferHeader) -> list[tuple[TensorSpec, RequestedOutput]]:
    """The outputs to compute, each with how it is asked for."""
    if not header.outputs:
        return [
            (spec, RequestedOutput(name, header.binary)) for name, spec in model.outputs.items()
        ]
    wanted: dict[str, tuple[TensorSpec, RequestedOutput]] = {}
    for output in header.outputs:
        spec = model.outputs.get(output.name)
        if spec is None:
            raise BadTensor(
                f"model {model.name!r} has no output {output.name!r}; "
                f"it gives {_list(model.outputs)}"
            )
        if output.name in wanted:
            raise BadTensor(f"output {output.name!r} is asked for twice")
        wanted[output.name] = (spec, output)
    return list(wanted.values())


def _list(names: Iterable[str]) -> str:
    return ", ".join(map(repr, names))
