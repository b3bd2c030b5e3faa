"""``tieshare compress``: a whole job in this process, with no server."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from tieshare.progress import Progress
from tieshare.recipe import Recipe
from tieshare_service.cli import tables
from tieshare_service.cli.bars import StageBars
from tieshare_service.cli.extras import require_compress
from tieshare_service.cli.failures import BadInput
from tieshare_service.cli.lazy import load
from tieshare_service.cli.recipes import recipe_options

FILE = click.Path(exists=True, dir_okay=False, path_type=Path)


@click.command()
@click.argument("model", type=FILE)
@click.option("--data", type=FILE, required=True, help="npz file: x and y, perhaps x_test, y_test.")
@click.option("--test", type=FILE, help="npz file whose x and y are the test split.")
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    required=True,
    help="Folder for the results; must not exist, or be empty.",
)
@recipe_options
def compress(model: Path, data: Path, test: Path | None, out: Path, recipe: dict[str, Any]) -> None:
    """Compress MODEL, an ONNX file, and write the results with report.json.

    tied.onnx, shared.onnx and packed.onnx are the one that was asked for; point-K.*.onnx are all
    of the front, which front.svg and front.png draw.
    """
    checked = Recipe.from_dict(recipe)
    require_compress()
    # Read when torch is loaded: threads that spin while they wait are a hundred times slower
    # once another process wants their core.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    with _appearing_whole(out) as folder, StageBars() as stages:

        def listen(step: Progress) -> None:
            stages.show(step.stage, step.done, step.total, step.eta_s, step.metrics)
            if step.front is not None:
                stages.show_front([asdict(point) for point in step.front])

        dataset = load("tieshare_service.cli.splits:read")(data, test)
        result = load("tieshare.pipeline:compress")(model, dataset, checked, listen)
        result.save(folder)
    click.echo(result.report.table())
    if result.report.front:
        tables.show(tables.front([asdict(point) for point in result.report.front]))
    tables.notes(result.report.notes)
    click.echo(f"written to {out}")


@contextmanager
def _appearing_whole(out: Path) -> Iterator[Path]:
    """A folder to write to that becomes ``out`` in one step, or vanishes where something fails."""
    if out.exists() and not (out.is_dir() and not any(out.iterdir())):
        raise BadInput(f"{out} exists already: give --out a folder that does not, or an empty one")
    out = out.resolve()
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out.parent, prefix=f".{out.name}.") as scratch:
        folder = Path(scratch) / out.name
        folder.mkdir()
        yield folder
        folder.replace(out)
