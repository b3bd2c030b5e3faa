"""The prox of the ordered l1 norm: ours, one on scipy's isotonic regression, and skglm's.

    python -m benchmarks.prox            ours and scipy's, and skglm's where it can be imported
    python -m benchmarks.prox --skglm    the same in a throw-away environment with skglm in it

Medians over interleaved rounds, in microseconds. Each is given the same v (normal) and lam, and
all answers are compared before anything is timed.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
import venv
from collections.abc import Callable, Iterator, Mapping
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from benchmarks.machine import machine
from numpy.typing import NDArray
from scipy.optimize import isotonic_regression

from tieshare.prox import prox_sorted_l1

Vector = NDArray[np.float64]
Prox = Callable[[Vector, Vector], NDArray[np.floating[Any]]]

SIZES = (784, 4_608, 25_088, 1_000_000)
ROUND_S = 0.001  # short rounds, so that a busy machine disturbs few of them
SECONDS = 1.0  # for each function and problem, and 7 rounds at least


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.prox")
    parser.add_argument("--skglm", action="store_true", help="install skglm for this run alone")
    installed = find_spec("skglm") is not None
    if parser.parse_args().skglm and not installed:
        sys.exit(_run_with_skglm())
    print(machine("numpy", "scipy", "skglm", "numba"))
    if not installed:
        print("skglm is not installed and is left out: --skglm measures it too")
    others: dict[str, Prox] = {"scipy": _scipy} | ({"skglm": _skglm()} if installed else {})
    header = "".join(f"{name:>12}  (ours/it)" for name in others)
    print(f"{'n':>9}  {'lam':<8}{'alive':>7}{'ours us':>12}{header}")
    for n, family, v, lam in _problems():
        figures = _measure({"ours": prox_sorted_l1, **others}, v, lam)
        alive = np.count_nonzero(prox_sorted_l1(v, lam)) / n
        line = f"{n:>9,}  {family:<8}{alive:>7.0%}{figures['ours']:>12.1f}"
        for name in others:
            line += f"{figures[name]:>12.1f}{figures['ours'] / figures[name]:>11.2f}"
        print(line, flush=True)


def _problems() -> Iterator[tuple[int, str, Vector, Vector]]:
    for n in SIZES:
        v = np.random.default_rng(0).standard_normal(n)
        fall = np.linspace(1, 0, n)
        yield n, "oscar", v, 1.5 * fall
        yield n, "growl", v, 0.5 + 0.5 * np.maximum(0, 2 * fall - 1)
        yield n, "sparse", v, 1.3 + 0.5 * np.maximum(0, 2 * fall - 1)


def _measure(functions: Mapping[str, Prox], v: Vector, lam: Vector) -> dict[str, float]:
    """Function name -> microseconds a call."""
    loops, count = {}, 0
    for name, function in functions.items():
        np.testing.assert_allclose(function(v, lam), _scipy(v, lam), rtol=0, atol=1e-10)
        once = _seconds(function, v, lam, 1)
        loops[name] = max(1, round(ROUND_S / once))
        count = max(count, 7, min(300, round(SECONDS / max(once, ROUND_S))))
    rounds: dict[str, list[float]] = {name: [] for name in functions}
    for _ in range(count):
        for name, function in functions.items():
            rounds[name].append(_seconds(function, v, lam, loops[name]) / loops[name])
    return {name: 1e6 * statistics.median(seconds) for name, seconds in rounds.items()}


def _seconds(function: Prox, v: Vector, lam: Vector, loops: int) -> float:
    start = time.perf_counter()
    for _ in range(loops):
        function(v, lam)
    return time.perf_counter() - start


def _scipy(v: Vector, lam: Vector) -> Vector:
    magnitude = np.abs(v)
    order = np.argsort(-magnitude)
    x = np.empty_like(v)
    x[order] = np.maximum(isotonic_regression(magnitude[order] - lam, increasing=False).x, 0)
    return np.asarray(np.sign(v) * x)


def _skglm() -> Prox:
    """Its compiled prox of sorted magnitudes, with the sorting that its penalty does around it."""
    compiled = import_module("skglm.utils.prox_funcs").prox_SLOPE

    def prox(v: Vector, lam: Vector) -> Vector:
        magnitude = np.abs(v)
        order = np.argsort(magnitude)[::-1]
        x = np.zeros_like(v)
        x[order] = compiled(magnitude[order], lam)
        return np.asarray(np.sign(v) * x)

    return prox


def _run_with_skglm() -> int:
    """This benchmark under another interpreter, which has skglm; its exit code."""
    root = Path(__file__).parents[1]
    with tempfile.TemporaryDirectory() as folder:
        venv.create(folder, with_pip=True)
        python = str(Path(folder, "Scripts" if os.name == "nt" else "bin", "python"))
        install = [python, "-m", "pip", "install", "-q", "-c", str(root / "constraints.txt")]
        subprocess.run([*install, str(root), "scipy", "skglm"], check=True)
        command = [python, "-m", "benchmarks.prox"]
        environment = {**os.environ, "PYTHONPATH": str(root)}
        return subprocess.run(command, env=environment, check=False).returncode


if __name__ == "__main__":
    main()
