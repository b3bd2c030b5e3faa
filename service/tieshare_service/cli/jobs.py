"""``tieshare jobs``."""

import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, get_args

import click

from tieshare_service.cli import bars, tables
from tieshare_service.cli.connection import PATIENT, connect, plain, print_json, talks
from tieshare_service.cli.failures import BadInput, Failure
from tieshare_service.cli.recipes import recipe_options
from tieshare_service.client import Artifact, Client, Event, Job, ServedFile, Status

_POINT = re.compile(r"point-\d+\.")


def _done(job: Job) -> str:
    progress = job.progress
    return f"{progress.done}/{progress.total} {progress.unit}" if progress else ""


COLUMNS: Mapping[str, Callable[[Job], object]] = {
    "id": lambda job: job.id,
    "name": lambda job: job.name,
    "status": lambda job: job.status,
    "stage": lambda job: job.stage,
    "done": _done,
    "created": lambda job: job.created_at,
}


@click.group()
def jobs() -> None:
    """Jobs of a service."""


@jobs.command()
@click.argument("model")
@click.argument("dataset")
@click.option("--name", help="Under which the result is served; the model's own by default.")
@click.option("--idempotency-key", help="The same key gives the same job, however often.")
@click.option("--validate-only", is_flag=True, help="Print the job as JSON, queue nothing.")
@click.option("--watch", "follow", is_flag=True, help="Follow it until it has ended.")
@recipe_options
@talks
def submit(
    model: str,
    dataset: str,
    recipe: dict[str, Any],
    validate_only: bool,
    follow: bool,
    url: str,
    as_json: bool,
    **named: str | None,
) -> None:
    """Queue a job for the MODEL and the DATASET with these ids."""
    target = recipe.pop("target", None)
    name = named["name"]
    with connect(url) as client:
        if validate_only:
            plan = client.jobs.validate(model, dataset, name=name, recipe=recipe, target=target)
            print_json(plan)
            return
        job = client.jobs.submit(
            model,
            dataset,
            name=name,
            recipe=recipe,
            target=target,
            idempotency_key=named["idempotency_key"],
        )
    if follow:
        _follow(url, job.id, 0, as_json)
    else:
        _print_one(job, as_json)


@jobs.command("list")
@click.option("--status", type=click.Choice(get_args(Status)), help="Only those.")
@talks
def list_(status: Status | None, url: str, as_json: bool) -> None:
    """List the jobs, newest first."""
    with connect(url) as client:
        found = list(client.jobs.list(status))
    if as_json:
        print_json(found)
    else:
        tables.show(tables.rows(COLUMNS, found))


@jobs.command()
@click.argument("job_id", metavar="ID")
@talks
def get(job_id: str, url: str, as_json: bool) -> None:
    """Show one job, and its result where it has one."""
    with connect(url) as client:
        _print_one(client.jobs.get(job_id), as_json)


@jobs.command()
@click.argument("job_id", metavar="ID")
@click.option("--after", default=0, help="Only events after this number.")
@talks
def watch(job_id: str, after: int, url: str, as_json: bool) -> None:
    """Draw the progress of a job until it has ended.

    The exit code is 1 where it has no result.
    """
    _follow(url, job_id, after, as_json)


@jobs.command()
@click.argument("job_id", metavar="ID")
@talks
def cancel(job_id: str, url: str, as_json: bool) -> None:
    """End a job at once."""
    with connect(url) as client:
        _print_one(client.jobs.cancel(job_id), as_json)


@jobs.command()
@click.argument("job_id", metavar="ID")
@talks
def retry(job_id: str, url: str, as_json: bool) -> None:
    """Queue a failed or cancelled job again."""
    with connect(url) as client:
        _print_one(client.jobs.retry(job_id), as_json)


@jobs.command()
@click.argument("ids", metavar="ID...", nargs=-1, required=True)
@click.option("--withdraw", is_flag=True, help="Also take their versions out of service.")
@talks
def delete(ids: tuple[str, ...], withdraw: bool, url: str, as_json: bool) -> None:
    """Delete ended jobs with their events and results."""
    with connect(url) as client:
        for each in ids:
            client.jobs.delete(each, withdraw=withdraw)
    if as_json:
        print_json({"deleted": list(ids)})


@jobs.command()
@click.argument("job_id", metavar="ID")
@click.option("--point", type=click.IntRange(min=1), required=True, help="Its number in the front.")
@click.option(
    "--file",
    type=click.Choice(get_args(ServedFile)),
    default="shared",
    show_default=True,
    help="The fastest form, or the one with the fewest bytes.",
)
@talks
def publish(job_id: str, point: int, file: ServedFile, url: str, as_json: bool) -> None:
    """Put another point of a job's front into service, as the next version of its name."""
    with connect(url) as client:
        served = client.jobs.publish(job_id, point, file)
    if as_json:
        print_json(served)
    else:
        tables.show(tables.facts([("served", f"{served.name}, version {served.version}")]))


