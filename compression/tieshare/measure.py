"""What a file really does in ONNX Runtime: its outputs, its latency."""

import math
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import onnxruntime as ort
from onnx import ModelProto, ValueInfoProto, helper

from tieshare.errors import UnsupportedModel
from tieshare.graph.tensors import Array

WARM_UPS = 3
ROUNDS = 31
ROUND_S = 400e-6  # a timing shorter than this is repeated within its round
FREE_DIM = 32  # stands for a dynamic dimension that no sample tells


def session(model: ModelProto, threads: int = 1) -> Any:
    """An ``onnxruntime.InferenceSession`` on the CPU with every graph optimisation on."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    return ort.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )


def check_runs(model: ModelProto) -> None:
    """Load a model, and run it once on one made sample.

    UnsupportedModel where ONNX Runtime can't load it, MemoryError where a run takes too much. That
    a run fails otherwise says nothing: free axes may have to be of other lengths.
    """
    try:
        loaded = session(model)
    except Exception as error:
        raise UnsupportedModel(f"ONNX Runtime can't load it: {error}") from error
    try:
        loaded.run(None, feed(model, fixed_batch(model) or 1))
    except Exception as error:
        if "alloc" in str(error):
            raise MemoryError(str(error)) from error


def inputs_of(model: ModelProto) -> list[ValueInfoProto]:
    """The inputs a caller feeds: graph inputs that are no initializers."""
    stored = {tensor.name for tensor in model.graph.initializer}
    return [value for value in model.graph.input if value.name not in stored]


def fixed_batch(model: ModelProto) -> int | None:
    """The batch size the graph insists on; None where it takes any."""
    dims = inputs_of(model)[0].type.tensor_type.shape.dim
    return dims[0].dim_value or None if dims else None


def feed(
    model: ModelProto,
    batch: int,
    samples: Sequence[Array] | None = None,
    seed: int = 0,
) -> dict[str, Array]:
    """One batch under the names of the inputs.

    ``samples`` (one array an input, any number of samples) are repeated to the batch size. Without
    them floats are standard normal and everything else is zero.
    """
    rng = np.random.default_rng(seed)
    arrays: dict[str, Array] = {}
    for index, value in enumerate(inputs_of(model)):
        if samples is not None:
            picked = np.arange(batch) % len(samples[index])
            arrays[value.name] = np.ascontiguousarray(samples[index][picked])
            continue
        tensor = value.type.tensor_type
        shape = [dim.dim_value or FREE_DIM for dim in tensor.shape.dim]
        if shape:
            shape[0] = batch
        dtype = helper.tensor_dtype_to_np_dtype(tensor.elem_type)
        filled = rng.normal(size=shape) if dtype.kind == "f" else np.zeros(shape)
        arrays[value.name] = filled.astype(dtype)
    return arrays


def predict(
    model: ModelProto,
    output: str,
    inputs: Sequence[Array],
    batch: int = 256,
    threads: int = 1,
) -> Array:
    """``output`` for every sample, computed ``batch`` samples at a time."""
    return np.concatenate([out for (out,) in predictions(model, [output], inputs, batch, threads)])


def predictions(
    model: ModelProto,
    outputs: Sequence[str],
    inputs: Sequence[Array],
    batch: int = 256,
    threads: int = 1,
) -> Iterator[tuple[Array, ...]]:
    """The outputs for every sample, ``batch`` samples at a time.

    A graph with a fixed batch gets batches of that size, the last one padded.
    """
    fixed = fixed_batch(model)
    batch = fixed or batch
    running = session(model, threads)
    names = [value.name for value in inputs_of(model)]
    samples = len(inputs[0])
    for start in range(0, samples, batch):
        size = min(batch, samples - start)
        rows = np.minimum(np.arange(start, start + (batch if fixed else size)), samples - 1)
        fed = {name: array[rows] for name, array in zip(names, inputs, strict=True)}
        yield tuple(found[:size] for found in running.run(list(outputs), fed))


def latencies(
    models: Mapping[str, ModelProto],
    samples: Sequence[Array] | None = None,
    batches: Sequence[int] = (1, 32),
    threads: int = 1,
) -> dict[str, dict[int, float]]:
    """Microseconds of one call for each model and batch size, the models taking turns.

    All models have the same inputs. With a fixed batch that one is measured instead.
    """
    running = {name: session(model, threads) for name, model in models.items()}
    measured: dict[str, dict[int, float]] = {name: {} for name in models}
    for batch in batches_of(next(iter(models.values())), batches):
        calls = {
            name: _call(running[name], feed(model, batch, samples))
            for name, model in models.items()
        }
        for name, microseconds in interleaved(calls).items():
            measured[name][batch] = microseconds
    return measured


def batches_of(model: ModelProto, batches: Sequence[int]) -> Sequence[int]:
    """``batches``, or the only batch the graph takes."""
    fixed = fixed_batch(model)
    return batches if fixed is None else (fixed,)


def interleaved(
    calls: Mapping[str, Callable[[], object]], budget_s: float = 2.0
) -> dict[str, float]:
    """Median microseconds of each call, timed in rounds in which every one takes its turn.

    Rounds are fewer, but at least five, where they would take longer than ``budget_s``.
    """
    repeats: dict[str, int] = {}
    round_s = 0.0
    for name, call in calls.items():
        fastest = min(_seconds(call) for _ in range(WARM_UPS))
        repeats[name] = max(1, math.ceil(ROUND_S / fastest))
        round_s += fastest * repeats[name]
    rounds = max(5, min(ROUNDS, int(budget_s / round_s)))
    times: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(rounds):
        for name, call in calls.items():
            times[name].append(_seconds(call, repeats[name]))
    return {name: 1e6 * statistics.median(found) for name, found in times.items()}


def _seconds(call: Callable[[], object], repeats: int = 1) -> float:
    start = time.perf_counter()
    for _ in range(repeats):
        call()
    return max(time.perf_counter() - start, 1e-9) / repeats


def _call(running: Any, fed: Mapping[str, Array]) -> Callable[[], object]:
    return lambda: running.run(None, fed)
