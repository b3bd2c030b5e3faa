"""What was asked of each version and how long it took, since the process began."""

import time
from bisect import bisect_left
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
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
class Sums:
    """Of the times of so many requests, in nanoseconds."""

    count: int = 0
    queue: int = 0
    input: int = 0
    infer: int = 0
    output: int = 0

    def add(self, times: Times) -> None:
        """One more request."""
        self.count += 1
        self.queue += times.queue
        self.input += times.input
        self.infer += times.infer
        self.output += times.output

    def join(self, plain: Mapping[str, int]) -> None:
        """Those of other requests, as ``asdict`` has them."""
        for name, value in plain.items():
            setattr(self, name, getattr(self, name) + value)

    @property
    def total(self) -> int:
        """All parts of all requests."""
        return self.queue + self.input + self.infer + self.output

    def parts(self) -> dict[str, dict[str, int]]:
        """Of the run and what is done around it, as the protocol has it."""
        parts = {"input": self.input, "infer": self.infer, "output": self.output}
        return {f"compute_{name}": self.duration(ns) for name, ns in parts.items()}

    def duration(self, ns: int) -> dict[str, int]:
        """As the protocol has it."""
        return {"count": self.count, "ns": ns}


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


def _histograms() -> dict[str, Histogram]:
    seconds = {name: Histogram(BUCKETS_S) for name in ("inference", "queue", "compute")}
    return seconds | {"batch": Histogram(BUCKETS_ROWS)}


@dataclass(slots=True)
class ModelStatistics:
    """Of one version; used from the event loop only.

    ``last_ms``   since the epoch, of the last request; 0 before the first.
    ``rows``      samples that were answered. ``runs``: of the model.
    ``answered``  all requests that were. ``batches``: the first of each run, by the run's rows.
    ``refused``   how many, and nanoseconds in all.
    """

    last_ms: int = 0
    rows: int = 0
    runs: int = 0
    answered: Sums = field(default_factory=Sums)
    refused: list[int] = field(default_factory=lambda: [0, 0])
    batches: defaultdict[int, Sums] = field(default_factory=lambda: defaultdict(Sums))
    histograms: dict[str, Histogram] = field(default_factory=_histograms)
    failures: Counter[Reason] = field(default_factory=Counter)

    def succeeded(self, times: Times) -> None:
        """One request was answered."""
        self.last_ms = time.time_ns() // 1_000_000
        self.rows += times.rows
        self.answered.add(times)
        histograms = self.histograms
        if times.first:
            self.runs += 1
            self.batches[times.run_rows].add(times)
            histograms["batch"].add(times.run_rows)
        histograms["inference"].add(times.total / 1e9)
        histograms["queue"].add(times.queue / 1e9)
        histograms["compute"].add(times.infer / 1e9)

    def failed(self, reason: Reason, ns: int) -> None:
        """One request was refused."""
        self.last_ms = time.time_ns() // 1_000_000
        self.refused[0] += 1
        self.refused[1] += ns
        self.failures[reason] += 1

    def durations(self) -> dict[str, dict[str, int]]:
        """``count`` and ``ns`` of each part, as the statistics extension of the protocol has it."""
        answered, (refused, ns) = self.answered, self.refused
        return {
            "success": answered.duration(answered.total),
            "fail": {"count": refused, "ns": ns},
            "queue": answered.duration(answered.queue),
            **answered.parts(),
        }

    def document(self, name: str, version: int) -> dict[str, Any]:
        """As the statistics extension of the protocol has it."""
        return {
            "name": name,
            "version": str(version),
            "last_inference": self.last_ms,
            "inference_count": self.rows,
            "execution_count": self.runs,
            "inference_stats": self.durations(),
            "batch_stats": [
                {"batch_size": rows} | sums.parts() for rows, sums in sorted(self.batches.items())
            ],
        }

    def plain(self) -> dict[str, Any]:
        """All of it, as JSON has it."""
        return {
            "last_ms": self.last_ms,
            "rows": self.rows,
            "runs": self.runs,
            "answered": asdict(self.answered),
            "refused": self.refused,
            "batches": {str(rows): asdict(sums) for rows, sums in self.batches.items()},
            "histograms": {key: [one.counts, one.total] for key, one in self.histograms.items()},
            "failures": self.failures,
        }

    def add(self, plain: Mapping[str, Any]) -> None:
        """What another process counted of this version, as its ``plain`` has it."""
        self.last_ms = max(self.last_ms, plain["last_ms"])
        self.rows += plain["rows"]
        self.runs += plain["runs"]
        self.answered.join(plain["answered"])
        self.refused = _sums(self.refused, plain["refused"])
        for rows, sums in plain["batches"].items():
            self.batches[int(rows)].join(sums)
        for name, (counts, total) in plain["histograms"].items():
            known = self.histograms[name]
            known.counts = _sums(known.counts, counts)
            known.total += total
        self.failures.update(plain["failures"])


def _sums(ones: Iterable[int], others: Iterable[int]) -> list[int]:
    return list(map(sum, zip(ones, others, strict=True)))
