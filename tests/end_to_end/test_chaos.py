import subprocess
import sys

import pytest


@pytest.mark.slow
def test_what_was_promised_holds_whatever_is_killed() -> None:
    """A few runs of what ``make chaos`` does five hundred times."""
    command = [sys.executable, "-m", "tests.chaos", "--runs", "6", "--seed", "1"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.stdout.endswith("all that was promised held\n"), done.stderr
