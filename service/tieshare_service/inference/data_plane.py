"""One request: checked against its model, run with others, and put together again."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from weakref import WeakKeyDictionary

import numpy as np

from tieshare_service.inference.batching import Lane, Limits
from tieshare_service.inference.classes import classified
from tieshare_service.inference.errors import BadTensor, ClientGone
from tieshare_service.inference.model import Model
from tieshare_service.inference.tensors import to_array
from tieshare_service.inference.types import (
    Array,
    InferRequest,
    InferResponse,
    InputTensor,
    OutputTensor,
    Ran,
    RequestedOutput,
    TensorSpec,
)

Gone = Callable[[], Awaitable[None]]
"""Ends when the client that waits for an answer has gone."""


class DataPlane:
    """Runs requests within its limits; used from one event loop."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self._pool = ThreadPoolExecutor(limits.workers, thread_name_prefix="infer")
        self._lanes: WeakKeyDictionary[Model, Lane] = WeakKeyDictionary()

    async def infer(self, model: Model, request: InferRequest, gone: Gone | None) -> InferResponse:
        """The outputs asked for: ONNX Runtime's, maybe of a run with others' rows around them.

        Raises BadTensor naming the input or output, RunFailed, Overloaded, Expired, or ClientGone
        where ``gone`` ends before a long run has begun.
        """
        feeds = _feeds(model, request.inputs)
        wanted = _wanted(model, request)
        names = tuple(spec.name for spec, _ in wanted)
        lane = self._lanes.get(model)
        if lane is None:
            lane = self._lanes[model] = Lane(model, self._pool, self.limits)
        pieces = list(lane.cut(feeds))
        parts = [
            await _unless_gone(lane.put(piece, names, request.timeout_s), gone) for piece in pieces
        ]
        ran = parts[0] if len(parts) == 1 else _whole(parts)
        outputs = tuple(
            _output(spec, array, asked)
            for (spec, asked), array in zip(wanted, ran.arrays, strict=True)
        )
        return InferResponse(model.name, model.version, request.id, outputs, ran)

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


def _feeds(model: Model, inputs: tuple[InputTensor, ...]) -> dict[str, Array]:
    feeds: dict[str, Array] = {}
    for tensor in inputs:
        spec = model.inputs.get(tensor.name)
        if spec is None:
            raise BadTensor(
                f"model {model.name!r} has no input {tensor.name!r}; it takes {_list(model.inputs)}"
            )
        if tensor.name in feeds:
            raise BadTensor(f"input {tensor.name!r} comes twice")
        _check(tensor, spec)
        feeds[tensor.name] = to_array(tensor)
    if len(feeds) < len(model.inputs):
        missing = [name for name in model.inputs if name not in feeds]
        raise BadTensor(f"model {model.name!r} needs input {_list(missing)} too")
    return feeds


def _check(tensor: InputTensor, spec: TensorSpec) -> None:
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


def _output(spec: TensorSpec, array: Array, asked: RequestedOutput) -> OutputTensor:
    if asked.classes:
        spec, array = classified(spec, array, asked.classes)
    return OutputTensor(spec, array, asked.binary)


def _wanted(model: Model, request: InferRequest) -> list[tuple[TensorSpec, RequestedOutput]]:
    """The outputs to compute, each with how it is asked for."""
    if not request.outputs:
        return [
            (spec, RequestedOutput(name, request.binary)) for name, spec in model.outputs.items()
        ]
    wanted: dict[str, tuple[TensorSpec, RequestedOutput]] = {}
    for output in request.outputs:
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
