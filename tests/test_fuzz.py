import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


@pytest.mark.slow
@pytest.mark.parametrize("target", ["model", "dataset", "binary", "json", "upload"])
def test_a_few_runs_of_the_fuzzer_find_nothing(target: str, tmp_path: Path) -> None:
    """What ``make fuzz RUNS=1000000`` does for longer."""
    pytest.importorskip("atheris", reason="make fuzz installs it")
    command = [sys.executable, "-m", "tests.fuzz", target, "-runs=300"]
    command.append(f"-artifact_prefix={tmp_path}/")
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
