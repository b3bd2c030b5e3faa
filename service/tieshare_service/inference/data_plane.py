"""One request: checked against its model, then run where it keeps nobody waiting."""

import asyncio
import time
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

from tieshare_service.inference.classes import classified
from tieshare_service.inference.errors import BadTensor
from tieshare_service.inference.model import Model
from tieshare_service.inference.tensors import to_array
from tieshare_service.inference.types import (
    Array,
    InferRequest,
    InferResponse,
    InputTensor,
    OutputTensor,
    RequestedOutput,
    TensorSpec,
)

# a hop to a thread and back costs about 0.05 ms: below this the event loop runs it itself
INLINE_S = 0.001


class DataPlane:
    """Runs requests; at most ``workers`` long ones at a time."""

    def __init__(self, workers: int) -> None:
        self._pool = ThreadPoolExecutor(workers, thread_name_prefix="infer")

    async def infer(self, model: Model, request: InferRequest) -> InferResponse:
        """The outputs asked for; exactly ONNX Runtime's for these inputs, never batched.

        Raises BadTensor naming the input or output, or RunFailed.
        """
        feeds = _feeds(model, request.inputs)
        wanted = _wanted(model, request)
        names = [spec.name for spec, _ in wanted]
        elements = sum(feed.size for feed in feeds.values())
        if model.pace.expected(elements) <= INLINE_S:
            arrays, ran = _timed(model, names, feeds)
        else:
            loop = asyncio.get_running_loop()
            arrays, ran = await loop.run_in_executor(self._pool, _timed, model, names, feeds)
        outputs = tuple(
            _output(spec, array, asked) for (spec, asked), array in zip(wanted, arrays, strict=True)
        )
        return InferResponse(model.name, model.version, request.id, outputs, ran)

    def close(self) -> None:
        """Drop what waits and let what runs end by itself."""
        self._pool.shutdown(wait=False, cancel_futures=True)


def _timed(
    model: Model, names: Sequence[str], feeds: Mapping[str, Array]
) -> tuple[list[Array], tuple[int, int]]:
    """The outputs, and when the run began and ended."""
    began = time.perf_counter_ns()
    arrays = model.run(names, feeds)
    return arrays, (began, time.perf_counter_ns())


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
