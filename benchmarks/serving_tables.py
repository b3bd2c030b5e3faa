"""What the serving benchmark found, as tables: every figure, and the ratios that are aimed at."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import NamedTuple

from benchmarks.http_load import Figures

BESIDE = "tieshare, while a job trains"
OURS, FASTAPI, MLSERVER = "tieshare", "plain FastAPI", "MLServer"
EMPTY, IN_PROCESS = "uvicorn answering nothing", "ONNX Runtime in process"


class Way(NamedTuple):
    """How a request carries its samples: in JSON, in binary tensors, or not over HTTP."""

    encoding: str
    batch: int

    def __str__(self) -> str:
        return f"{self.encoding}, batch {self.batch}"


@dataclass(frozen=True)
class Case:
    """What one figure is of. ``form`` is dense or shared."""

    server: str
    model: str
    form: str
    way: Way


Found = Mapping[Case, Figures]
Absent = Mapping[tuple[str, str], str]
"""Why there are no figures of a server, by its name and the model's."""


def in_process(batch: int) -> Way:
    """ONNX Runtime's, of arrays."""
    return Way("arrays", batch)


NO_WAY = Way("empty", 1)
"""The request of the server that answers nothing."""

_JSON_1, _JSON_32, _BINARY_1, _BINARY_32 = (
    Way(encoding, batch) for encoding in ("JSON", "binary") for batch in (1, 32)
)
_OVER = (
    (_JSON_1, "requests/s", MLSERVER, _JSON_1, 8),
    (_JSON_1, "requests/s", FASTAPI, _JSON_1, 3.5),
    (_JSON_1, "requests/s", EMPTY, NO_WAY, 0.5),
    (_BINARY_1, "requests/s", EMPTY, NO_WAY, 0.65),
    (_BINARY_32, "samples/s", IN_PROCESS, in_process(32), 0.7),
    (_JSON_32, "requests/s", MLSERVER, _JSON_32, 2.2),
)
"""Ours in that way over another in its way, and the value to be reached."""


def figures_table(model: str, found: Found, absent: Absent) -> str:
    lines = [
        f"| {model} | file | request | requests/s | samples/s | p50 ms | p99 ms |",
        "|---|---|---|---|---|---|---|",
    ]
    lines += [
        f"| {case.server} | {case.form} | {case.way} | {got.per_second:,.0f} "
        f"| {got.per_second * case.way.batch:,.0f} | {got.p50_ms:.3f} | {got.p99_ms:.3f} |"
        for case, got in found.items()
        if case.model == model
    ]
    lines += [
        f"| {server} | | {reason} | | | | |"
        for (server, name), reason in absent.items()
        if name == model
    ]
    return "\n".join(lines)


def targets_table(models: Iterable[str], found: Found) -> str:
    """A line for each ratio, with the value to be reached and a column for each model."""
    columns = {model: list(_ratios(model, found)) for model in models}
    lines = [
        f"| ratio | to reach | {' | '.join(columns)} |",
        "|---|---|" + "---|" * len(columns),
    ]
    for row in zip(*columns.values(), strict=True):
        cells = " | ".join(text for _, _, text in row)
        lines.append(f"| {row[0][0]} | {row[0][1]} | {cells} |")
    return "\n".join(lines)


def _ratios(model: str, found: Found) -> Iterator[tuple[str, str, str]]:
    """Name, value to be reached, and what was found for this model."""
    for way, unit, other, other_way, reach in _OVER:
        ours, theirs = Case(OURS, model, "dense", way), Case(other, model, "dense", other_way)
        yield f"{way}: {unit} over {other}", f"{reach:g}", _text(_over(found, ours, theirs))
    for way in (_JSON_1, _BINARY_1):
        got = found.get(Case(OURS, model, "dense", way))
        yield f"{way}: p99 over p50", "below 3", _text(got.p99_ms / got.p50_ms if got else None)
    for way in (_JSON_1, _BINARY_1):
        quiet, busy = (found.get(Case(name, model, "dense", way)) for name in (OURS, BESIDE))
        ratio = busy.p99_ms / quiet.p99_ms if quiet and busy else None
        yield f"{way}: p99 while a job trains over p99", "below 2", _text(ratio)
    for way in (_JSON_1, _JSON_32, _BINARY_1, _BINARY_32):
        served = _shared_over_dense(found, Case(OURS, model, "dense", way))
        alone = _shared_over_dense(found, Case(IN_PROCESS, model, "dense", in_process(way.batch)))
        text = f"{_text(served)} beside {_text(alone)}" if served else _text(None)
        yield f"{way}: shared over dense, beside ONNX Runtime alone", "within 10 %", text


def _over(found: Found, above: Case, below: Case) -> float | None:
    if above not in found or below not in found:
        return None
    return found[above].per_second / found[below].per_second


def _shared_over_dense(found: Found, dense: Case) -> float | None:
    return _over(found, replace(dense, form="shared"), dense)


def _text(ratio: float | None) -> str:
    return "not run" if ratio is None else f"{ratio:.2f}"
