"""Which inputs are selected, from data sample to data sample, where inputs come in groups.

    python -m benchmarks.stability [--plot docs/img/stability.svg] [--useful 5] [--correlation 0.95]

100 inputs in 20 groups of 5, correlated 0.95 within a group and not between groups; 10 outputs, a
linear function of 5 of the groups plus noise of variance 1. In the first problem the inputs of a
useful group all have the same weights, in the second one of the five has all of the weight.

For each of 20 samples of 100 rows a linear model is trained by proximal gradient along a falling
strength; at each strength the selected inputs are clustered and the tied model is refitted without
the penalty, as a job does, and the strength is taken whose refitted model has the lowest error on
held-out data. Three seeds, of other weights and other samples. Overlap is the mean Jaccard index
over all pairs of samples; ARI the adjusted Rand index of the clusters (what is not selected is one
more) against the true groups (what is not useful is one more); error that on test data, where the
true weights have 1. "of weights" is the overlap of the weights that are not zero, "at 25" that of
the inputs where as many are selected as are useful, instead of by held-out error.
"""

import argparse
import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import matplotlib.style
import numpy as np
from benchmarks.machine import machine
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from numpy.typing import NDArray
from sklearn.metrics import adjusted_rand_score

from tieshare.cluster import cluster_rows
from tieshare.penalties import PENALTIES, OrderedRows, Penalty
from tieshare.recipe import PenaltyName, Recipe

Matrix = NDArray[np.float64]
Labels = NDArray[np.int64]
Mask = NDArray[np.bool_]

GROUPS, MEMBERS, OUTPUTS = 20, 5, 10
INPUTS = GROUPS * MEMBERS
ROWS, HELD_OUT, TEST = 100, 500, 1000
SAMPLES, SEEDS = 20, 3
STRENGTHS = np.geomspace(1, 0.01, 24)
STEPS = 150
METHODS: dict[str, PenaltyName] = {
    "GrOWL": "growl",
    "OSCAR": "oscar",
    "SLOPE": "slope",
    "group lasso": "group_lasso",
    "l1": "l1",
}
KINDS = {
    "selected, of a useful group": "#0072b2",
    "selected, of no useful group": "#d55e00",
    "left out, of a useful group": "#d9d9d9",
}
DRAWN = ("GrOWL", "group lasso", "l1")


@dataclass(frozen=True, eq=False)
class Data:
    """``X`` (rows, inputs) and ``Y`` (rows, outputs)."""

    X: Matrix
    Y: Matrix

    def error(self, W: Matrix) -> float:
        return float(np.mean((self.Y - self.X @ W) ** 2))


@dataclass(frozen=True, eq=False)
class Problem:
    """``weights`` (inputs, outputs); ``correlation``: of two inputs of a group."""

    weights: Matrix
    correlation: float

    @classmethod
    def made(cls, rng: np.random.Generator, *, useful: int, correlation: float, lone: bool) -> Self:
        """Where ``lone``, the first input of a useful group has all of its weight."""
        share = np.zeros(MEMBERS)
        share[: 1 if lone else MEMBERS] = 1.0 if lone else 1 / MEMBERS
        groups = np.zeros((GROUPS, OUTPUTS))
        chosen = rng.choice(GROUPS, useful, replace=False)
        groups[chosen] = rng.standard_normal((useful, OUTPUTS))
        return cls(np.kron(groups, share[:, None]).astype(np.float64), correlation)

    @property
    def labels(self) -> Labels:
        """The group of each input (inputs,), -1 where the group has no weight."""
        used = self.weights.reshape(GROUPS, -1) != 0
        return np.repeat(np.where(used.any(axis=1), np.arange(GROUPS), -1), MEMBERS)

    def sample(self, rng: np.random.Generator, rows: int) -> Data:
        common = np.repeat(rng.standard_normal((rows, GROUPS)), MEMBERS, axis=1)
        own = rng.standard_normal((rows, INPUTS))
        X = np.sqrt(self.correlation) * common + np.sqrt(1 - self.correlation) * own
        return Data(X, X @ self.weights + rng.standard_normal((rows, OUTPUTS)))


