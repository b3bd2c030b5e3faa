"""What was asked of each version and how long it took, since the process began."""

import time
from bisect import bisect_left
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

BUCKETS_S = (0.0001, 0.0003, 0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0)
BUCKETS_ROWS = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0)

Reason = Literal["REJECTED", "CANCELED", "BACKEND", "OTHER"]
REASONS: tuple[Reason, ...] = ("REJECTED", "CANCELED", "BACKEND", "OTHER")
"""As too much waits; as nobody waits for it; by ONNX Runtime; for what it holds."""


@dataclass(slots=True)
class Times:
    """Of one request, in nanoseconds.

    ``queue``   until its run began.
    ``input``   from its body to tensors, ``infer`` the run, ``output`` from tensors to the answer.
    ``rows``    samples in it; ``run_rows`` in the run that it was a part of, the ``first`` or a
                later one.
    """

    queue: int
    input: int
    infer: int
    output: int
    rows: int
    run_rows: int
    first: bool

    @property
    def total(self) -> int:
        """All of it."""
        return self.queue + self.input + self.infer + self.output


@dataclass(slots=True)
class Duration:
    """How often something was done, and how long it took in all."""

    count: int = 0
    ns: int = 0

    def add(self, ns: int) -> None:
        """Once more."""
        self.count += 1
        self.ns += ns


class Histogram:
    """How many values lie up to each of some bounds."""

    def __init__(self, bounds: Sequence[float]) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.total = 0.0

    def add(self, value: float) -> None:
        """One more; on a bound it lies below it."""
        self.counts[bisect_left(self.bounds, value)] += 1
        self.total += value


_OF_A_RUN = ("compute_input", "compute_infer", "compute_output")


def _durations(*names: str) -> dict[str, Duration]:
    return {name: Duration() for name in (*names, *_OF_A_RUN)}


def _histograms() -> dict[str, Histogram]:
    seconds = {name: Histogram(BUCKETS_S) for name in ("inference", "queue", "compute")}
    return seconds | {"batch": Histogram(BUCKETS_ROWS)}


@dataclass(slots=True)
class ModelStatistics:
    """Of one version; used from the event loop only.

    ``last_ms``  since the epoch, of the last request; 0 before the first.
    ``rows``     samples that were answered. ``runs``: of the model.
    """

    last_ms: int = 0
    rows: int = 0
    runs: int = 0
    durations: dict[str, Duration] = field(
        default_factory=lambda: _durations("success", "fail", "queue")
    )
    batches: defaultdict[int, dict[str, Duration]] = field(
        default_factory=lambda: defaultdict(_durations)
    )
    histograms: dict[str, Histogram] = field(default_factory=_histograms)
    failures: Counter[Reason] = field(default_factory=Counter)

    def succeeded(self, times: Times) -> None:
        """One request was answered."""
        self.last_ms = time.time_ns() // 1_000_000
        self.rows += times.rows
        parts = dict(zip(_OF_A_RUN, (times.input, times.infer, times.output), strict=True))
        for name, ns in parts.items():
            self.durations[name].add(ns)
        if times.first:
            self.runs += 1
            self.histograms["batch"].add(times.run_rows)
            batch = self.batches[times.run_rows]
            for name, ns in parts.items():
                batch[name].add(ns)
        self.durations["queue"].add(times.queue)
        self.durations["success"].add(times.total)
        self.histograms["inference"].add(times.total / 1e9)
        self.histograms["queue"].add(times.queue / 1e9)
        self.histograms["compute"].add(times.infer / 1e9)

    def failed(self, reason: Reason, ns: int) -> None:
        """One request was refused."""
        self.last_ms = time.time_ns() // 1_000_000
        self.durations["fail"].add(ns)
        self.failures[reason] += 1

    def document(self, name: str, version: int) -> dict[str, Any]:
        """As the statistics extension of the protocol has it."""
        return {
            "name": name,
            "version": str(version),
            "last_inference": self.last_ms,
            "inference_count": self.rows,
            "execution_count": self.runs,
            "inference_stats": _plain(self.durations),
            "batch_stats": [
                {"batch_size": rows} | _plain(durations)
                for rows, durations in sorted(self.batches.items())
            ],
        }

    def plain(self) -> dict[str, Any]:
        """All of it, as JSON has it."""
        return {
            "last_ms": self.last_ms,
            "rows": self.rows,
            "runs": self.runs,
            "durations": _plain(self.durations),
            "batches": {str(rows): _plain(found) for rows, found in self.batches.items()},
            "histograms": {key: [one.counts, one.total] for key, one in self.histograms.items()},
            "failures": self.failures,
        }

    def add(self, plain: Mapping[str, Any]) -> None:
        """What another process counted of this version, as its ``plain`` has it."""
        self.last_ms = max(self.last_ms, plain["last_ms"])
        self.rows += plain["rows"]
        self.runs += plain["runs"]
        _add(self.durations, plain["durations"])
        for rows, found in plain["batches"].items():
            _add(self.batches[int(rows)], found)
        for name, (counts, total) in plain["histograms"].items():
            known = self.histograms[name]
            known.counts = list(map(sum, zip(known.counts, counts, strict=True)))
            known.total += total
        self.failures.update(plain["failures"])


def _add(durations: Mapping[str, Duration], plain: Mapping[str, Mapping[str, int]]) -> None:
    for name, one in plain.items():
        durations[name].count += one["count"]
        durations[name].ns += one["ns"]


def _plain(durations: Mapping[str, Duration]) -> dict[str, dict[str, int]]:
    return {name: {"count": one.count, "ns": one.ns} for name, one in durations.items()}
