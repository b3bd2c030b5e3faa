"""One served version: an ONNX Runtime session and what it takes and gives."""

import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
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


@dataclass(frozen=True)
class Model:
    """A version that has loaded and has run at least once."""

    name: str
    version: int
    inputs: Mapping[str, TensorSpec]
    outputs: Mapping[str, TensorSpec]
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
    model = Model(
        name=name,
        version=version,
        inputs=_specs(session.get_inputs(), "input"),
        outputs=_specs(session.get_outputs(), "output"),
        pace=Pace(),
        session=session,
    )
    _warm_up(model)
    return model


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


def _warm_up(model: Model) -> None:
    """Run until one size of the free dimensions works, then once more for its time alone."""
    for size in _WARM_UP_SIZES:
        feeds = {name: _zeros(spec, size) for name, spec in model.inputs.items()}
        try:
            model.session.run(None, feeds)
            model.run(tuple(model.outputs), feeds)
        except Exception as error:
            failure = error
        else:
            return
    raise LoadFailed(f"the first run failed: {_reason(failure)}")


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
