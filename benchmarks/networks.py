"""Every architecture through one job: what its files have in bytes, latency and accuracy.

    python -m benchmarks.networks [NAME ...] [--max-drop 0.02] [--exporter script]

Each network is trained in torch for a few epochs on scikit-learn's digits or on made sequences
(examples/networks), exported by one of torch's exporters and handed to ``tieshare.compress``.
What is in --out already is not made again. Bytes are those of the files, the score is taken on the
test split, latency on one thread, all in ONNX Runtime; latencies are measured at the end, when
nothing trains. The score is accuracy, or the mean squared error where there are only numbers to
meet. The error of the twin is its largest difference from ONNX Runtime on the dense file.
"""

import argparse
import json
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import onnx
import torch
from benchmarks.machine import machine
from examples.networks import ARCHITECTURES, EXPORTERS, Architecture, export, train
from examples.networks.data import Arrays, parted
from onnx import ModelProto

from tieshare import Progress, Recipe, Target, compress
from tieshare.data import Dataset
from tieshare.measure import latencies, session
from tieshare.progress import silent
from tieshare.report import FileReport, Report
from tieshare.twin import from_onnx

WIDTHS: Mapping[str, int] = {
    "mlp": 300,
    "lenet5": 20,
    "vgg16": 8,
    "resnet18": 8,
    "mobilenet": 8,
    "densenet": 8,
    "shufflenet": 16,
    "unet": 8,
    "encoder": 64,
    "vit": 64,
    "gpt": 64,
    "lstm": 64,
    "lstm_both": 48,
    "gru": 64,
    "gru_both": 48,
    "autoencoder": 32,
    "two_inputs": 16,
    "two_outputs": 32,
}
EPOCHS = 20
PATH_EPOCHS, RETRAIN_EPOCHS = 30, 8
HEADER = (
    f"{'':<12}{'bytes':^31}{'numbers':^18}{'latency at batch 1 and 32, us':^32}{'score':^18}"
    f"{'error of':>9}\n"
    f"{'':<12}{'dense':>11}{'shared':>11}{'packed':>9}{'dense':>10}{'unique':>8}"
    f"{'dense':>16}{'shared':>16}{'dense':>9}{'shared':>9}{'twin':>9}"
)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.networks")
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(ARCHITECTURES))
    parser.add_argument("--max-drop", type=float, default=0.02)
    parser.add_argument("--exporter", choices=EXPORTERS, default=EXPORTERS[0])
    parser.add_argument("--unfolded", action="store_true", help="batch norms stay in the file")
    parser.add_argument("--verbose", action="store_true", help="tell every fifth epoch")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/networks"))
    flags = parser.parse_args()
    names = flags.names or list(ARCHITECTURES)
    if unknown := set(names) - set(ARCHITECTURES):
        parser.error(f"no such network: {', '.join(sorted(unknown))}")
    torch.set_num_threads(1)
    print(machine("torch", "onnx", "onnxruntime"))
    for name in names:
        if not (flags.out / name).exists():
            began = time.perf_counter()
            compressed(name, flags)
            print(f"{name}: {time.perf_counter() - began:.0f} s", flush=True)
    print(HEADER)
    for name in names:
        print(f"{name:<12}{row(name, flags.out / name)}", flush=True)


def compressed(name: str, flags: argparse.Namespace) -> None:
    """What ``row`` tells of, in a folder of its own; all or nothing."""
    made = ARCHITECTURES[name]
    arrays = parted(made.data())
    dense = dense_model(name, made, arrays, flags)
    recipe = Recipe(
        target=Target(max_drop=flags.max_drop),
        path_epochs=PATH_EPOCHS,
        retrain_epochs=RETRAIN_EPOCHS,
    )
    result = compress(dense, Dataset(arrays), recipe, tell if flags.verbose else silent)
    unfinished = flags.out / f"{name}.part"
    result.save(unfinished)
    onnx.save(dense, unfinished / "dense.onnx")
    unfinished.rename(flags.out / name)


def row(name: str, folder: Path) -> str:
    made = ARCHITECTURES[name]
    arrays = parted(made.data())
    tests = [arrays[f"{key}_test"] for key in made.inputs]
    files = {one: onnx.load(folder / f"{one}.onnx") for one in ("dense", "shared")}
    report = Report.from_dict(json.loads((folder / "report.json").read_text()))
    return cells(report, latencies(files, tests), twin_error(files["dense"], tests))


def dense_model(
    name: str, made: Architecture, arrays: Arrays, flags: argparse.Namespace
) -> ModelProto:
    torch.manual_seed(0)
    inputs, targets = ([arrays[key] for key in keys] for keys in (made.inputs, made.targets))
    module = train(made.make(WIDTHS[name]), inputs, targets, epochs=EPOCHS)
    example, fold = made.example(2), not flags.unfolded
    return export(module, example, made.outputs, flags.exporter, fold=fold)


def twin_error(model: ModelProto, inputs: Sequence[np.ndarray]) -> float:
    running, twin = session(model), from_onnx(model)
    names = [item.name for item in running.get_inputs()]
    expected = running.run(None, dict(zip(names, inputs, strict=True)))
    with torch.no_grad():
        found = twin(*map(torch.from_numpy, inputs))
    outputs = found if isinstance(found, tuple) else (found,)
    return max(float(np.abs(a.numpy() - b).max()) for a, b in zip(outputs, expected, strict=True))


def cells(report: Report, us: Mapping[str, Mapping[int, float]], error: float) -> str:
    dense, shared, packed = report.baseline, report.shared, report.packed
    sizes = f"{dense.bytes:>11,}{shared.bytes:>11,}{packed.bytes:>9,}"
    counts = f"{dense.parameters:>10,}{shared.unique_parameters:>8,}"
    times = "".join(f"{one:>8,.0f}" for name in ("dense", "shared") for one in us[name].values())
    return f"{sizes}{counts}{times}{score(dense)}{score(shared)}{error:>9.0e}"


def score(file: FileReport) -> str:
    return f"{file.loss:>9.4f}" if file.accuracy is None else f"{100 * file.accuracy:>7.2f} %"


def tell(progress: Progress) -> None:
    if progress.done % 5 == 0:
        known = "  ".join(f"{name} {value:.4g}" for name, value in progress.metrics.items())
        print(f"  {progress.stage:<8}{progress.done:>4}/{progress.total}  {known}", flush=True)


if __name__ == "__main__":
    main()
