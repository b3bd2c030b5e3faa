"""What many jobs and many served models cost the service; ``python -m benchmarks.capacity``.

Records: a database with none and with ``--jobs`` ended jobs, each with a front of eight points and
two hundred events; how long a job takes to submit, to claim, to tell of an epoch and to end, and
what a page of the list takes. Served models: how long it takes to look through a folder of
``--models``.
"""

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmarks.machine import machine
from sqlalchemy import Engine, insert

from tieshare_service.database import open_database
from tieshare_service.inference.folder import scan
from tieshare_service.job_rows import NewJob
from tieshare_service.queue import Queue
from tieshare_service.records import artifacts, datasets, events, jobs, models
from tieshare_service.shelf import MODEL_FILE

TIMES = 200
EVENTS, POINTS, FILES = 200, 8, 40
CHUNK = 1000
POINT = {
    "point": 1,
    "unique_parameters": 12345,
    "compression_ratio": 21.25,
    "bytes": 49_435,
    "packed_bytes": 13_021,
    "macs": 120_000,
    "unpruned_rows": 80,
    "latency_us": {"1": 15.25, "32": 58.75},
    "accuracy": 0.9818,
    "chosen": False,
}
FRONT = [POINT] * POINTS
PROGRESS = {"stage": "path", "done": 3, "total": 95, "unit": "epochs", "eta_s": 61.5}
METRICS = {"accuracy": 0.98, "compression_ratio": 12.5, "alive_rows": 512}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.capacity")
    parser.add_argument("--jobs", type=int, default=20_000)
    parser.add_argument("--models", type=int, nargs="*", default=[1_000, 10_000, 100_000])
    flags = parser.parse_args()
    print(machine("sqlalchemy"))
    with tempfile.TemporaryDirectory() as folder:
        print("\n| ended jobs | submit | claim | progress | end | page of 50 | bytes a job |")
        print("|---|---|---|---|---|---|---|")
        for count in (0, flags.jobs):
            path = Path(folder, f"{count}.db")
            with _opened(path) as engine:
                _fill(engine, count)
                size = path.stat().st_size / count if count else 0
                cells = " | ".join(f"{ms:.2f} ms" for ms in _costs(engine))
                print(f"| {count:,} | {cells} | {size:,.0f} |", flush=True)
        print("\n| served models | to look through them | at most every |")
        print("|---|---|---|")
        made = 0
        root = Path(folder, "models")
        for count in flags.models:
            _serve(root, range(made, count))
            made = count
            took = min(_seconds(lambda: scan(root)) for _ in range(5))
            print(f"| {count:,} | {1000 * took:.0f} ms | {max(0.2, 10 * took):.1f} s |", flush=True)


@contextmanager
def _opened(path: Path) -> Iterator[Engine]:
    engine = open_database(path)
    try:
        with engine.begin() as connection:
            for table, upload_id in ((models, "mdl"), (datasets, "dat")):
                row = {"id": upload_id, "name": "digits", "sha256": "", "bytes": 1, "card": {}}
                connection.execute(insert(table).values({**row, "created_at": 0.0}))
        yield engine
    finally:
        engine.dispose()


def _fill(engine: Engine, count: int) -> None:
    """With jobs that have ended."""
    result = {"report": {"front": FRONT}, "artifacts": [f"file-{n}" for n in range(FILES)]}
    for first in range(0, count, CHUNK):
        ids = [f"job_{number:020}" for number in range(first, min(first + CHUNK, count))]
        with engine.begin() as connection:
            connection.execute(insert(jobs), [_ended(job_id, result) for job_id in ids])
            connection.execute(
                insert(events),
                [
                    {"job_id": one, "seq": seq, "at": 1.0, "type": "progress", "data": PROGRESS}
                    for one in ids
                    for seq in range(1, EVENTS + 1)
                ],
            )
            connection.execute(
                insert(artifacts),
                [
                    {"job_id": one, "name": f"file-{n}", "sha256": "0" * 64, "bytes": 1}
                    for one in ids
                    for n in range(FILES)
                ],
            )


def _ended(job_id: str, result: dict[str, Any]) -> dict[str, Any]:
    named = {"id": job_id, "name": "digits", "model_id": "mdl", "dataset_id": "dat"}
    times = {"created_at": 1.0, "started_at": 2.0, "ended_at": 3.0, "updated_at": 3.0}
    state = {"status": "succeeded", "attempt": 1, "leases_lost": 0, "cancel_requested": False}
    told = {"recipe": {"seed": 0}, "metrics": METRICS, "front": FRONT, "result": result}
    return {**named, **times, **state, **told}


def _costs(engine: Engine) -> list[float]:
    """Milliseconds, medians: submit, claim, progress, end, list."""
    queue = Queue(engine, time.time)
    held: list[tuple[str, int]] = []

    def claim() -> None:
        job = queue.claim("worker", 1000.0)
        assert job is not None
        held.append((job.id, job.attempt))

    def end() -> None:
        queue.succeed(*held.pop(), {"report": {"front": FRONT}})

    def tell() -> None:
        queue.progress(*held[-1], {**PROGRESS, "metrics": METRICS})

    asked: list[Callable[[], object]] = [
        lambda: queue.submit(NewJob("mdl", "dat", {"seed": 0})),
        claim,
        tell,
        end,
        lambda: queue.list(page_size=50),
    ]
    return [1000 * statistics.median(_seconds(ask) for _ in range(TIMES)) for ask in asked]


def _serve(root: Path, numbers: range) -> None:
    """Folders of one version each, all of the same file, as far as the disk allows."""
    root.mkdir(exist_ok=True)
    source = root.parent / MODEL_FILE
    source.touch()
    for number in numbers:
        folder = root / f"model-{number}" / "1"
        folder.mkdir(parents=True)
        try:
            os.link(source, folder / MODEL_FILE)
        except OSError:  # too many links
            source.unlink()
            source.touch()
            os.link(source, folder / MODEL_FILE)


def _seconds(call: Callable[[], object]) -> float:
    began = time.perf_counter()
    call()
    return time.perf_counter() - began


if __name__ == "__main__":
    main()