@dataclass(frozen=True, eq=False)
class Found:
    """``alive`` (inputs, outputs): weights that are not zero; ``refitted``: with equal rows."""

    alive: Mask
    labels: Labels
    refitted: Matrix

    @property
    def selected(self) -> Mask:
        """(inputs,)"""
        weights = np.count_nonzero(self.alive, axis=1)
        return np.asarray(weights > 0)


@dataclass(frozen=True, eq=False)
class Outcome:
    """Of all samples of one problem: the model of the best strength, and that of a given size."""

    best: Sequence[Found]
    sized: Sequence[Found]


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.stability")
    parser.add_argument("--plot", type=Path, help="draw what was selected under the first seed")
    parser.add_argument("--useful", type=int, default=5, help="groups that have weight")
    parser.add_argument("--correlation", type=float, default=0.95)
    flags = parser.parse_args()
    print(machine("numpy", "scipy"))
    drawn: dict[str, tuple[Problem, dict[str, Outcome]]] = {}
    for lone, title in enumerate(("all inputs of a useful group alike", "one has all the weight")):
        print(f"\n{title}: mean and spread over {SEEDS} seeds", flush=True)
        columns = (
            "selected",
            "overlap",
            "of weights",
            f"at {MEMBERS * flags.useful}",
            "ARI",
            "error",
        )
        print(f"{'':<12}" + "".join(f"{name:>17}" for name in columns))
        figures: dict[str, list[Matrix]] = {name: [] for name in METHODS}
        for seed in range(SEEDS):
            rng = np.random.default_rng(seed)
            problem = Problem.made(
                rng, useful=flags.useful, correlation=flags.correlation, lone=bool(lone)
            )
            held_out, test = problem.sample(rng, HELD_OUT), problem.sample(rng, TEST)
            samples = [problem.sample(rng, ROWS) for _ in range(SAMPLES)]
            outcomes = {name: outcome_of(name, problem, samples, held_out) for name in METHODS}
            for name, outcome in outcomes.items():
                figures[name].append(_figures(problem, outcome, test))
            if seed == 0:
                drawn[title] = problem, outcomes
        for name, rows in figures.items():
            pairs = zip(np.mean(rows, axis=0), np.std(rows, axis=0), strict=True)
            print(f"{name:<12}" + "".join(f"{mean:>10.2f} ± {std:.2f}" for mean, std in pairs))
    if flags.plot:
        flags.plot.parent.mkdir(parents=True, exist_ok=True)
        draw(drawn, flags.plot)


def _figures(problem: Problem, outcome: Outcome, test: Data) -> Matrix:
    """One number for each column of the table."""
    best, true = outcome.best, problem.labels
    return np.array(
        [
            np.mean([found.selected.sum() for found in best]),
            overlap([found.selected for found in best]),
            overlap([found.alive for found in best]),
            overlap([found.selected for found in outcome.sized]),
            np.mean([adjusted_rand_score(true, found.labels) for found in best]),
            np.mean([test.error(found.refitted) for found in best]),
        ]
    )


def overlap(masks: Sequence[Mask]) -> float:
    """The mean over all pairs of: members of both / members of either."""
    pairs = itertools.combinations(masks, 2)
    return float(np.mean([(one & other).sum() / (one | other).sum() for one, other in pairs]))


def outcome_of(name: str, problem: Problem, samples: Sequence[Data], held_out: Data) -> Outcome:
    size = np.count_nonzero(problem.labels >= 0)
    best, sized = [], []
    for data in samples:
        path = [_found(W, data) for W in _path(PENALTIES[METHODS[name]](INPUTS, 0.0), data)]
        best.append(min(path, key=lambda found: held_out.error(found.refitted)))
        sized.append(min(path, key=lambda found: abs(int(found.selected.sum()) - size)))
    return Outcome(best, sized)


