"""The tables of the paper, with the authors' own settings.

    python -m benchmarks.paper [--data mnist.npz] [--rows "GrOWL + l2" ...] [--seeds 3]
    python -m benchmarks.paper --vgg [--data cifar10_jpeg.npz]

Zhang, Wang, Figueiredo, Balzano, "Learning to Share: Simultaneous Parameter Tying and
Sparsification in Deep Learning", ICLR 2018, table 1 (784-300-10 on MNIST, layer 1 counted), and
with ``--vgg`` its VGG-16 with batch norm on CIFAR-10, meant for a GPU. One run a row and seed, its
result a JSON file in ``--out``; a run that is there already is read, so that a table can be filled
bit by bit. The test split is read once, after the last epoch.
"""

import argparse
import json
import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import torch
from benchmarks.machine import machine
from benchmarks.paper_networks import VGG, Split, cifar, mlp, mnist, vgg16
from benchmarks.paper_training import (
    LayerDied,
    Schedule,
    Tell,
    accuracy,
    descend,
    rows_of,
    tie_rows,
)
from torch import nn

from tieshare.penalties import OrderedRows, Penalty, piecewise_linear

DATA = {
    "mnist": Path(os.environ.get("TIESHARE_MNIST", "../shared/data/mnist.npz")),
    "vgg": Path(os.environ.get("TIESHARE_CIFAR", "../shared/data/cifar10_jpeg.npz")),
}


@dataclass(frozen=True)
class Figures:
    """Sparsity and accuracy as parts of 1, non-zero / unique numbers, and all / unique numbers.

    None: not known, or the run was thrown away.
    """

    sparsity: float | None = None
    sharing: float | None = None
    ratio: float | None = None
    accuracy: float | None = None


@dataclass(frozen=True, eq=False)
class Row:
    """How one row of a table is trained, and what was published."""

    l2: float
    penalties: Mapping[str, Penalty]
    published: Figures = Figures()


@dataclass(frozen=True, eq=False)
class Table:
    """What the rows have in common: see `tie_rows` for the last three."""

    name: str
    network: Callable[[], nn.Sequential]
    rows: Mapping[str, Row]
    schedules: tuple[Schedule, Schedule]
    tied: tuple[str, ...]
    preference: float
    untied: float


def decaying(n: int, lambda1: float, lambda2: float, p: int) -> OrderedRows:
    """lambda1 + lambda2 (p - i) for the first p of n rows, i = 1 .. p, and lambda1 after."""
    return OrderedRows(piecewise_linear(n, lambda1, lambda2 * (p - 1) / (n - 1), p))


