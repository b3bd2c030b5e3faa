"""One served version: an ONNX Runtime session and what it takes and gives."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from tieshare_service.inference.datatypes import BY_ONNX, BYTES
from tieshare_service.inference.errors import LoadFailed, ModelNotReady, RunFailed
from tieshare_service.inference.pace import Pace
from tieshare_service.inference.session import Memory, Session, reason_of, resident_bytes
from tieshare_service.inference.types import Array, TensorSpec

# a model with free dimensions may refuse 1 (a kernel larger than its picture)
_WARM_UP_SIZES = (1, 32, 224)


@dataclass(frozen=True, eq=False)
class Model:
    """A version that has loaded and has run at least once; it may rest since.

    ``separate``: rows of its inputs do not depend on each other, so that the requests of several
    clients may be rows of one run.
    """

    name: str
    version: int
    inputs: Mapping[str, TensorSpec]
    outputs: Mapping[str, TensorSpec]
    separate: bool
    pace: Pace = field(repr=False)
    session: Session = field(repr=False)

    def wake(self) -> Any:
        """ONNX Runtime's session, loaded if it rests; raises ModelNotReady."""
        try:
            return self.session.up()
        except LoadFailed as error:
            raise ModelNotReady(f"model {self.name!r} failed: {error.message}") from error

    def run(self, outputs: Sequence[str], feeds: Mapping[str, Array]) -> list[Array]:
        """The named outputs for one array per input; raises RunFailed or ModelNotReady."""
        session = self.wake()
        # Of this thread alone: one that waits for the event loop's would look slow, and so be kept
        # in a thread for ever.
        started = time.thread_time()
        try:
            results: list[Array] = session.run(outputs, feeds)
        except Exception as error:  # ONNX Runtime's exceptions have no root of their own
            raise RunFailed(
                f"model {self.name!r} could not run on these inputs: {reason_of(error)}"
            ) from error
        elements = sum(feed.size for feed in feeds.values())
        self.pace.observe(elements, time.thread_time() - started)
        return results


def load(path: Path, name: str, version: int, threads: int, memory: Memory | None = None) -> Model:
    """Load an ONNX file, with so many threads for one run, and run it once on zeros.

    Raises LoadFailed with a reason that holds no path.
    """
    before = resident_bytes()
    session = Session(path, name, threads, memory or Memory())
    running = session.up()
    inputs = _specs(running.get_inputs(), "input")
    outputs = _specs(running.get_outputs(), "output")
    model = Model(name, version, inputs, outputs, False, Pace(), session)
    size = _warm_up(model)
    separate = _is_separate(model, size)
    session.measured(resident_bytes() - before)
    return replace(model, separate=separate)


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
            model.wake().run(None, feeds)
            model.run(tuple(model.outputs), feeds)
        except Exception as error:
            failure = error
        else:
            return size
    raise LoadFailed(f"the first run failed: {reason_of(failure)}")


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
        both = model.wake().run(names, {k: np.concatenate([one[k], other[k]]) for k in one})
        alone = [model.wake().run(names, feeds) for feeds in (one, other)]
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
