"""One served version: an ONNX Runtime session and what it takes and gives."""

import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime

from tieshare_service.inference.datatypes import BY_ONNX, BYTES
from tieshare_service.inference.errors import LoadFailed, RunFailed
from tieshare_service.inference.pace import Pace
from tieshare_service.inference.types import Array, TensorSpec

_FATAL = 4
# a model with free dimensions may refuse 1 (a kernel larger than its picture)
_WARM_UP_SIZES = (1, 32, 224)
_REASON_LENGTH = 500


@dataclass(frozen=True, eq=False)
class Model:
    """A version that has loaded and has run at least once.

    ``separate``: rows of its inputs do not depend on each other, so that the requests of several
    clients may be rows of one run.
    """

    name: str
    version: int
    inputs: Mapping[str, TensorSpec]
    outputs: Mapping[str, TensorSpec]
    separate: bool
    pace: Pace = field(repr=False)
    session: Any = field(repr=False)

    def run(self, outputs: Sequence[str], feeds: Mapping[str, Array]) -> list[Array]:
        """The named outputs for one array per input; raises RunFailed."""
        started = time.perf_counter()
        try:
            results: list[Array] = self.session.run(outputs, feeds)
        except Exception as error:  # ONNX Runtime's exceptions have no root of their own
            raise RunFailed(
                f"model {self.name!r} could not run on these inputs: {_reason(error)}"
            ) from error
        elements = sum(feed.size for feed in feeds.values())
        self.pace.observe(elements, time.perf_counter() - started)
        return results


def load(path: Path, name: str, version: int, threads: int) -> Model:
    """Load an ONNX file, with so many threads for one run, and run it once on zeros.

    Raises LoadFailed with a reason that holds no path.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise LoadFailed(f"model.onnx can't be read: {error.strerror}") from error
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = _FATAL
    # threads that spin for work would take the event loop's core
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    try:
        # from bytes: a file that refers to other files is refused
        session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    except Exception as error:
        raise LoadFailed(_reason(error)) from error
    inputs = _specs(session.get_inputs(), "input")
    outputs = _specs(session.get_outputs(), "output")
    model = Model(name, version, inputs, outputs, False, Pace(), session)
    size = _warm_up(model)
    return replace(model, separate=_is_separate(model, size))


def _specs(arguments: Sequence[Any], kind: str) -> dict[str, TensorSpec]:
    specs = {}
    for argument in arguments:
        if argument.type not in BY_ONNX:
            raise LoadFailed(
                f"{kind} {argument.name!r} is a {argument.type}, which can't be served"
            )
        shape = tuple(size if isinstance(size, int) else -1 for size in argument.shape)
        specs[argument.name] = TensorSpec(argument.name, BY_ONNX[argument.type], shape)
    return specs


def _warm_up(model: Model) -> int:
    """Run until one size of the free dimensions works, then once more for its time alone.

    Returns that size.
    """
    for size in _WARM_UP_SIZES:
        feeds = {name: _zeros(spec, size) for name, spec in model.inputs.items()}
        try:
            model.session.run(None, feeds)
            model.run(tuple(model.outputs), feeds)
        except Exception as error:
            failure = error
        else:
            return size
    raise LoadFailed(f"the first run failed: {_reason(failure)}")


def _is_separate(model: Model, size: int) -> bool:
    """Whether two samples give in one run what each gives alone: tried on made ones.

    The first dimension of every input and output has to be free, too.
    """
    specs = (*model.inputs.values(), *model.outputs.values())
    if not model.inputs or not all(spec.shape[:1] == (-1,) for spec in specs):
        return False
    rng = np.random.default_rng(0)
    one, other = (
        {name: _made(spec, size, rng) for name, spec in model.inputs.items()} for _ in range(2)
    )
    names = tuple(model.outputs)
    try:
        both = model.session.run(names, {k: np.concatenate([one[k], other[k]]) for k in one})
        alone = [model.session.run(names, feeds) for feeds in (one, other)]
    except Exception:  # not of two rows, or not of such numbers
        return False
    return all(
        _is_near(together, np.concatenate(parts))
        for together, *parts in zip(both, *alone, strict=True)
    )


def _made(spec: TensorSpec, free: int, rng: np.random.Generator) -> Array:
    """One sample: of a normal distribution, or zeros and ones; empty strings."""
    made = _zeros(spec, free)
    if spec.datatype is not BYTES:
        is_float = spec.datatype.dtype.kind == "f"
        made[...] = rng.normal(size=made.shape) if is_float else rng.integers(0, 2, made.shape)
    return made


def _is_near(found: Array, expected: Array) -> bool:
    if found.shape != expected.shape:
        return False
    if found.dtype.kind != "f":
        return bool(np.array_equal(found, expected))
    largest = np.abs(expected).max(initial=0)
    return bool(np.allclose(found, expected, rtol=0, atol=1e-4 * largest, equal_nan=True))


def _zeros(spec: TensorSpec, free: int) -> Array:
    """Zeros or empty strings; a free first dimension is the batch: 1."""
    shape = tuple(
        size if size >= 0 else (free if axis else 1) for axis, size in enumerate(spec.shape)
    )
    if spec.datatype is BYTES:
        return np.full(shape, "", dtype=object)
    return np.zeros(shape, dtype=spec.datatype.dtype)


def _reason(error: Exception) -> str:
    """ONNX Runtime's message without its codes and source files, one line."""
    text = re.sub(r"^\[ONNXRuntimeError\] : \d+ : \w+ : ", "", str(error))
    text = text.rpartition("Status Message: ")[2]
    text = re.sub(r"(?<!\S)/\S+\s*", "", text)
    return " ".join(text.split())[:_REASON_LENGTH]
