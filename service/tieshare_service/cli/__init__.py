"""The ``tieshare`` command. One file a group of commands; each is imported when it is called."""

from collections.abc import Mapping
from typing import ClassVar

import click

from tieshare_service.cli.lazy import Entry, LazyGroup


class Tieshare(LazyGroup):
    """All commands."""

    entries: ClassVar[Mapping[str, Entry]] = {
        "compress": Entry(
            "tieshare_service.cli.compress:compress", "Compress a model here, with no server."
        ),
        "serve": Entry(
            "tieshare_service.cli.serve:serve", "Start the whole service on this machine."
        ),
        "api": Entry("tieshare_service.cli.roles:api", "Start the control API alone."),
        "worker": Entry("tieshare_service.cli.roles:worker", "Start a worker alone."),
        "inference": Entry(
            "tieshare_service.cli.roles:inference", "Start the inference endpoint alone."
        ),
        "backup": Entry(
            "tieshare_service.cli.backup:backup", "Write all data of a service into one file."
        ),
        "restore": Entry(
            "tieshare_service.cli.backup:restore", "Make a data folder of such a file."
        ),
        "keys": Entry("tieshare_service.cli.keys:keys", "Keys that let others in."),
        "audit": Entry("tieshare_service.cli.keys:audit", "Show who changed what."),
        "models": Entry("tieshare_service.cli.models:models", "Models of a service."),
        "datasets": Entry("tieshare_service.cli.datasets:datasets", "Data sets of a service."),
        "jobs": Entry("tieshare_service.cli.jobs:jobs", "Jobs of a service."),
        "front": Entry("tieshare_service.cli.front:front", "Draw the front of a job."),
    }


@click.group(cls=Tieshare, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="tieshare", prog_name="tieshare")
def main() -> None:
    """Make trained ONNX networks smaller and faster, and serve them."""
