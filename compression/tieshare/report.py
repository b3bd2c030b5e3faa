"""``report.json``: every number of it was measured on the file it describes."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from tieshare.exports.count import Counts
from tieshare.score import Score

FILES = ("baseline", "tied", "shared", "packed")


@dataclass(frozen=True)
class FileReport:
    """One ONNX file. ``latency_us``: microseconds of a call by batch size, one thread.

    Exactly one of ``accuracy`` (a fraction) and ``loss`` (mean squared error) is there, both on
    the test split; ``score`` says what they are where several outputs are trained.
    """

    bytes: int
    parameters: int
    unique_parameters: int
    compression_ratio: float
    sparsity: float
    parameter_sharing: float
    latency_us: Mapping[int, float]
    accuracy: float | None = None
    loss: float | None = None

    @classmethod
    def of(
        cls, size: int, counts: Counts, score: Score, latency_us: Mapping[int, float]
    ) -> "FileReport":
        """From what was counted and measured on the file of ``size`` bytes."""
        return cls(
            bytes=size,
            parameters=counts.parameters,
            unique_parameters=counts.unique_parameters,
            compression_ratio=counts.compression_ratio,
            sparsity=counts.sparsity,
            parameter_sharing=counts.parameter_sharing,
            latency_us=dict(latency_us),
            accuracy=score.accuracy,
            loss=score.loss,
        )


@dataclass(frozen=True)
class LayerReport:
    """One layer of the tied model; ``form``: how the shared file stores it, ``reason``: why.

    ``bits``: of each of its values in the packed file.
    """

    name: str
    operator: str
    rows: int
    columns: int
    alive: int
    clusters: int
    form: str
    reason: str
    bits: int


@dataclass(frozen=True)
class FrontPoint:
    """One result of the job: scored on held-out data, measured on its files.

    ``point``         its number, from 1; the largest network comes first.
    ``bytes``         of its shared file; ``packed_bytes`` of its packed file.
    ``macs``          multiplications of one sample.
    ``latency_us``    of its shared file, as in FileReport.
    ``chosen``        it is the one that the target picks.
    """

    point: int
    unique_parameters: int
    compression_ratio: float
    bytes: int
    packed_bytes: int
    macs: int
    latency_us: Mapping[int, float]
    accuracy: float | None = None
    loss: float | None = None
    chosen: bool = False


@dataclass(frozen=True)
class HeldOut:
    """The choice was made on these samples; ``drop`` is against the uploaded model on them."""

    samples: int
    drop: float
    standard_error: float
    accuracy: float | None = None
    loss: float | None = None


@dataclass(frozen=True)
class Report:
    """What a job found out. ``paper_ratio`` counts the regularised layers alone."""

    baseline: FileReport
    tied: FileReport
    shared: FileReport
    packed: FileReport
    paper_ratio: float
    layers: tuple[LayerReport, ...] = ()
    front: tuple[FrontPoint, ...] = ()
    held_out: HeldOut | None = None
    recipe: Mapping[str, Any] = field(default_factory=dict)
    seeds: Mapping[str, int] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON; a score that was not taken is left out."""
        plain = asdict(self)
        scored = [*(plain[name] for name in FILES), *plain["front"]]
        if self.held_out is None:
            del plain["held_out"]
        else:
            scored.append(plain["held_out"])
        for part in scored:
            for name in ("accuracy", "loss"):
                if part[name] is None:
                    del part[name]
            if "latency_us" in part:
                part["latency_us"] = {str(size): us for size, us in part["latency_us"].items()}
        return plain

    def to_json(self) -> str:
        """The text of ``report.json``."""
        return json.dumps(self.to_dict(), indent=2, allow_nan=False) + "\n"

    @classmethod
    def from_dict(cls, plain: Mapping[str, Any]) -> "Report":
        """The way back from what ``to_dict`` wrote."""
        values = dict(plain)
        for name in FILES:
            values[name] = FileReport(**_with_numbers(values[name]))
        values["layers"] = tuple(LayerReport(**layer) for layer in values["layers"])
        values["front"] = tuple(FrontPoint(**_with_numbers(it)) for it in values["front"])
        values["notes"] = tuple(values["notes"])
        if "held_out" in values:
            values["held_out"] = HeldOut(**values["held_out"])
        return cls(**values)

    def table(self) -> str:
        """The files side by side, as plain text."""
        files = {"dense": self.baseline, "tied": self.tied}
        files |= {"shared": self.shared, "packed": self.packed}
        batches = list(self.baseline.latency_us)
        scored = "accuracy" if self.baseline.accuracy is not None else "loss"
        rows = [["", scored, "bytes", "parameters", "unique", "ratio"]]
        rows[0] += [f"batch {batch}" for batch in batches]
        for name, file in files.items():
            cells = [name, _score_text(file), f"{file.bytes:,}", f"{file.parameters:,}"]
            cells += [f"{file.unique_parameters:,}", f"{file.compression_ratio:.1f}x"]
            rows.append(cells + [f"{file.latency_us[batch]:,.1f} us" for batch in batches])
        return _aligned(rows)


def _with_numbers(part: Mapping[str, Any]) -> dict[str, Any]:
    """JSON's keys are text; batch sizes are numbers."""
    return {**part, "latency_us": {int(size): us for size, us in part["latency_us"].items()}}


def _score_text(file: FileReport) -> str:
    if file.accuracy is not None:
        return f"{100 * file.accuracy:.2f} %"
    return "" if file.loss is None else f"{file.loss:.4g}"


def _aligned(rows: list[list[str]]) -> str:
    """Names to the left, figures to the right, two spaces between columns."""
    widths = [max(len(cell) for cell in column) for column in zip(*rows, strict=True)]
    lines = []
    for name, *cells in rows:
        figures = [cell.rjust(width) for cell, width in zip(cells, widths[1:], strict=True)]
        lines.append("  ".join([name.ljust(widths[0]), *figures]))
    return "\n".join(lines) + "\n"
