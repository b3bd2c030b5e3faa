"""The front of a job as a picture: how good each result is over its bytes and over its latency.

Scores are those on held-out data, on which the points were chosen; the uploaded model's is worked
out from the chosen point's and the drop between the two. Same report, same bytes.
"""

import io
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from tieshare.chart_labels import Points, offsets
from tieshare.errors import MissingExtra
from tieshare.report import FrontPoint, Report

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SHARED, PACKED = "#0072b2", "#d55e00"  # apart for every kind of colour vision (Okabe and Ito)
INK, QUIET, FAINT = "#222222", "#6b6b6b", "#e3e3e3"
BYTES = ((1e9, "GB"), (1e6, "MB"), (1e3, "KB"), (1, "B"))
MICROSECONDS = ((1e6, "s"), (1e3, "ms"), (1, "µs"))

_STYLE = {
    "axes.edgecolor": QUIET,
    "axes.grid": True,
    "axes.grid.axis": "y",
    "axes.labelcolor": INK,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlelocation": "left",
    "axes.titlesize": 9,
    "font.size": 9,
    "grid.color": FAINT,
    "svg.fonttype": "none",
    "svg.hashsalt": "tieshare",
    "text.color": INK,
    "xtick.color": QUIET,
    "xtick.labelcolor": INK,
    "ytick.color": QUIET,
    "ytick.labelcolor": INK,
}
_DASHES = (0, (4, 3))
_NEAR = 13  # typographic points: a number that is further from its mark gets a line to it
_LEADER = {"arrowstyle": "-", "color": QUIET, "linewidth": 0.5, "shrinkA": 4, "shrinkB": 3}
# Where the ticks of a decade may be, the coarsest first.
_STEPS = (
    (1,),
    (1, 3),
    (1, 2, 5),
    (1, 1.5, 2, 3, 5, 7),
    *(tuple(np.arange(1, 10, step)) for step in (1, 0.5, 0.2, 0.1)),
)
_MOST_TICKS = 6


@dataclass(frozen=True)
class _Series:
    """One mark for each point of the front, at ``places``; a line joins them where ``joined``."""

    name: str
    places: Sequence[float]
    colour: str
    marker: str
    joined: bool = True


@dataclass(frozen=True)
class _Panel:
    """``dense``: the place of the uploaded model; ``units``: of the scale, largest first."""

    title: str
    label: str
    series: tuple[_Series, ...]
    dense: float
    units: Sequence[tuple[float, str]]


@dataclass(frozen=True)
class _Scores:
    """Of the points and, where it is known, of the uploaded model, as the scale counts them.

    ``limits``: of the scale. ``most``: what no score exceeds.
    """

    label: str
    points: Sequence[float]
    dense: Sequence[float]
    limits: tuple[float, float]
    most: float


def svg(report: Report) -> str:
    """SVG text. Raises MissingExtra where matplotlib is not installed."""
    return _drawn(report, "svg").decode()


def png(report: Report) -> bytes:
    """A PNG of 1500 x 675 pixels. Raises MissingExtra where matplotlib is not installed."""
    return _drawn(report, "png")


def _drawn(report: Report, form: str) -> bytes:
    try:
        # Everything but this picture works without matplotlib.
        from matplotlib import style  # noqa: PLC0415
        from matplotlib.backends.backend_agg import FigureCanvasAgg  # noqa: PLC0415
        from matplotlib.figure import Figure  # noqa: PLC0415
    except ImportError as error:
        raise MissingExtra("the picture of a front", extra="plot") from error
    file = io.BytesIO()
    with style.context(["default", _STYLE]):
        figure = Figure(figsize=(10, 4.5), layout="constrained", facecolor="white")
        FigureCanvasAgg(figure)
        _draw(figure, report)
        undated = {"Date": None, "Creator": None} if form == "svg" else {"Software": None}
        figure.savefig(file, format=form, dpi=150, metadata=undated)
    return file.getvalue()


def _draw(figure: "Figure", report: Report) -> None:
    scores = _scores(report)
    axes = figure.subplots(1, 2, sharey=True, width_ratios=(1.5, 1))
    panels = _panels(report)
    for one, panel in zip(axes, panels, strict=True):
        _marks(one, panel, scores, report.front)
        _scale(one, panel)
    axes[0].set_ylabel(scores.label)
    axes[0].set_ylim(scores.limits)
    low, high = scores.limits[0], min(scores.limits[1], scores.most)
    axes[0].set_yticks([tick for tick in axes[0].get_yticks() if low <= tick <= high])
    handles, names = axes[0].get_legend_handles_labels()
    figure.legend(handles, names, loc="outside lower left", ncols=len(names), frameon=False)
    figure.draw_without_rendering()  # numbers are placed on paper, once the layout is known
    figure.set_layout_engine("none")
    for one, panel in zip(axes, panels, strict=True):
        _number(one, panel, scores, report.front)