def mnist_table() -> Table:
    """MNIST/run_exp.py and its configuration: a penalty on layer 1, which alone is counted.

    The weights are those of their first version. In a later one the decay starts at n - 1 instead
    of p - 1: all rows are drawn to one norm, and reach zero together.
    """
    n = 784

    def growl(lambda2: float) -> Mapping[str, Penalty]:
        return {"fc1": decaying(n, 12, lambda2, n // 2 - 1)}

    def lasso(lambda1: float) -> Mapping[str, Penalty]:
        return {"fc1": OrderedRows(np.full(n, lambda1))}

    def published(sparsity: float, ratio: float) -> Figures:
        return Figures(sparsity, (1 - sparsity) * ratio, ratio)

    rows = {
        "weight decay": Row(1e-2, {}, Figures(sparsity=0)),
        "group lasso": Row(0, lasso(60), published(0.876, 15.8)),
        "group lasso + l2": Row(1e-3, lasso(80), published(0.932, 23.7)),
        "GrOWL": Row(0, growl(0.215), published(0.804, 16.7)),
        "GrOWL + l2": Row(1e-3, growl(0.235), published(0.836, 24.1)),
    }
    schedules = Schedule(300, 1e-3, 0.96, 10), Schedule(100, 1e-3, 0.96, 10)
    return Table("mnist", mlp, rows, schedules, ("fc1",), 0.6, 1.0)


def vgg_table() -> Table:
    """VGG/vgg_main.py and flags.py: a penalty on all layers but the first and the last.

    They give no strengths for group lasso: with their flag for it, all rows of a layer get the
    largest weight of its GrOWL.
    """
    lambda1 = (4.5, 11, 11, 11, 10, 9, 7.5, 7, 6.5, 5.5, 5.5, 3.5, 3.5)
    lambda2 = {"conv10": 0.07, "conv11": 0.05}
    names = (*(f"conv{number}" for number in range(2, 14)), "fc1")
    inputs = [width for width in VGG if width]
    growl: dict[str, OrderedRows] = {}
    lasso: dict[str, OrderedRows] = {}
    for name, n, first in zip(names, inputs, lambda1, strict=True):
        growl[name] = decaying(n, first, lambda2.get(name, 0.1), n // 10)
        lasso[name] = OrderedRows(np.full(n, growl[name].lam[0]))
    rows = {
        "weight decay": Row(2e-3, {}),
        "group lasso": Row(0, lasso),
        "group lasso + l2": Row(2e-3, lasso),
        "GrOWL": Row(0, growl),
        "GrOWL + l2": Row(2e-3, growl),
    }
    schedules = Schedule(150, 1e-2, 0.1, 60), Schedule(50, 1e-3, 0.1, 20)
    return Table("vgg", vgg16, rows, schedules, names, 0.8, 0.95)


def main(arguments: Sequence[str] | None = None) -> None:
    flags = _flags(arguments)
    torch.set_num_threads(1)
    torch.backends.cudnn.benchmark = True
    table = vgg_table() if flags.vgg else mnist_table()
    if unknown := set(flags.rows) - set(table.rows):
        raise SystemExit(f"no such row: {', '.join(sorted(unknown))}")
    chosen = _shortened(table, flags.epochs, flags.retrain)
    cuda = torch.cuda.is_available()
    device = ("cuda" if cuda else "cpu") if flags.device == "auto" else flags.device
    print(machine("torch"), torch.cuda.get_device_name() if device == "cuda" else "", flush=True)
    data = (cifar if flags.vgg else mnist)(flags.data or DATA[table.name], device)
    flags.out.mkdir(parents=True, exist_ok=True)
    names = flags.rows or list(table.rows)
    runs = {
        name: [_run(chosen, name, seed, data, flags.out) for seed in range(flags.seeds)]
        for name in names
    }
    print(_printed(chosen, runs))


def measured(table: Table, name: str, seed: int, data: tuple[Split, Split]) -> Figures:
    """Both stages of one row; no figures where a layer died."""
    torch.manual_seed(seed)
    row, (training, retraining) = table.rows[name], table.schedules
    train, test = data
    net = table.network().to(train.y.device)
    try:
        tell = _teller(net, name, "stage 1", training.epochs)
        descend(net, train, training, l2=row.l2, penalties=row.penalties, tell=tell)
    except LayerDied as error:
        print(f"{name}: thrown away, {error}", flush=True)
        return Figures()
    tie_rows(net, table.tied, table.preference, table.untied)
    tell = _teller(net, name, "stage 2", retraining.epochs)
    descend(net, train, retraining, l2=row.l2, penalties={}, tell=tell)
    return counted(net, accuracy(net, test))


def counted(net: nn.Sequential, right: float) -> Figures:
    """Over the layers of `Rows`, each of which reads the units of the one before it.

    As in the authors' measure, a column goes where the next layer's row is dead.
    """
    layers = list(rows_of(net).values())
    read = [*(layer.alive / len(layer.labels) for layer in layers[1:]), 1.0]
    columns = [
        layer.layer.weight[:, 0].numel() * part for layer, part in zip(layers, read, strict=True)
    ]
    total = sum(layer.layer.weight[:, 0].numel() * len(layer.labels) for layer in layers)
    alive = sum(m * layer.alive for m, layer in zip(columns, layers, strict=True))
    unique = sum(m * layer.clusters for m, layer in zip(columns, layers, strict=True))
    return Figures(1 - alive / total, alive / unique, total / unique, right)


def _run(table: Table, name: str, seed: int, data: tuple[Split, Split], folder: Path) -> Figures:
    """Read where the folder has it, else measured and written there."""
    settings = {
        "table": table.name,
        "row": name,
        "seed": seed,
        "epochs": [schedule.epochs for schedule in table.schedules],
        "images": len(data[0].y),
    }
    slug = name.lower().replace(" + ", "-").replace(" ", "-")
    file = folder / f"{table.name}-{slug}-{seed}.json"
    if file.exists():
        stored = json.loads(file.read_text())
        if stored["settings"] == settings:
            return Figures(**stored["figures"])
    began = time.perf_counter()
    figures = measured(table, name, seed, data)
    seconds = round(time.perf_counter() - began)
    content = {"settings": settings, "figures": asdict(figures), "seconds": seconds}
    file.write_text(json.dumps(content | {"machine": machine("torch")}, indent=2) + "\n")
    print(f"{name}, seed {seed}: {figures} in {seconds} s", flush=True)
    return figures


def _teller(net: nn.Sequential, name: str, stage: str, epochs: int) -> Tell:
    def tell(epoch: int, loss: float) -> None:
        if (epoch + 1) % 10 == 0 or epoch + 1 == epochs:
            left = sum(layer.clusters for layer in rows_of(net).values())
            print(
                f"  {name}, {stage}, {epoch + 1}/{epochs}: loss {loss:.4f}, {left} rows", flush=True
            )

    return tell


def _shortened(table: Table, epochs: int | None, retrain: int | None) -> Table:
    first, second = table.schedules
    return replace(
        table,
        schedules=(
            replace(first, epochs=first.epochs if epochs is None else epochs),
            replace(second, epochs=second.epochs if retrain is None else retrain),
        ),
    )


COLUMNS = {"sparsity": 100.0, "sharing": 1.0, "ratio": 1.0, "accuracy": 100.0}
"""What each figure is multiplied by."""


def _printed(table: Table, runs: Mapping[str, Sequence[Figures]]) -> str:
    """Ours, mean and spread over the seeds, above what was published."""
    lines = [f"{'':<30}" + "".join(f"{name:>16}" for name in COLUMNS)]
    for name, figures in runs.items():
        lines.append(f"{name:<30}" + "".join(_cell(figures, column) for column in COLUMNS))
        published = [table.rows[name].published]
        lines.append(f"{'  published':<30}" + "".join(_cell(published, key) for key in COLUMNS))
    return "\n".join(lines)


def _cell(figures: Sequence[Figures], column: str) -> str:
    values = [getattr(item, column) for item in figures]
    known = [COLUMNS[column] * value for value in values if value is not None]
    if not known:
        return f"{'-':>16}"
    spread = f" +- {np.std(known, ddof=1):.2f}" if len(known) > 1 else ""
    return f"{f'{np.mean(known):.2f}{spread}':>16}"


def _flags(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.paper")
    parser.add_argument("--vgg", action="store_true", help="VGG-16 on CIFAR-10")
    parser.add_argument("--data", type=Path)
    parser.add_argument("--rows", nargs="*", default=[], metavar="ROW", help="all of them")
    parser.add_argument("--seeds", type=int, default=1, help="how many, from 0 on")
    parser.add_argument("--epochs", type=int, help="of stage 1; theirs by default")
    parser.add_argument("--retrain", type=int, help="epochs of stage 2; theirs by default")
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/paper"))
    return parser.parse_args(arguments)


if __name__ == "__main__":
    main()
