"""Ours beside pruning tools: the same dense network, data, teacher and number of epochs.

    python -m benchmarks.peers [mlp lenet5 resnet20] [--methods ours torch-pruning ...] [--out DIR]

    ours           one job; every point of its front
    group lasso    the same job with that penalty and without ties: neurons alone are removed
    torch-pruning  its group norm pruner: trained with its penalty, pruned to several sizes, tuned
    magnitude      the smallest weights of the whole network set to zero, in several amounts, tuned;

Each has ``path`` epochs with a penalty, if it has one, and ``retrain`` after it for every size, and
learns from the dense network as ours does. What is measured is the file that ONNX Runtime loads:
bytes, with sparse tensors where that is smaller, and latency on one thread; ours is the shared
file, and its packed one is named beside it.
Files are kept in --out, network by network and method by method: what is there is not trained
again. All files of a network are measured one after another at the end, when nothing trains; the
chart is drawn of all that was measured.
"""

import argparse
import json
import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import onnx
import torch
from benchmarks.machine import machine
from benchmarks.mnist import tell
from benchmarks.peers_chart import draw
from benchmarks.peers_magnitude import stored_sparse, zeroed
from benchmarks.peers_networks import NETWORKS, Network
from benchmarks.resnet20 import first
from benchmarks.torch_pruning import pruned, sparse
from benchmarks.training import BATCH, images, train
from examples.networks import export
from onnx import ModelProto
from torch import nn

from tieshare import Recipe, Target, compress
from tieshare.data import Dataset
from tieshare.exports.macs import macs
from tieshare.measure import latencies, predict
from tieshare.plan import Plan


@dataclass(frozen=True)
class Row:
    """One file, measured. ``packed``: bytes of ours in few bits."""

    accuracy: float
    bytes: int
    parameters: int
    macs: int
    us_1: float
    us_32: float
    packed: int | None = None


@dataclass(frozen=True)
class Bench:
    """One network with its data, trained dense."""

    network: Network
    dense: nn.Sequential
    data: Dataset
    seed: int
    out: Path

    def export(self, net: nn.Module) -> ModelProto:
        """As torch does by default, from samples that are contiguous in memory."""
        return export(net, {"x": images(self.data)[:2].contiguous()}, ["logits"])


Made = Iterator[tuple[ModelProto, int | None]]
"""Files, each with the bytes of its packed form if it has one."""


def main() -> None:
    flags = _flags()
    print(machine("torch", "onnxruntime", "torch-pruning"), flush=True)
    flags.out.mkdir(parents=True, exist_ok=True)
    benches = {name: _bench(name, flags) for name in flags.names}
    for bench in benches.values():
        for method in ("dense", *flags.methods):
            if not _folder(bench, method).exists():
                _keep(METHODS[method](bench), _folder(bench, method))
    for name, bench in benches.items():
        methods = [method for method in METHODS if _folder(bench, method).exists()]
        found = {m: [asdict(row) for row in _measured(bench, _folder(bench, m))] for m in methods}
        (flags.out / f"{name}.json").write_text(json.dumps(found, indent=1))
        _print(name, found)
    draw({path.stem: json.loads(path.read_text()) for path in flags.out.glob("*.json")}, flags.out)


def _bench(name: str, flags: argparse.Namespace) -> Bench:
    """The dense network is trained here, or read from an earlier run."""
    network, stored = NETWORKS[name], flags.out / f"{name}.pt"
    torch.manual_seed(flags.seed)
    net, data = network.build(), network.data(flags.seed)
    if stored.exists():
        net.load_state_dict(torch.load(stored))
    else:
        train(net, data, network.dense)
        torch.save(net.state_dict(), stored)
    net.eval()
    fewer = data if network.samples is None else first(data, network.samples)
    return Bench(network, net, fewer, flags.seed, flags.out / name)


def _dense(bench: Bench) -> Made:
    yield bench.export(bench.dense), None


def _ours(bench: Bench) -> Made:
    yield from _job(bench, Recipe())


def _group_lasso(bench: Bench) -> Made:
    yield from _job(bench, Recipe(penalty="group_lasso", tie=False))


def _job(bench: Bench, recipe: Recipe) -> Made:
    network = bench.network
    asked = {
        "target": asdict(Target(max_drop=network.max_drop)),
        "augment": asdict(network.dense.augment),
        "path_epochs": network.path,
        "retrain_epochs": network.retrain,
        "seed": bench.seed,
    }
    model, recipe = bench.export(bench.dense), Recipe.from_dict(recipe.to_dict() | asked)
    made = compress(model, bench.data, recipe, tell, bench.out / "checkpoints")
    made.save(bench.out / recipe.penalty)
    print(made.report.table(), flush=True)
    for files in made.front:
        yield files.shared.model, files.packed_bytes