def _panels(report: Report) -> tuple[_Panel, _Panel]:
    front, dense = report.front, report.baseline
    batch = min(dense.latency_us)
    shared = _Series("shared file", [point.bytes for point in front], SHARED, "o")
    packed = _Series("packed file", [point.packed_bytes for point in front], PACKED, "D")
    times = [point.latency_us[batch] for point in front]
    timed = _Series("shared file", times, SHARED, "o", joined=False)
    size, speed = "Size", "Speed"
    for point in front:
        if point.chosen:
            smaller = _times(dense.bytes / point.bytes)
            size += f": chosen {smaller} smaller, packed {_times(dense.bytes / point.packed_bytes)}"
            speed += f": chosen {_times(dense.latency_us[batch] / point.latency_us[batch])} faster"
    call = f"time of one call at batch {batch}, one thread"
    return (
        _Panel(size, "size of the file", (shared, packed), dense.bytes, BYTES),
        _Panel(speed, call, (timed,), dense.latency_us[batch], MICROSECONDS),
    )


def _times(ratio: float) -> str:
    return f"{ratio:,.0f}x" if ratio >= 100 else f"{ratio:.1f}x"


def _scores(report: Report) -> _Scores:
    held = report.held_out
    if report.baseline.accuracy is not None:
        label = "accuracy on held-out data, %"
        points = [100 * (point.accuracy or 0.0) for point in report.front]
        dense = [100 * (held.accuracy + held.drop)] if held and held.accuracy is not None else []
        least, most = 0.4, 100.0
    else:
        label = "loss on held-out data, lower is better"
        points = [point.loss or 0.0 for point in report.front]
        dense = [held.loss / (1 + held.drop)] if held and held.loss is not None else []
        least, most = 0.1 * max([*points, *dense], default=1.0) or 1.0, math.inf
    found = [*points, *dense] or [0.0]
    low, high = min(found), max(found)
    margin = max(0.1 * (high - low), (least - (high - low)) / 2)
    return _Scores(
        label, points, dense, (low - margin, min(high, most - margin / 2) + margin), most
    )


def _marks(axes: "Axes", panel: _Panel, scores: _Scores, front: Sequence[FrontPoint]) -> None:
    for score in scores.dense:
        axes.axhline(score, color=QUIET, linewidth=1, linestyle=_DASHES, zorder=1)
        axes.plot(panel.dense, score, "s", color=QUIET, markersize=6, label="dense model")
    for series in panel.series:
        axes.plot(
            series.places,
            scores.points,
            marker=series.marker,
            color=series.colour,
            linewidth=1,
            linestyle="-" if series.joined else "none",
            markersize=5,
            label=series.name,
        )
    for series in panel.series:
        for place, score, point in zip(series.places, scores.points, front, strict=True):
            if point.chosen:
                label = "chosen" if series is panel.series[0] else None
                axes.plot(place, score, "o", mfc="none", mec=INK, ms=10, label=label)


def _scale(axes: "Axes", panel: _Panel) -> None:
    """A logarithmic scale with ticks at round numbers of bytes or microseconds."""
    places = [panel.dense, *(place for series in panel.series for place in series.places)]
    low, high = min(places), max(places)
    margin = max((high / low) ** 0.07, 1.15)
    low, high = low / margin, high * margin
    ticks = _ticks(low, high)
    axes.set_xscale("log")
    axes.set_xlim(low, high)
    axes.set_xticks(ticks, [_in_units(tick, panel.units) for tick in ticks])
    axes.set_xticks([], minor=True)
    axes.set(title=panel.title, xlabel=panel.label)


def _ticks(low: float, high: float) -> list[float]:
    """Round numbers from ``low`` to ``high``: as many as there is room for."""
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    found: list[float] = []
    for steps in _STEPS:
        ticks = [step * 10.0**decade for decade in decades for step in steps]
        ticks = [tick for tick in ticks if low <= tick <= high]
        if len(found) < len(ticks) <= _MOST_TICKS:
            found = ticks
    return found


def _in_units(value: float, units: Sequence[tuple[float, str]]) -> str:
    size, name = next((unit for unit in units if value >= unit[0]), units[-1])
    return f"{value / size:.4g} {name}"


def _number(axes: "Axes", panel: _Panel, scores: _Scores, front: Sequence[FrontPoint]) -> None:
    """The number of each point beside each of its marks."""
    curves = [_on_paper(axes, series.places, scores.points) for series in panel.series]
    dense = [_on_paper(axes, [panel.dense], [score]) for score in scores.dense]
    lines = [_on_paper(axes, axes.get_xlim(), [score, score]) for score in scores.dense]
    lines += [c for c, series in zip(curves, panel.series, strict=True) if series.joined]
    texts = [str(point.point) for _ in panel.series for point in front]
    moves = offsets(np.concatenate([*curves, *dense]), [*texts, *("" for _ in dense)], lines)
    named = [
        (place, score, point, series.colour)
        for series in panel.series
        for place, score, point in zip(series.places, scores.points, front, strict=True)
    ]
    for (place, score, point, colour), move in zip(named, moves, strict=False):
        axes.annotate(
            str(point.point),
            (place, score),
            move,
            textcoords="offset points",
            ha="center",
            va="center",
            color=colour,
            fontsize=8,
            fontweight="bold" if point.chosen else "normal",
            arrowprops=_LEADER if math.hypot(*move) > _NEAR else None,
        )


def _on_paper(axes: "Axes", places: Sequence[float], scores: Sequence[float]) -> Points:
    """Places and scores of one panel in typographic points (n, 2), from its lower left corner."""
    pixels = axes.transData.transform(np.column_stack([places, scores]))
    corner = axes.transAxes.transform((0, 0))
    paper: Points = (pixels - corner) * 72 / axes.figure.dpi
    return paper
