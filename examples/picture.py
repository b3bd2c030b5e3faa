"""The first layer of the demo's network before and after, as one picture."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import Colormap, ListedColormap
from matplotlib.figure import Figure

SIDE = 8  # pixels of an image
DEAD = "#e6e6e6"
ALONE = "#8c8c8c"
INK = "#222222"


@dataclass(frozen=True)
class Rows:
    """What became of each row of a weight matrix: one row an input, here a pixel.

    ``kind``   (rows,): 0 dead, 1 alive and alone, 2, 3, ... the cluster, largest first
    ``order``  (rows,): the rows by cluster, then those alone, then the dead
    """

    kind: np.ndarray
    order: np.ndarray

    @property
    def clusters(self) -> int:
        """How many sets of rows share a value."""
        return max(0, int(self.kind.max()) - 1)


def read_rows(tied: np.ndarray) -> Rows:
    """Find dead and equal rows in a tied weight matrix of shape (rows, columns)."""
    _, group, sizes = np.unique(tied, axis=0, return_inverse=True, return_counts=True)
    group = group.reshape(-1)
    dead = np.all(tied == 0, axis=1)
    kind = np.where(dead, 0, 1)
    shared = [number for number in np.argsort(-sizes, kind="stable") if sizes[number] > 1]
    shared = [number for number in shared if not dead[group == number][0]]
    for position, number in enumerate(shared):
        kind[group == number] = 2 + position
    rank = np.where(kind == 0, kind.max() + 2, np.where(kind == 1, kind.max() + 1, kind))
    return Rows(kind, np.argsort(rank, kind="stable"))


def draw(dense: np.ndarray, tied: np.ndarray, mean_image: np.ndarray, file: Path) -> Rows:
    """Draw both weight matrices, (rows, columns), and the pixels coloured by cluster.

    The rows of both stand in the same order; the columns too, sorted so that neurons whose
    weights are alike stand side by side, and those that are gone stand last.
    """
    rows = read_rows(tied)
    columns = _similar(tied)
    colours = _colours(rows.clusters)
    figure = Figure(figsize=(13, 7.4), layout="constrained", facecolor="white")
    grid = figure.add_gridspec(1, 2, width_ratios=(2.3, 1))
    left, right = figure.add_subfigure(grid[0]), figure.add_subfigure(grid[1])
    before, after = left.subplots(1, 2, sharey=True)
    limit = float(np.quantile(np.abs(dense), 0.995))
    for axes, matrix in ((before, dense), (after, tied)):
        neurons = int(matrix.any(axis=0).sum())
        shown = matrix[rows.order][:, columns]
        image = axes.imshow(
            shown, cmap="RdBu_r", vmin=-limit, vmax=limit, aspect="auto", interpolation="nearest"
        )
        axes.set_xticks([])
        axes.set_yticks([])
        axes.set_xlabel(f"{neurons} neurons in use")
    left.colorbar(image, ax=[before, after], shrink=0.5, pad=0.01, label="weight")
    before.set_title(f"before: {len(dense)} rows, all different", loc="left", color=INK)
    before.set_ylabel("one row a pixel, clusters first, dead rows last")
    alive = int((rows.kind > 0).sum())
    unique = rows.clusters + int((rows.kind == 1).sum())
    after.set_title(f"after: {alive} rows alive, {unique} different", loc="left", color=INK)
    _strip(after, rows, colours)
    _label_empty(after, tied, alive)
    _pixels(right.subplots(2, 1), rows, colours, mean_image)
    figure.suptitle(
        "First layer of the digits network: which pixels it reads, and which share their weights",
        x=0.01,
        ha="left",
        fontsize=14,
        color=INK,
    )
    figure.savefig(file, dpi=130)
    return rows


def _strip(axes: Axes, rows: Rows, colours: Colormap) -> None:
    """A bar beside the rows in the colours of their clusters."""
    bar = axes.inset_axes((-0.045, 0.0, 0.03, 1.0))
    kinds = rows.kind[rows.order][:, None]
    bar.imshow(kinds, cmap=colours, vmin=-0.5, vmax=colours.N - 0.5, aspect="auto")
    bar.set_xticks([])
    bar.set_yticks([])


def _label_empty(axes: Axes, tied: np.ndarray, alive: int) -> None:
    """Say what the empty parts of the matrix are."""
    height, width = tied.shape
    neurons = int(tied.any(axis=0).sum())
    if width - neurons > width / 5:
        place = ((neurons + width) / 2, alive / 2)
        axes.text(*place, "neurons that are gone", ha="center", va="center", color=ALONE)
    if height - alive > 3:
        place = (width / 2, (alive + height) / 2)
        axes.text(*place, "pixels that are not read", ha="center", va="center", color=ALONE)


def _pixels(panels: Sequence[Axes], rows: Rows, colours: Colormap, mean_image: np.ndarray) -> None:
    """The mean image, and the same pixels in the colours of their clusters."""
    mean, clusters = panels
    mean.imshow(mean_image.reshape(SIDE, SIDE), cmap="gray_r")
    mean.set_title("the 64 pixels: mean of all digits", loc="left", color=INK)
    kinds = rows.kind.reshape(SIDE, SIDE)
    clusters.imshow(kinds, cmap=colours, vmin=-0.5, vmax=colours.N - 0.5)
    clusters.set_title("one colour, one set of shared weights", loc="left", color=INK)
    for row, column in np.ndindex(SIDE, SIDE):
        kind = int(kinds[row, column])
        text = {0: "×", 1: ""}.get(kind, str(kind - 1))
        colour = "#b0b0b0" if kind == 0 else _readable_on(colours(kind))
        clusters.text(column, row, text, ha="center", va="center", fontsize=8, color=colour)
    dead, alone = int((kinds == 0).sum()), int((kinds == 1).sum())
    clusters.set_xlabel(
        f"× not used: {dead}   grey, a value of its own: {alone}\n"
        f"numbered: {64 - dead - alone} pixels in {rows.clusters} clusters"
    )
    for axes in panels:
        axes.set_xticks(np.arange(SIDE + 1) - 0.5, labels=[])
        axes.set_yticks(np.arange(SIDE + 1) - 0.5, labels=[])
        axes.grid(color="white", linewidth=1.5)
        axes.tick_params(length=0)
        for spine in axes.spines.values():
            spine.set_visible(False)


def _colours(clusters: int) -> Colormap:
    """Grey for dead and lone rows, then one strong colour a cluster."""
    wheel = mpl.colormaps["turbo"](np.linspace(0.04, 0.96, max(clusters, 1)))
    # Neighbours in number are far apart in hue, since large clusters lie side by side.
    step = next(s for s in (7, 5, 3, 2, 1) if np.gcd(s, len(wheel)) == 1)
    wheel = wheel[np.arange(len(wheel)) * step % len(wheel)]
    return ListedColormap([DEAD, ALONE, *map(tuple, wheel)])


def _readable_on(colour: tuple[float, ...]) -> str:
    """White or black, whichever stands out (relative luminance, Rec. 709)."""
    return "white" if np.dot(colour[:3], (0.2126, 0.7152, 0.0722)) < 0.5 else INK


def _similar(matrix: np.ndarray) -> np.ndarray:
    """An order of the columns: along the first principal axis, columns of zeros last."""
    centred = matrix - matrix.mean(axis=1, keepdims=True)
    _, _, axes = np.linalg.svd(centred, full_matrices=False)
    return np.lexsort((axes[0], ~matrix.any(axis=0)))