def _torch_pruning(bench: Bench) -> Made:
    network, x = bench.network, images(bench.data)[:1]

    def with_penalty(net: nn.Module, pruner: object) -> None:
        train(
            net,
            bench.data,
            network.tuning(network.path),
            teacher=bench.dense,
            before_step=pruner.regularize,  # type: ignore[attr-defined]
        )

    trained = sparse(bench.dense, x, with_penalty)
    whole = sum(weight.numel() for weight in bench.dense.parameters())
    for size in network.sizes:
        smaller = pruned(trained, x, int(whole / size))
        _tune(bench, smaller)
        yield bench.export(smaller), None


def _magnitude(bench: Bench) -> Made:
    for size in bench.network.sizes:
        smaller, keep_zero = zeroed(bench.dense, 1 / size)
        _tune(bench, smaller, keep_zero)
        yield bench.export(smaller), None


def _tune(
    bench: Bench, net: nn.Module, after_step: Callable[[nn.Module], None] | None = None
) -> None:
    ours = Plan(bench.network.path, bench.network.retrain, BATCH, shrink_every=1)
    cycle = bench.network.tuning(ours.stage2_epochs)
    train(net, bench.data, cycle, teacher=bench.dense, after_step=after_step)


METHODS: Mapping[str, Callable[[Bench], Made]] = {
    "dense": _dense,
    "ours": _ours,
    "group lasso": _group_lasso,
    "torch-pruning": _torch_pruning,
    "magnitude": _magnitude,
}


def _folder(bench: Bench, method: str) -> Path:
    return bench.out / "files" / method.replace(" ", "-")


def _keep(made: Made, folder: Path) -> None:
    """Write FOLDER/K.onnx, and K.packed with the bytes of its packed form; all or nothing."""
    unfinished = folder.with_suffix(".part")
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir(parents=True)
    for number, (model, packed) in enumerate(made, start=1):
        onnx.save(model, unfinished / f"{number}.onnx")
        if packed is not None:
            (unfinished / f"{number}.packed").write_text(str(packed))
    unfinished.rename(folder)


def _measured(bench: Bench, folder: Path) -> Iterator[Row]:
    x, y = images(bench.data, "_test").numpy(), bench.data.arrays["y_test"]
    for path in sorted(folder.glob("*.onnx")):
        plain, beside = onnx.load(path), path.with_suffix(".packed")
        packed = int(beside.read_text()) if beside.exists() else None
        model = min(plain, stored_sparse(plain), key=ModelProto.ByteSize)
        logits = predict(model, model.graph.output[0].name, [x])
        us = latencies({"": model}, [x[:32]])[""]
        yield Row(
            accuracy=float((logits.argmax(1) == y).mean()),
            bytes=model.ByteSize(),
            parameters=_parameters(model),
            macs=macs(plain, [x[:1]]),
            us_1=us[1],
            us_32=us[32],
            packed=packed,
        )


def _parameters(model: ModelProto) -> int:
    """Floats that the file stores."""
    graph, kinds = model.graph, (onnx.TensorProto.FLOAT, onnx.TensorProto.DOUBLE)
    stored = [*graph.initializer, *(item.values for item in graph.sparse_initializer)]
    return sum(int(np.prod(item.dims)) for item in stored if item.data_type in kinds)


def _print(name: str, found: Mapping[str, list[dict[str, float]]]) -> None:
    print(
        f"\n{name:<16}{'accuracy':>9}{'stored':>10}{'MACs':>13}{'bytes':>11}{'packed':>9}"
        f"{'us at 1':>9}{'at 32':>9}"
    )
    for method, rows in found.items():
        for row in sorted(rows, key=lambda row: -row["bytes"]):
            packed = "" if row["packed"] is None else f"{row['packed']:,}"
            print(
                f"{method:<16}{100 * row['accuracy']:>8.2f}%{row['parameters']:>10,}"
                f"{row['macs']:>13,}{row['bytes']:>11,}{packed:>9}{row['us_1']:>9.1f}"
                f"{row['us_32']:>9.0f}",
                flush=True,
            )


def _flags() -> argparse.Namespace:
    methods = [name for name in METHODS if name != "dense"]
    parser = argparse.ArgumentParser(prog="python -m benchmarks.peers")
    parser.add_argument("names", nargs="*", default=list(NETWORKS), help=", ".join(NETWORKS))
    parser.add_argument("--methods", nargs="+", choices=methods, default=methods)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/peers"))
    flags = parser.parse_args()
    if unknown := set(flags.names) - set(NETWORKS):
        parser.error(f"no such network: {', '.join(sorted(unknown))}")
    return flags


if __name__ == "__main__":
    main()
