"""The main job on real input: digits in, a smaller network out, served.

Run it by ``make demo``, or ``python -m examples.demo``. It trains a small dense network, starts
the service, uploads model and data, has the model compressed, and asks the smaller one for a
digit. All that it makes lies in the folder ``demo``.
"""

import argparse
import signal
import sys
import time
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import onnx
import orjson
from onnx import numpy_helper
from rich.console import Console
from rich.markup import escape

from examples import digits, picture, service
from tieshare_service.cli import tables
from tieshare_service.cli.bars import StageBars, transfer
from tieshare_service.client import Client, Job, Result, Served

NAME = "digits"
SHADES = " .:-=+*#%@"

console = Console()


def main() -> None:
    """Run all of it; the service goes on with ``--keep``."""
    parser = argparse.ArgumentParser(prog="python -m examples.demo", description=__doc__)
    parser.add_argument("--folder", type=Path, default=Path("demo"), help="for all results")
    parser.add_argument("--keep", action="store_true", help="leave the service running")
    flags = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that the service ends too
    began = time.perf_counter()
    flags.folder.mkdir(parents=True, exist_ok=True)

    title(f"train a dense {'-'.join(map(str, digits.WIDTHS))} network on scikit-learn's digits")
    made = digits.make(flags.folder)
    console.print(f"accuracy {100 * made.accuracy:.2f} % → {made.model}, {made.data}")

    title("start the service")
    running = service.start(flags.folder / "service", flags.folder / "service.log")
    console.print(f"control API {running.api}, inference {running.inference}")
    try:
        with Client(running.api) as client:
            job, result, served = compress(client, made)
            show(client, job, result, made, flags.folder)
        ask(running.inference, served, made, flags.folder)
    except BaseException:
        running.stop()
        raise
    finish(running, flags.keep)
    console.print(f"\n{time.perf_counter() - began:.0f} s in all")


def compress(client: Client, made: digits.Digits) -> tuple[Job, Result, Served]:
    """Upload model and data, submit the job with no option at all, and draw its progress."""
    title("upload, and submit a job with every option at its default")
    with transfer(made.model.name) as progress:
        model = client.models.create(made.model, NAME, progress)
    with transfer(made.data.name) as progress:
        dataset = client.datasets.create(made.data, NAME, progress)
    job = client.jobs.submit(model.id, dataset.id, name=NAME)
    console.print(f"{model.id} + {dataset.id} → {job.id}")
    with StageBars(console) as stages:
        for event in client.jobs.watch(job.id):
            if event.type == "front":
                stages.show_front(event.data["front"])
            if event.type == "progress":
                told = event.data
                stages.show(
                    told["stage"],
                    told["done"],
                    told["total"],
                    told["eta_s"],
                    told["metrics"],
                )
    job = client.jobs.wait(job.id)
    if job.result is None or job.result.served is None:
        raise RuntimeError(f"the result of {job.id} is not in service")
    return job, job.result, job.result.served


def show(client: Client, job: Job, result: Result, made: digits.Digits, folder: Path) -> None:
    """Fetch the files, print the table, draw the picture."""
    title("the result, every number measured on the exported file in ONNX Runtime")
    for name in result.artifacts:
        if not name.startswith("point-"):
            client.jobs.download(job.id, name, folder / name)
    console.print(tables.report(result.report))
    console.print("the front; `tieshare jobs publish` serves any other point of it:")
    console.print(tables.front(result.report["front"]))
    console.print(f"drawn in {folder / 'front.png'} and {folder / 'front.svg'}")
    dense, tied = (first_layer(file) for file in (made.model, folder / "tied.onnx"))
    image = folder / "weights.png"
    rows = picture.draw(dense, tied, made.test_images.mean(axis=0), image)
    console.print(
        f"{image}: {int((rows.kind == 0).sum())} of {len(dense)} pixels are not used, "
        f"{int((rows.kind > 1).sum())} share their weights in {rows.clusters} clusters"
    )


def first_layer(file: Path) -> np.ndarray:
    """The first layer's weights as (rows, columns): one row a pixel."""
    for tensor in onnx.load(file).graph.initializer:
        if tensor.name == digits.FIRST_WEIGHT:
            return np.asarray(numpy_helper.to_array(tensor).T)
    raise RuntimeError(f"{file} has no {digits.FIRST_WEIGHT}")


def ask(inference: str, served: Served, made: digits.Digits, folder: Path) -> None:
    """Send one digit of the test split to the model that is served now."""
    title("ask the smaller network for a digit")
    image, label = made.test_images[0], int(made.test_labels[0])
    for line in image.reshape(picture.SIDE, picture.SIDE):
        console.print("   " + escape("".join(2 * SHADES[round(9 * float(v))] for v in line)))
    request = {
        "inputs": [
            {
                "name": digits.INPUT,
                "datatype": "FP32",
                "shape": [1, len(image)],
                "data": image.tolist(),
            }
        ]
    }
    file = folder / "digit.json"
    file.write_bytes(orjson.dumps(request))
    url = f"{inference}/v2/models/{served.name}/versions/{served.version}/infer"
    answer = _infer(url, request)
    console.print(f"answer: [bold]{int(np.argmax(answer))}[/], it is a {label}; the same by hand:")
    console.print(f"curl -s {url} -d @{file}", highlight=False, soft_wrap=True)


def _infer(url: str, request: dict[str, Any]) -> list[float]:
    response = httpx.post(url, json=request)
    response.raise_for_status()
    output: list[float] = response.json()["outputs"][0]["data"]
    return output


def finish(running: service.Service, keep: bool) -> None:
    """End the service, or say how to end it."""
    if keep:
        console.print(f"\nthe service goes on; kill {running.process.pid} ends it")
        return
    running.stop()
    again = f"tieshare serve --data-dir {running.log.with_suffix('')}"
    console.print(f"\nthe service has ended; for the curl line start it again: {again}")


def title(text: str) -> None:
    """Print a step's heading."""
    console.print(f"\n[bold]▸ {text}[/]")


if __name__ == "__main__":
    main()
