"""A compression job that trains until it is stopped, as the service's own would beside serving."""

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from examples.digits import make

from tieshare import Progress, Recipe, compress
from tieshare_service.child import Spec


@contextmanager
def training() -> Iterator[None]:
    """A job trains on the cores of this process, from its first epoch on."""
    process = subprocess.Popen(
        [sys.executable, "-m", "benchmarks.serving_training"], stdout=subprocess.PIPE, text=True
    )
    try:
        if process.stdout is None or not process.stdout.readline():
            raise RuntimeError("the job that was to train beside serving ended")
        yield
    finally:
        process.kill()
        process.communicate()


def main() -> None:
    """Train for ever; a line once it does."""
    os.nice(Spec.niceness)
    told = False

    def tell(progress: Progress) -> None:
        nonlocal told
        if progress.stage == "path" and progress.done and not told:
            told = True
            print("trains", flush=True)

    with tempfile.TemporaryDirectory() as folder:
        digits = make(Path(folder))
        while True:
            compress(digits.model, digits.data, Recipe(), tell)


if __name__ == "__main__":
    main()
