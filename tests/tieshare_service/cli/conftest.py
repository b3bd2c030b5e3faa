"""The command as a user calls it, in this process."""

from collections.abc import Callable

import pytest
from click.testing import CliRunner, Result

from tieshare_service.cli import main

Run = Callable[..., Result]


@pytest.fixture
def tieshare() -> Run:
    """Runs ``tieshare`` with these words; nothing of it is caught but its exit."""

    def run(*words: object, **environ: str) -> Result:
        return CliRunner().invoke(main, [str(word) for word in words], env=environ)

    return run
