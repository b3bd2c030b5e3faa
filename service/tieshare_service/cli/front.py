"""``tieshare front``: the results of a job as one picture."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from tieshare_service.cli.connection import connect, url_option
from tieshare_service.cli.failures import BadInput
from tieshare_service.cli.lazy import load

FORMS = (".png", ".svg")


@click.command()
@click.argument("source", metavar="JOB_ID|REPORT.json")
@click.option(
    "--out",
    type=click.Path(dir_okay=False, path_type=Path),
    required=True,
    help="The picture to write; its ending, .svg or .png, says in which form.",
)
@url_option
def front(source: str, out: Path, url: str) -> None:
    """Draw accuracy over bytes and over latency for all results of a job.

    They are read in a report.json, or asked of a service where a job's id is given.
    """
    if out.suffix not in FORMS:
        raise BadInput(f"{out}: a picture ends in {' or '.join(FORMS)}")
    report = _read(Path(source)) if Path(source).suffix == ".json" else _fetch(source, url)
    if not report.get("front"):
        raise BadInput(f"{source}: the report has no front")
    drawn = load(f"tieshare.front_chart:{out.suffix[1:]}")(_parsed(report, source))
    out.write_bytes(drawn if isinstance(drawn, bytes) else drawn.encode())


def _read(file: Path) -> Mapping[str, Any]:
    try:
        report = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise BadInput(f"{file}: not JSON: {error}") from error
    if not isinstance(report, dict):
        raise BadInput(f"{file}: not a report")
    return report


def _fetch(job_id: str, url: str) -> Mapping[str, Any]:
    with connect(url) as client:
        job = client.jobs.get(job_id)
    if job.result is None:
        raise BadInput(f"job {job_id} is {job.status}: it has no report")
    return job.result.report


def _parsed(report: Mapping[str, Any], source: str) -> Any:
    try:
        return load("tieshare.report:Report").from_dict(report)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise BadInput(f"{source}: not a report of this version: {error!r}") from error
