"""How a command ends where it can't do what was asked."""

import click


class Failure(click.ClickException):
    """It did not work: a message for stderr, exit code 1."""


class BadInput(Failure):
    """The same command can't work before its input is mended."""

    exit_code = 2
