"""``tieshare backup`` and ``tieshare restore``."""

from pathlib import Path
from typing import Any

import click

from tieshare_service.cli.lazy import load
from tieshare_service.cli.settings import settings_options
from tieshare_service.settings import Settings


@click.command()
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
@settings_options("data_dir")
def backup(file: Path, settings: Settings) -> None:
    """Write models, data sets, jobs, results and served models into FILE, a tar archive.

    The service may go on meanwhile.
    """
    _tell(load("tieshare_service.backup:back_up")(settings, file))


@click.command()
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@settings_options("data_dir")
def restore(file: Path, settings: Settings) -> None:
    """Make a new data folder of what ``tieshare backup`` wrote. Start the service after it."""
    _tell(load("tieshare_service.backup:restore")(file, settings))


def _tell(kept: Any) -> None:
    click.echo(
        f"{kept.models} models, {kept.datasets} data sets, {kept.jobs} jobs: {kept.bytes:,} bytes"
    )
