"""Serving speed of one worker on one core, load from another.

    python -m benchmarks.serving [--models mlp cnn] [--peers mlserver triton ...] [--seconds S]

One run, medians of three rounds in which each server is started, checked against ONNX Runtime and
measured in turn: the inference endpoint (JSON and binary tensors, one sample a request and many,
a dense file and a smaller one, and while a job trains on the core of the load), a plain FastAPI
handler, and as limits uvicorn answering nothing and ONNX Runtime with no server at all. Each of
--peers gets an environment of its own, made by pip and kept in --environments; one that can't be
installed or started is named with the reason.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from benchmarks.http_load import Figures, generator, load
from benchmarks.machine import machine
from benchmarks.serving_environments import environment, installed, last_line
from benchmarks.serving_models import Served, networks, write
from benchmarks.serving_requests import asked
from benchmarks.serving_servers import PEERS, SERVERS, Server, Unusable
from benchmarks.serving_start import free_port, on_core, running
from benchmarks.serving_tables import (
    BESIDE,
    IN_PROCESS,
    OURS,
    Case,
    figures_table,
    in_process,
    targets_table,
)
from benchmarks.serving_training import training

CONNECTIONS = 16
ROUNDS = 3
WARM_S = 1.0


@dataclass(frozen=True)
class Bench:
    """What is the same for every server. ``files``: of each model, FOLDER/MODEL/FORM/..."""

    folder: Path
    files: Mapping[str, Mapping[str, Served]]
    batches: tuple[int, ...]
    seconds: float
    core: int


def main() -> None:
    """Print the tables."""
    flags = _flags()
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) < 2:
        sys.exit("two cores are needed: one for the server, one for the load")
    shared = dict(flags.shared)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        files = {model: write(model, folder / model, shared.get(model)) for model in flags.models}
        bench = Bench(folder, files, tuple(flags.batch), flags.seconds, cores[0])
        absent: dict[tuple[str, str], str] = {}
        pythons = dict(_pythons(flags, absent))
        os.sched_setaffinity(0, {cores[1]})
        rounds = defaultdict(list)
        for number in range(ROUNDS):
            print(f"round {number + 1} of {ROUNDS}", file=sys.stderr, flush=True)
            for case, figures in _round(bench, pythons, absent):
                rounds[case].append(figures)
    found = {case: _median(figures) for case, figures in rounds.items()}
    for model in flags.models:
        print(figures_table(model, found, absent) + "\n")
    print(targets_table(flags.models, found))
    versions = [
        f"{server.packages[0]} {installed(python, server.packages[0])}"
        for server, python in pythons.items()
        if server.packages
    ]
    print(
        f"\n{CONNECTIONS} connections, medians of {ROUNDS} x {flags.seconds:g} s; load by "
        f"{generator()}. {machine('onnxruntime', 'uvicorn', 'fastapi')}"
        + "".join(f", {text}" for text in versions)
    )


def _pythons(
    flags: argparse.Namespace, absent: dict[tuple[str, str], str]
) -> Iterator[tuple[Server, Path]]:
    """The servers that can run, each with its interpreter."""
    yield from ((server, Path(sys.executable)) for server in SERVERS)
    for key in flags.peers:
        server = PEERS[key]
        print(f"environment of {server.name}", file=sys.stderr, flush=True)
        try:
            yield server, environment(flags.environments / key, server.packages)
        except (Unusable, subprocess.SubprocessError) as why:
            absent |= {(server.name, model): last_line(str(why)) for model in flags.models}


def _round(
    bench: Bench, pythons: Mapping[Server, Path], absent: dict[tuple[str, str], str]
) -> Iterator[tuple[Case, Figures]]:
    """Every figure once. A peer that failed is not tried again."""
    for model, files in bench.files.items():
        for form, served in files.items():
            for batch in bench.batches:
                case = Case(IN_PROCESS, model, form, in_process(batch))
                yield case, _in_process(served, batch, bench)
        for server, python in pythons.items():
            if (server.name, model) in absent:
                continue
            try:
                yield from _served(bench, server, python, model)
            except (Unusable, OSError, RuntimeError, subprocess.SubprocessError) as why:
                if not server.packages:
                    raise
                absent[server.name, model] = last_line(str(why))


def _served(
    bench: Bench, server: Server, python: Path, model: str
) -> Iterator[tuple[Case, Figures]]:
    every = list(asked(server, free_port(), bench.files[model], bench.batches))
    with running(server, python, bench.folder / model, bench.core, every[0].request):
        for one in every:
            one.check()
        for one in every:
            load(one.request, CONNECTIONS, WARM_S)
            figures = load(one.request, CONNECTIONS, bench.seconds)
            yield Case(server.name, model, one.form, one.way), figures
        if server.name == OURS:
            with training():
                for one in every:
                    if one.form == "dense" and one.way.batch == 1:
                        figures = load(one.request, CONNECTIONS, bench.seconds)
                        yield Case(BESIDE, model, one.form, one.way), figures


def _in_process(served: Served, batch: int, bench: Bench) -> Figures:
    x, times = served.samples(batch), []
    with on_core(bench.core):
        started = before = time.perf_counter()
        while before - started < bench.seconds:
            served.answer(x)
            after = time.perf_counter()
            times.append(after - before)
            before = after
    p50, p99 = np.percentile(times, [50, 99]) * 1000
    return Figures(len(times) / (before - started), float(p50), float(p99))


def _median(rounds: list[Figures]) -> Figures:
    return Figures(
        statistics.median(figures.per_second for figures in rounds),
        statistics.median(figures.p50_ms for figures in rounds),
        statistics.median(figures.p99_ms for figures in rounds),
    )


def _flags() -> argparse.Namespace:
    models = list(networks())
    parser = argparse.ArgumentParser(prog="python -m benchmarks.serving")
    parser.add_argument("--seconds", type=float, default=10.0, help="of load for each figure")
    parser.add_argument(
        "--batch", type=int, nargs="+", default=[1, 32], help="samples in one request"
    )
    parser.add_argument("--models", nargs="+", choices=models, default=models)
    parser.add_argument(
        "--peers",
        nargs="+",
        choices=list(PEERS),
        default=[],
        metavar="NAME",
        help=f"measured beside ours: {', '.join(PEERS)}",
    )
    parser.add_argument(
        "--shared",
        nargs="+",
        type=_shared,
        default=[],
        metavar="MODEL=FILE",
        help="the shared file of a real job, in place of one made here",
    )
    parser.add_argument(
        "--environments", type=Path, default=Path("benchmarks/results/serving-environments")
    )
    return parser.parse_args()


def _shared(text: str) -> tuple[str, Path]:
    model, _, file = text.partition("=")
    if model not in networks():
        raise argparse.ArgumentTypeError(f"no such model: {model}")
    return model, Path(file)


if __name__ == "__main__":
    main()
