"""Progress of long work: bytes of a transfer, stages of a job."""

import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import TracebackType
from typing import Any

from rich.console import Console, RenderableType
from rich.progress import (
    BarColumn,
    DownloadColumn,
    MofNCompleteColumn,
    Progress,
    Task,
    TaskID,
    TextColumn,
    TransferSpeedColumn,
)
from rich.table import Column
from rich.text import Text

from tieshare_service.cli import tables

Point = Mapping[str, Any]
Points = Sequence[Point]

# How each figure of a running job is shown, in this order.
METRICS: Mapping[str, Callable[[float], str]] = {
    "accuracy": lambda value: f"{100 * value:.2f} %",
    "loss": lambda value: f"loss {value:.4g}",
    "alive_rows": lambda value: f"{value:.0f} rows",
    "clusters": lambda value: f"{value:.0f} clusters",
    "compression_ratio": lambda value: f"{value:.1f}x",
}


def stderr_console() -> Console:
    """Bars go to stderr, so that stdout holds results alone."""
    return Console(file=sys.stderr)


@contextmanager
def transfer(label: str) -> Iterator[Callable[[int, int], None]]:
    """Draw one upload or download; yields the callback (bytes done, bytes in all)."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(),
        _Speed(),
    )
    with Progress(*columns, console=stderr_console()) as progress:
        task = progress.add_task(label, total=None)
        yield lambda done, total: progress.update(task, completed=done, total=total)


class _Speed(TransferSpeedColumn):
    """Nothing, rather than a question mark, until the speed is known."""

    def render(self, task: Task) -> Text:
        return super().render(task) if task.finished_speed or task.speed else Text()


class _WithFront(Progress):
    """Bars, and below them the front as it grows."""

    front: Points = ()

    def get_renderables(self) -> Iterable[RenderableType]:
        yield from super().get_renderables()
        if self.front:
            yield tables.front(self.front)


class StageBars:
    """One line a stage of a job, in the order in which they begin; the front below them."""

    def __init__(self, console: Console | None = None) -> None:
        self._progress = _WithFront(
            TextColumn("{task.description:<7}", table_column=Column(no_wrap=True)),
            BarColumn(bar_width=10),
            MofNCompleteColumn(table_column=Column(no_wrap=True, min_width=7)),
            TextColumn("{task.fields[left]:>6}", table_column=Column(no_wrap=True)),
            TextColumn("[dim]{task.fields[note]}", table_column=Column(no_wrap=True, ratio=1)),
            console=console or stderr_console(),
            expand=True,
        )
        self._tasks: dict[str, TaskID] = {}
        self._waiting: TaskID | None = None
        self._told: list[Point] = []

    def show(
        self,
        stage: str,
        done: int,
        total: int,
        eta_s: float | None,
        metrics: Mapping[str, float],
    ) -> None:
        """Move the line of ``stage``; the lines before it are done."""
        self._begin()
        if stage not in self._tasks:
            self._finish()
            self._tasks[stage] = self._progress.add_task(stage, total=total, note="", left="")
        self._progress.update(
            self._tasks[stage],
            completed=done,
            total=total,
            left=_minutes(eta_s),
            note=_note(metrics),
        )

    def show_front(self, points: Points) -> None:
        """Draw the front as it stands; a line for each new point where nothing can be redrawn."""
        if self._progress.console.is_terminal:
            self._progress.front = points
            self._progress.refresh()
            return
        for point in points:
            if _figures(point) not in self._told:
                self._told.append(_figures(point))
                self._progress.console.print(_line(point), highlight=False, soft_wrap=True)

    def wait(self) -> None:
        """A line that says that no worker has begun; the first stage takes its place."""
        if not self._tasks:
            self._waiting = self._progress.add_task("queued", total=None, note="", left="")

    def __enter__(self) -> "StageBars":
        self._progress.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._begin()
        if error is None:
            self._finish()
        self._progress.front = ()  # it is part of the result
        self._progress.stop()

    def _begin(self) -> None:
        if self._waiting is not None:
            self._progress.remove_task(self._waiting)
            self._waiting = None

    def _finish(self) -> None:
        for task in self._progress.tasks:
            self._progress.update(task.id, completed=task.total, left="")


def _figures(point: Point) -> Point:
    """What stays of a point while others come before it and the choice moves."""
    return {name: value for name, value in point.items() if name not in ("point", "chosen")}


def _line(point: Point) -> str:
    batch, microseconds = next(iter(point["latency_us"].items()))
    return (
        f"new point: {tables.score(point)}, {tables.ratio(point)}, {point['bytes']:,} bytes, "
        f"{point['packed_bytes']:,} packed, {microseconds:,.1f} µs at batch {batch}"
    )


def _note(metrics: Mapping[str, float]) -> str:
    return " · ".join(show(metrics[name]) for name, show in METRICS.items() if name in metrics)


def _minutes(seconds: float | None) -> str:
    """The time that is left, such as -1:05."""
    return "" if seconds is None else "-{}:{:02}".format(*divmod(round(seconds), 60))
