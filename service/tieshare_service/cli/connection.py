"""The options of every command that talks to a service, and how its answers are printed."""

import dataclasses
import json
import os
from collections.abc import Callable
from datetime import datetime
from typing import Any, TypeVar

import click

from tieshare_service.client import Client, Retry

F = TypeVar("F", bound=Callable[..., Any])

KEY_VARIABLE = "TIESHARE_KEY"

# A person is waiting: half a second of patience, where a program has some six.
IMPATIENT = Retry(attempts=3)
# Somebody watches a long job: outlive a restart of the service.
PATIENT = Retry(attempts=12)

url_option = click.option(
    "--url",
    envvar="TIESHARE_URL",
    default="http://127.0.0.1:8000",
    show_default=True,
    show_envvar=True,
    help="Address of the control API.",
)

json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


def talks(command: F) -> F:
    """Give ``command`` the parameters url and as_json."""
    return url_option(json_option(command))


def connect(url: str, retry: Retry = IMPATIENT) -> Client:
    """A client for one command. Its key is no option: others can read a command line."""
    return Client(url, retry=retry, key=os.environ.get(KEY_VARIABLE))


def plain(record: Any) -> Any:
    """A record, or records, as the API's own JSON."""
    if dataclasses.is_dataclass(record) and not isinstance(record, type):
        return dataclasses.asdict(record)
    if isinstance(record, list | tuple):
        return [plain(item) for item in record]
    return record


def print_json(record: Any, indent: int | None = 2) -> None:
    """Print a record, or a list of them, for a machine."""
    click.echo(json.dumps(plain(record), indent=indent, default=_text))


def _text(value: object) -> str:
    return value.isoformat() if isinstance(value, datetime) else str(value)
