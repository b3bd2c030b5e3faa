"""``tieshare keys`` and ``tieshare audit``: for the operator, on the service's own machine."""

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TypeVar, get_args

import click

from tieshare_service.access import Role
from tieshare_service.audit import Audit, Change
from tieshare_service.cli import tables
from tieshare_service.cli.connection import json_option, print_json
from tieshare_service.cli.settings import settings_options
from tieshare_service.database import open_database
from tieshare_service.keys import Key, Keys
from tieshare_service.settings import Settings
from tieshare_service.tenants import LONGEST, Quotas, is_tenant

T = TypeVar("T")

_AT_LEAST_1 = click.IntRange(min=1)


@click.group()
def keys() -> None:
    """Keys that let others in."""


@keys.command()
@click.option(
    "--role",
    type=click.Choice(get_args(Role)),
    required=True,
    help="infer: ask served models. submit: that, uploads and jobs. admin: all.",
)
@click.option("--name", default="", help="Whose it is, for the list.")
@click.option(
    "--tenant",
    default="",
    callback=lambda _context, _option, text: _tenant(text),
    help="It sees what this tenant has alone; without, an admin sees all, others what no tenant's "
    "key made.",
)
@click.option("--max-bytes", "bytes_", type=_AT_LEAST_1, help="Of uploads and results it has here.")
@click.option("--max-jobs", "jobs", type=_AT_LEAST_1, help="Of its jobs that have not ended.")
@click.option("--max-requests", "requests", type=_AT_LEAST_1, help="In a minute, by each process.")
@settings_options("data_dir", "database_url")
def create(
    role: Role,
    name: str,
    tenant: str,
    bytes_: int | None,
    jobs: int | None,
    requests: int | None,
    settings: Settings,
) -> None:
    """Make a key and print it; it can't be had again."""
    with _tables(settings) as (table, audit):
        key, text = table.create(role, name, tenant, Quotas(bytes_, jobs, requests))
        audit.add(None, "create_key", key.id)
    click.echo(text)


@keys.command("list")
@json_option
@settings_options("data_dir", "database_url")
def list_keys(settings: Settings, as_json: bool) -> None:
    """List keys, without what only their holders know."""
    with _tables(settings) as (table, _):
        found = table.list()
    columns: Mapping[str, Callable[[Key], object]] = {
        "id": lambda key: key.id,
        "role": lambda key: key.role,
        "name": lambda key: key.name,
        "tenant": lambda key: key.tenant,
        "bytes": lambda key: key.max_bytes,
        "jobs": lambda key: key.max_jobs,
        "requests": lambda key: key.max_requests,
        "created": lambda key: _time(key.created_at),
        "revoked": lambda key: _time(key.revoked_at),
    }
    _show(found, columns, as_json)


@keys.command()
@click.argument("key_id", metavar="ID")
@settings_options("data_dir", "database_url")
def revoke(key_id: str, settings: Settings) -> None:
    """Let a key in no more; within a second it is so everywhere."""
    with _tables(settings) as (table, audit):
        table.revoke(key_id)
        audit.add(None, "revoke_key", key_id)


@click.command()
@click.option("--last", "most", type=click.IntRange(min=1), default=50, show_default=True)
@json_option
@settings_options("data_dir", "database_url")
def audit(most: int, settings: Settings, as_json: bool) -> None:
    """Show who changed what; a change with no key was made where none is needed."""
    with _tables(settings) as (_, log):
        found = log.last(most)
    columns: Mapping[str, Callable[[Change], object]] = {
        "when": lambda change: _time(change.at),
        "key": lambda change: change.key_id,
        "what": lambda change: change.what,
        "of": lambda change: change.of,
    }
    _show(found, columns, as_json)


@contextmanager
def _tables(settings: Settings) -> Iterator[tuple[Keys, Audit]]:
    """The keys and the audit log."""
    engine = open_database(settings.database)
    try:
        yield Keys(engine, time.time), Audit(engine, time.time)
    finally:
        engine.dispose()


def _tenant(text: str) -> str:
    if text and not is_tenant(text):
        raise click.BadParameter(
            f"{text!r} is none: lower-case letters, digits and, between them, -; at most {LONGEST}"
        )
    return text


def _show(found: Iterable[T], columns: Mapping[str, Callable[[T], object]], as_json: bool) -> None:
    if as_json:
        print_json(found)
    else:
        tables.show(tables.rows(columns, found))


def _time(seconds: float | None) -> datetime | None:
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC)
