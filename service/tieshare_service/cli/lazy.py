"""A group whose commands are imported when they are called: listing jobs must not load torch."""

import importlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import click

EXPLAIN = "tieshare_service.cli.explain:explain"


def load(target: str) -> Any:
    """The object that MODULE:NAME stands for."""
    module, _, name = target.partition(":")
    return getattr(importlib.import_module(module), name)


@dataclass(frozen=True)
class Entry:
    """A command that is not imported yet: MODULE:NAME, and its line in the help."""

    target: str
    help: str


class LazyGroup(click.Group):
    """Subcommands by name, from ``entries``; what they raise becomes one line on stderr."""

    entries: ClassVar[Mapping[str, Entry]] = {}

    def list_commands(self, _ctx: click.Context) -> list[str]:
        """The names, in the order of the table."""
        return list(self.entries)

    def get_command(self, _ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import the command of this name."""
        entry = self.entries.get(cmd_name)
        if entry is None:
            return None
        command: click.Command = load(entry.target)
        return command

    def format_commands(self, _ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the list of commands without importing them."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, entry.help) for name, entry in self.entries.items()])

    def invoke(self, ctx: click.Context) -> Any:
        """Run the subcommand; expected failures become a message and an exit code."""
        try:
            return super().invoke(ctx)
        except (click.ClickException, click.exceptions.Exit, click.Abort):
            raise
        except Exception as error:
            explained = load(EXPLAIN)(error)
            if explained is None:
                raise
            raise explained from error