def _path(penalty: Penalty, data: Data) -> Iterator[Matrix]:
    """Minima of ||Y - XW||^2 / 2 rows + Omega(W) at falling strengths, each from the last one's.

    From the first that selects any input to the first that selects more than half of them.
    """
    A, C = data.X.T @ data.X / len(data.X), data.X.T @ data.Y / len(data.X)
    if isinstance(penalty, OrderedRows):
        most = penalty.critical_strength(np.linalg.norm(C, axis=1))
    else:
        most = float(np.abs(C).max())
    W = np.zeros_like(C)
    for strength in most * STRENGTHS[1:]:
        W = _minimum(penalty.at(strength), A, C, W)
        if W.any():
            yield W
        if 2 * np.count_nonzero(W.any(axis=1)) > INPUTS:
            break


def _minimum(penalty: Penalty, A: Matrix, C: Matrix, W: Matrix) -> Matrix:
    """Of tr(W'AW)/2 - tr(W'C) + Omega(W): FISTA with restarts (O'Donoghue and Candes, 2015)."""
    step = 1 / float(np.linalg.eigvalsh(A)[-1])
    ahead, speed = W, 1.0
    for _ in range(STEPS):
        new = penalty.prox(ahead - step * (A @ ahead - C), step).astype(np.float64, copy=False)
        if np.vdot(ahead - new, new - W) > 0:
            speed = 1.0
        faster = (1 + np.sqrt(1 + 4 * speed**2)) / 2
        ahead = new + (speed - 1) / faster * (new - W)
        moved = np.abs(new - W).max()
        W, speed = new, faster
        if moved < 1e-6:
            break
    return W


def _found(W: Matrix, data: Data) -> Found:
    """The clusters of W's rows, and least squares with one row for each."""
    labels = cluster_rows(W, Recipe().preference).labels
    member = (labels[:, None] == np.arange(labels.max() + 1)).astype(np.float64)
    rows, *_ = np.linalg.lstsq(data.X @ member, data.Y)
    return Found(W != 0, labels, member @ rows)


def draw(drawn: dict[str, tuple[Problem, dict[str, Outcome]]], file: Path) -> None:
    """One panel a method and problem: a row for each sample, a column for each input."""
    style = {
        "axes.edgecolor": "#6b6b6b",
        "axes.titlesize": 9,
        "font.size": 9,
        "svg.fonttype": "none",
        "svg.hashsalt": "tieshare",
    }
    with matplotlib.style.context(["default", style]):
        figure = Figure(figsize=(11, 6.2), layout="constrained", facecolor="white")
        grid = figure.subplots(len(DRAWN), len(drawn), sharex=True, sharey=True)
        for column, (weights, (problem, outcomes)) in enumerate(drawn.items()):
            for axes, name in zip(grid[:, column], DRAWN, strict=True):
                found = outcomes[name].best
                _panel(axes, problem, found)
                title = f"{name}, overlap {overlap([one.selected for one in found]):.2f}"
                axes.set_title(title, loc="left")
            grid[0, column].set_title(weights, loc="right", color="#6b6b6b")
            grid[-1, column].set_xlabel(f"{INPUTS} inputs, a mark every group of {MEMBERS}")
        for axes in grid[:, 0]:
            axes.set_ylabel(f"{SAMPLES} samples")
        patches = [Patch(color=colour, label=name) for name, colour in KINDS.items()]
        figure.legend(handles=patches, loc="outside lower left", ncols=len(KINDS), frameon=False)
        undated = {"Date": None, "Creator": None} if file.suffix == ".svg" else {}
        figure.savefig(file, dpi=150, metadata=undated)


def _panel(axes: Axes, problem: Problem, found: Sequence[Found]) -> None:
    useful = problem.labels >= 0
    selected = np.array([one.selected for one in found])
    kinds = np.where(selected, np.where(useful, 1, 2), np.where(useful, 3, 0))
    colours = ListedColormap(["white", *KINDS.values()])
    axes.imshow(kinds, cmap=colours, vmin=0, vmax=3, aspect="auto", interpolation="nearest")
    axes.set_xticks(np.arange(0, INPUTS + 1, MEMBERS) - 0.5, labels=[])
    axes.set_yticks([])


if __name__ == "__main__":
    main()