@jobs.command()
@click.argument("job_id", metavar="ID")
@click.option("--after", default=0, help="Only events after this number.")
@talks
def events(job_id: str, after: int, url: str, as_json: bool) -> None:
    """List what has happened to a job so far."""
    with connect(url) as client:
        found = list(_events_so_far(client, job_id, after))
    if as_json:
        print_json(found)
        return
    columns: Mapping[str, Callable[[Event], object]] = {
        "seq": lambda event: event.seq,
        "at": lambda event: event.at,
        "type": lambda event: event.type,
        "data": lambda event: event.data,
    }
    tables.show(tables.rows(columns, found))


@jobs.command()
@click.argument("job_id", metavar="ID")
@talks
def artifacts(job_id: str, url: str, as_json: bool) -> None:
    """List the files that a job has made."""
    with connect(url) as client:
        found = client.jobs.artifacts(job_id)
    if as_json:
        print_json(found)
        return
    columns: Mapping[str, Callable[[Artifact], object]] = {
        "name": lambda file: file.name,
        "bytes": lambda file: file.bytes,
        "sha256": lambda file: file.sha256,
    }
    tables.show(tables.rows(columns, found))


@jobs.command()
@click.argument("job_id", metavar="ID")
@click.argument("names", metavar="[NAME]...", nargs=-1)
@click.option(
    "--out",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path(),
    help="The folder to write to; the current one where it is left out.",
)
@click.option("--all", "every", is_flag=True, help="Everything, the files of all points too.")
@talks
def download(
    job_id: str, names: tuple[str, ...], out: Path, every: bool, url: str, as_json: bool
) -> None:
    """Download a job's chosen result, its report and the picture of its front.

    The files of the front's points are left out; --all takes them too, and with NAMEs, such as
    point-3.packed.onnx, those files alone come.
    """
    if every and names:
        raise click.UsageError("give NAMEs or --all")
    with connect(url) as client:
        known = {file.name: file for file in client.jobs.artifacts(job_id)}
        names = names or tuple(name for name in known if every or not _POINT.match(name))
        for name in names:
            if name not in known:
                raise BadInput(f"job {job_id} has no artifact {name!r}, only {', '.join(known)}")
        out.mkdir(parents=True, exist_ok=True)
        files = [_fetch(client, job_id, known[name], out) for name in names]
    if as_json:
        print_json({"files": [str(file) for file in files]})


def _fetch(client: Client, job_id: str, artifact: Artifact, out: Path) -> Path:
    with bars.transfer(f"download {artifact.name}") as progress:
        return client.jobs.download(job_id, artifact.name, out / artifact.name, progress)


def _events_so_far(client: Client, job_id: str, after: int) -> Iterator[Event]:
    while page := client.jobs.events(job_id, after):
        yield from page
        after = page[-1].seq


def _follow(url: str, job_id: str, after: int, as_json: bool) -> None:
    with connect(url, PATIENT) as client:
        if as_json:
            for event in client.jobs.watch(job_id, after):
                print_json(event, indent=None)
        else:
            _draw(client, job_id, after)
        job = client.jobs.get(job_id)
    if not as_json:
        _print_one(job, as_json)
    if job.status != "succeeded":
        raise Failure(f"job {job.id} is {job.status}")


def _draw(client: Client, job_id: str, after: int) -> None:
    with bars.StageBars() as stages:
        for event in client.jobs.watch(job_id, after):
            if event.type == "status" and event.data["status"] == "queued":
                stages.wait()
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


def _print_one(job: Job, as_json: bool) -> None:
    if as_json:
        print_json(job)
        return
    pairs: list[tuple[str, object]] = [
        (heading, show(job)) for heading, show in COLUMNS.items() if heading != "created"
    ]
    pairs += [("model", job.model), ("dataset", job.dataset), ("attempt", job.attempt)]
    pairs += [("created", job.created_at), ("started", job.started_at), ("ended", job.ended_at)]
    if job.error:
        pairs.append(("error", f"{job.error.message} [{job.error.type}]"))
    if job.result and job.result.served:
        served = job.result.served
        pairs.append(("served", f"{served.name}, version {served.version}"))
    tables.show(tables.facts(pairs))
    if job.result:
        tables.show(tables.report(job.result.report))
    if job.front:
        tables.show(tables.front([plain(point) for point in job.front]))
    if job.result:
        tables.notes(job.result.report.get("notes", ()))
