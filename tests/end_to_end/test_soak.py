import subprocess
import sys

import pytest


@pytest.mark.slow
def test_a_service_under_mixed_load_grows_in_nothing_and_leaves_nothing() -> None:
    """A part of a minute of what ``make soak`` does for half an hour."""
    command = [sys.executable, "-m", "tests.soak", "--minutes", "0.4"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.stdout.endswith("nothing grew, nothing was left\n"), done.stdout + done.stderr
