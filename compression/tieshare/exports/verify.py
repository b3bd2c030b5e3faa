"""Whether two files compute the same."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from onnx import ModelProto

from tieshare.errors import ExportMismatch
from tieshare.graph.tensors import Array
from tieshare.measure import batches_of, feed, session

TOLERANCE = 1e-4
BATCHES = (1, 7, 32)


def check_equal(
    model: ModelProto, other: ModelProto, samples: Sequence[Array] | None = None
) -> None:
    """Raise ExportMismatch where float outputs differ by more than 1e-4 of their largest entry.

    It is raised too where ``other`` can't be run.

    On ``samples`` (one array an input) or, without them, on random inputs; at batch 1, 7 and 32,
    or at the only batch that the graph takes.
    """
    for name, difference in differences(model, other, samples).items():
        if not difference <= TOLERANCE:
            raise ExportMismatch(
                f"output {name!r} differs by {difference:.1e} of its largest entry", where=name
            )


def differences(
    model: ModelProto, other: ModelProto, samples: Sequence[Array] | None = None
) -> dict[str, float]:
    """By float output: the largest difference over the batches, relative to the largest entry."""
    first, second = session(model), _loaded(other)
    found: dict[str, float] = {}
    for seed, batch in enumerate(batches_of(model, BATCHES)):
        fed = feed(model, batch, samples, seed)
        names = [output.name for output in first.get_outputs()]
        pairs = zip(first.run(names, fed), _outputs(second, names, fed), strict=True)
        for name, (expected, got) in zip(names, pairs, strict=True):
            if isinstance(expected, np.ndarray) and expected.dtype.kind == "f":
                worst = np.maximum(found.get(name, 0.0), _relative(expected, got))
                found[name] = float(worst)  # not a number, if any is
    return found


def _loaded(model: ModelProto) -> Any:
    try:
        return session(model)
    except Exception as error:  # ONNX Runtime's have no base of their own
        raise ExportMismatch(f"the file can't be loaded: {error}") from error


def _outputs(running: Any, names: Sequence[str], fed: Mapping[str, Array]) -> list[Array]:
    try:
        return list(running.run(names, fed))
    except Exception as error:  # ONNX Runtime's have no base of their own
        raise ExportMismatch(f"the file can't be run: {error}") from error


def _relative(expected: Array, got: Array) -> float:
    if expected.shape != got.shape:
        return float("inf")
    scale = _largest(expected) or 1.0
    return _largest(got.astype(float) - expected) / scale


def _largest(array: Iterable[float]) -> float:
    return float(np.max(np.abs(np.asarray(array)), initial=0.0))
