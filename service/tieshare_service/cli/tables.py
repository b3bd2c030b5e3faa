"""Results for people, as tables."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, TypeVar

import click
from rich.box import SIMPLE
from rich.console import Console
from rich.markup import escape
from rich.table import Table

T = TypeVar("T")

FILES = {"baseline": "dense", "tied": "tied", "shared": "shared", "packed": "packed"}


def rows(columns: Mapping[str, Callable[[T], object]], items: Iterable[T]) -> Table:
    """One row an item; a column is a heading and what it shows of an item."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in columns:
        table.add_column(heading, overflow="fold")
    for item in items:
        table.add_row(*(cell(show(item)) for show in columns.values()))
    return table


def facts(pairs: Sequence[tuple[str, object]]) -> Table:
    """One item: its fields below each other."""
    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column(style="bold")
    table.add_column(overflow="fold")
    for name, value in pairs:
        table.add_row(name, cell(value))
    return table


def report(plain: Mapping[str, Any]) -> Table:
    """The files of a report.json side by side."""
    table = Table(box=SIMPLE, pad_edge=False, header_style="bold")
    batches = list(plain["baseline"]["latency_us"])
    headings = [_scored(plain["baseline"]), "bytes", "parameters", "unique", "ratio"]
    table.add_column("")
    for heading in headings + [f"batch {batch}" for batch in batches]:
        table.add_column(heading, justify="right", no_wrap=True)
    for key, name in FILES.items():
        if file := plain.get(key):  # an earlier version packed nothing
            counts = [f"{file[field]:,}" for field in ("bytes", "parameters", "unique_parameters")]
            latency = [_microseconds(file["latency_us"][batch]) for batch in batches]
            table.add_row(name, score(file), *counts, ratio(file), *latency)
    return table


def front(points: Sequence[Mapping[str, Any]]) -> Table:
    """The points of a front below each other; the chosen one stands out."""
    table = Table(box=SIMPLE, pad_edge=False, header_style="bold")
    batches = list(points[0]["latency_us"])
    headings = ["point", _scored(points[0]), "bytes", "packed", "ratio"]
    for heading in headings + [f"batch {batch}" for batch in batches]:
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("")
    for point in points:
        sizes = [f"{point[field]:,}" for field in ("bytes", "packed_bytes")]
        latency = [_microseconds(point["latency_us"][batch]) for batch in batches]
        cells = [str(point["point"]), score(point), *sizes, ratio(point), *latency]
        mark, style = ("chosen", "bold") if point["chosen"] else ("", "")
        table.add_row(*cells, mark, style=style)
    return table


def score(measured: Mapping[str, Any]) -> str:
    """The accuracy or the loss of a file or a point."""
    name = _scored(measured)
    return f"{100 * measured[name]:.2f} %" if name == "accuracy" else f"{measured[name]:.4g}"


def ratio(measured: Mapping[str, Any]) -> str:
    """How many times fewer unique parameters."""
    return f"{measured['compression_ratio']:.1f}x"


def _scored(measured: Mapping[str, Any]) -> str:
    return "loss" if measured.get("accuracy") is None else "accuracy"


def _microseconds(value: float) -> str:
    return f"{value:,.1f} µs"


def notes(texts: Iterable[str]) -> None:
    """Print to stderr what a report says about itself, a paragraph each."""
    for text in texts:
        click.echo(f"Note: {text}", err=True)


def cell(value: object) -> str:
    """A value as text; times to the second, in local time; nothing is read as markup."""
    if value is None:
        return ""
    if isinstance(value, datetime):
        return value.astimezone().strftime("%Y-%m-%d %H:%M:%S")
    return f"{value:,}" if isinstance(value, int) else escape(str(value))


def show(table: Table) -> None:
    """Print it to stdout, at full width where stdout is no terminal."""
    console = Console()
    if not console.is_terminal:
        console = Console(width=240)
    console.print(table)
