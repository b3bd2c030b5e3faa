"""The commands that models and data sets share."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from tieshare_service.cli import bars, tables
from tieshare_service.cli.connection import connect, print_json, talks
from tieshare_service.client import Client
from tieshare_service.client.stored import Stored


@dataclass(frozen=True)
class Kind:
    """One kind of uploaded file.

    ``noun``     in the help
    ``group``    picks the client's group of verbs
    ``columns``  of a list: heading and what it shows
    ``details``  of one: the fields after those columns
    """

    noun: str
    group: Callable[[Client], Stored[Any]]
    columns: Mapping[str, Callable[[Any], object]]
    details: Callable[[Any], list[tuple[str, object]]]


def file_commands(kind: Kind, name: str) -> click.Group:
    """The commands create, list, get, delete and download."""

    @click.group(name, help=f"{kind.noun.capitalize()}s of a service.")
    def group() -> None:
        pass

    @group.command(help=f"Upload a {kind.noun} and print what the service read in it.")
    @click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
    @click.option("--name", help="Its name; the file's own where it is left out.")
    @talks
    def create(file: Path, name: str | None, url: str, as_json: bool) -> None:
        with connect(url) as client, bars.transfer(f"upload {file.name}") as progress:
            record = kind.group(client).create(file, name, progress)
        _print_one(kind, record, as_json)

    @group.command("list", help=f"List the {kind.noun}s.")
    @talks
    def list_(url: str, as_json: bool) -> None:
        with connect(url) as client:
            records = list(kind.group(client).list())
        if as_json:
            print_json(records)
        else:
            tables.show(tables.rows(kind.columns, records))

    @group.command(help=f"Show one {kind.noun}.")
    @click.argument("file_id", metavar="ID")
    @talks
    def get(file_id: str, url: str, as_json: bool) -> None:
        with connect(url) as client:
            record = kind.group(client).get(file_id)
        _print_one(kind, record, as_json)

    @group.command(help=f"Delete {kind.noun}s that no waiting or running job needs.")
    @click.argument("ids", metavar="ID...", nargs=-1, required=True)
    @talks
    def delete(ids: tuple[str, ...], url: str, as_json: bool) -> None:
        with connect(url) as client:
            for each in ids:
                kind.group(client).delete(each)
        if as_json:
            print_json({"deleted": list(ids)})

    @group.command(help=f"Download a {kind.noun} as it was uploaded.")
    @click.argument("file_id", metavar="ID")
    @click.option(
        "--out",
        type=click.Path(dir_okay=False, path_type=Path),
        required=True,
        help="The file to write.",
    )
    @talks
    def download(file_id: str, out: Path, url: str, as_json: bool) -> None:
        with connect(url) as client, bars.transfer(f"download {out.name}") as progress:
            kind.group(client).download(file_id, out, progress)
        if as_json:
            print_json({"file": str(out)})

    return group


def _print_one(kind: Kind, record: Any, as_json: bool) -> None:
    if as_json:
        print_json(record)
        return
    pairs = [(heading, show(record)) for heading, show in kind.columns.items()]
    tables.show(tables.facts(pairs + kind.details(record)))
