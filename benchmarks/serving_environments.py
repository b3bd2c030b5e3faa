"""Virtual environments of the servers that ours is measured against, made once and kept."""

import shutil
import subprocess
import sys
from pathlib import Path

from benchmarks.serving_servers import Unusable


def environment(folder: Path, packages: tuple[str, ...]) -> Path:
    """The interpreter of an environment with these packages, made in ``folder`` if it isn't there.

    Raises Unusable where pip can't install them.
    """
    python, stored = folder.absolute() / "bin" / "python", folder / "packages"
    if stored.exists() and stored.read_text() == "\n".join(packages):
        return python
    shutil.rmtree(folder, ignore_errors=True)
    subprocess.run([sys.executable, "-m", "venv", folder], check=True)
    pip = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *packages]
    done = subprocess.run(pip, capture_output=True, text=True, check=False)
    if done.returncode:
        errors = [line for line in done.stderr.splitlines() if line.startswith("ERROR")]
        raise Unusable(f"not installed: {last_line(errors[-1] if errors else done.stderr)}")
    stored.write_text("\n".join(packages))
    return python


def installed(python: Path, package: str) -> str:
    """The version of a package there; its extras don't matter."""
    name = package.partition("[")[0]
    asked = f"from importlib.metadata import version; print(version({name!r}))"
    return subprocess.run(
        [python, "-c", asked], capture_output=True, text=True, check=True
    ).stdout.strip()


def last_line(text: str) -> str:
    """What a command said last, fit for a cell of a table."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1].replace("|", "/")[:200] if lines else "no message"
