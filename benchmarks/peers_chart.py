"""Accuracy over bytes and over latency, a row of charts for each network."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure

Rows = Sequence[Mapping[str, float]]
STYLES = {
    "dense": ("black", "*"),
    "ours": ("#0b6e4f", "o"),
    "group lasso": ("#7a9e9f", "s"),
    "torch-pruning": ("#c1666b", "^"),
    "magnitude": ("#d4a24c", "v"),
}
_AXES = {"bytes": "bytes of the file", "us_1": "microseconds for one sample"}
_SHOWN = 0.05  # what loses more than this is outside the picture


def draw(networks: Mapping[str, Mapping[str, Rows]], folder: Path) -> None:
    """Write peers.svg and peers.png."""
    figure = Figure(figsize=(9, 3.2 * len(networks)), layout="constrained")
    charts = figure.subplots(len(networks), len(_AXES), squeeze=False)
    for (name, methods), line in zip(sorted(networks.items()), charts, strict=True):
        for key, chart in zip(_AXES, line, strict=True):
            _chart(chart, methods, key)
            chart.set_xlabel(_AXES[key])
        line[0].set_ylabel(f"{name}: test accuracy, %")
    charts[0][0].legend(frameon=False, fontsize=8)
    for suffix in ("svg", "png"):
        figure.savefig(folder / f"peers.{suffix}", dpi=150)


def _chart(chart: Axes, methods: Mapping[str, Rows], key: str) -> None:
    (dense,) = methods["dense"]
    for method in (known for known in STYLES if known in methods):
        colour, marker = STYLES[method]
        rows = sorted(methods[method], key=lambda row: row[key])
        shown = [row for row in rows if row["accuracy"] >= dense["accuracy"] - _SHOWN]
        x, y = [row[key] for row in shown], [100 * row["accuracy"] for row in shown]
        chart.plot(x, y, marker, color=colour, label=method, linestyle="-", linewidth=0.8)
    chart.set_xscale("log")
    chart.grid(color="0.9", linewidth=0.6)
    chart.spines[["top", "right"]].set_visible(False)
