"""Clustering of rows: time and memory of a large layer, and quality against scikit-learn's.

    python -m benchmarks.cluster            all three tables, about ten minutes
    python -m benchmarks.cluster large      25,088 x 4,096 (VGG-16's first dense layer), float32
    python -m benchmarks.cluster plain      net similarity over that of scikit-learn's affinity
                                            propagation, on the same similarity and preference
    python -m benchmarks.cluster limited    few pairs of each row over all pairs

Net similarity: the sum of the similarity of each row to its cluster's exemplar, which is the
member that makes it highest and counts with the preference. Each large matrix has a process of its
own, whose peak of resident memory, with Python and the matrix in it, is told.
"""

import argparse
import json
import resource
import subprocess
import sys
import time
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
from benchmarks.machine import machine
from numpy.typing import NDArray
from sklearn.cluster import AffinityPropagation

from tieshare.cluster import cluster_rows, similarity

Matrix = NDArray[np.float32]
Labels = NDArray[np.int64]

ROWS, COLUMNS = 25_088, 4_096
SECONDS, GIGABYTES = 180, 4.0
SIZES = (200, 500, 1_000, 2_000)
PREFERENCES = (0.6, 0.8)
TALL, LIMITS = 3_000, (250, 500, 1_000)
CHUNK = 1_000


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.cluster")
    parser.add_argument("tables", nargs="*", choices=[[], *TABLES], help="all where none is named")
    parser.add_argument("--alone", choices=LARGE, help=argparse.SUPPRESS)
    flags = parser.parse_args()
    if flags.alone:
        print(json.dumps(measure_large(flags.alone)))
        return
    print(machine("numpy", "scipy", "scikit-learn"))
    for name in flags.tables or TABLES:
        print()
        TABLES[name]()


def large() -> None:
    print(f"{ROWS:,} x {COLUMNS:,}, preference {PREFERENCES[0]}")
    print(
        f"{'rows':<12}{'clusters':>9}{'settled':>9}{'s':>8}{'limit':>7}{'peak GB':>9}{'limit':>7}"
    )
    for name in LARGE:
        command = [sys.executable, "-m", "benchmarks.cluster", "--alone", name]
        run = subprocess.run(command, check=True, capture_output=True, text=True)
        found = json.loads(run.stdout)
        print(
            f"{name:<12}{found['clusters']:>9,}{said(found['settled']):>9}{found['s']:>8.1f}"
            f"{SECONDS:>7}{found['bytes'] / 1e9:>9.2f}{GIGABYTES:>7.1f}",
            flush=True,
        )


def measure_large(name: str) -> dict[str, Any]:
    W = LARGE[name](ROWS, COLUMNS)
    start = time.perf_counter()
    found = cluster_rows(W, PREFERENCES[0], untied_above=1.0)
    seconds = time.perf_counter() - start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return {
        "clusters": found.count,
        "settled": found.converged,
        "s": seconds,
        "bytes": peak * (1 if sys.platform == "darwin" else 1024),
    }


def plain() -> None:
    print(f"{'n':>6}  {'rows':<12}{'pref.':>6}{'scikit-learn':>15}{'settled':>9}{'s':>8}", end="")
    print(f"{'ours':>9}{'settled':>9}{'s':>8}{'net/its':>10}")
    for n in SIZES:
        for name, make in SMALL.items():
            W = make(n, 64)
            S = similarity(W.astype(np.float64))
            for preference in PREFERENCES:
                labels, settled, seconds = scikit_learn(S, preference)
                start = time.perf_counter()
                ours = cluster_rows(W, preference, untied_above=1.0)
                took = time.perf_counter() - start
                net = [net_similarity(S, found, preference) for found in (labels, ours.labels)]
                print(
                    f"{n:>6,}  {name:<12}{preference:>6}{labels.max() + 1:>6} clusters"
                    f"{said(settled):>9}{seconds:>8.2f}{ours.count:>9}{said(ours.converged):>9}"
                    f"{took:>8.2f}{net[1] / net[0]:>10.5f}",
                    flush=True,
                )


def limited() -> None:
    print(f"{TALL:,} rows. All pairs: clusters and s; with limit^2 pairs: net/all, clusters and s")
    print(f"{'rows':<12}{'pref.':>6}{'all':>7}{'s':>7}", end="")
    print("".join(f"{f'limit {limit:,}':>15}{'':>13}" for limit in LIMITS))
    for name, make in SMALL.items():
        W = make(TALL, 64)
        S = similarity(W.astype(np.float64))
        for preference in (0.0, *PREFERENCES):
            line, whole = f"{name:<12}{preference:>6}", 0.0
            for limit in (TALL, *LIMITS):
                start = time.perf_counter()
                found = cluster_rows(W, preference, untied_above=1.0, limit=limit)
                took = time.perf_counter() - start
                net = net_similarity(S, found.labels, preference)
                whole = whole or net
                ratio = "" if limit == TALL else f"{net / whole:>15.5f}"
                line += f"{ratio}{found.count:>{7 if limit == TALL else 6}}{took:>7.2f}"
            print(line, flush=True)


def scikit_learn(S: NDArray[np.float64], preference: float) -> tuple[Labels, bool, float]:
    """Its labels, whether it settled, and seconds; rows that it gave no cluster have one each."""
    method = AffinityPropagation(
        affinity="precomputed", preference=preference, damping=0.7, max_iter=400, random_state=0
    )
    start = time.perf_counter()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        labels: Labels = method.fit(S).labels_.astype(np.int64)
    alone = np.flatnonzero(labels < 0)
    labels[alone] = labels.max() + 1 + np.arange(len(alone))
    return labels, not caught, time.perf_counter() - start


def net_similarity(S: NDArray[np.float64], labels: Labels, preference: float) -> float:
    net = 0.0
    for label in np.unique(labels):
        members = np.flatnonzero(labels == label)
        sums = S[np.ix_(members, members)].sum(axis=0) - S[members, members] + preference
        net += sums.max()
    return net


def said(settled: bool) -> str:
    return "yes" if settled else "no"


def gaussian(n: int, m: int) -> Matrix:
    """All distinct, of nearly one length: nothing ties."""
    return np.random.default_rng(0).standard_normal((n, m), dtype=np.float32)


def growl(n: int, m: int) -> Matrix:
    """As after GrOWL training: a direction for about 40 rows, four lengths, and noise."""
    rng = np.random.default_rng(0)
    directions = rng.standard_normal((max(2, n // 40), m), dtype=np.float32)
    W = directions[rng.integers(0, len(directions), n)]
    lengths = rng.choice([1.0, 1.5, 2.5, 4.0], n) * np.exp(0.05 * rng.standard_normal(n))
    for start in range(0, n, CHUNK):
        part = W[start : start + CHUNK]
        part += 0.15 * rng.standard_normal(part.shape, dtype=np.float32)
        part *= lengths[start : start + CHUNK, None].astype(np.float32)
    return W


def tight(n: int, m: int) -> Matrix:
    """A few large groups: most pairs in a group are more alike than any preference."""
    rng = np.random.default_rng(0)
    W = rng.standard_normal((12, m), dtype=np.float32)[rng.integers(0, 12, n)]
    for start in range(0, n, CHUNK):
        part = W[start : start + CHUNK]
        part += 0.2 * rng.standard_normal(part.shape, dtype=np.float32)
    return W


def loose(n: int, m: int) -> Matrix:
    """Groups of about 20 that run into each other."""
    rng = np.random.default_rng(0)
    centres = rng.standard_normal((max(2, n // 20), m))
    W = centres[rng.integers(0, len(centres), n)] + 0.6 * rng.standard_normal((n, m))
    return W.astype(np.float32)


def low_rank(n: int, m: int) -> Matrix:
    """No groups, but near neighbours everywhere, at all lengths."""
    rng = np.random.default_rng(0)
    return (rng.standard_normal((n, 4)) @ rng.standard_normal((4, m))).astype(np.float32)


def repeated(n: int, m: int) -> Matrix:
    """Rows that are equal bit for bit, about 8 of each."""
    rng = np.random.default_rng(0)
    distinct = rng.standard_normal((max(2, n // 8), m), dtype=np.float32)
    return distinct[rng.integers(0, len(distinct), n)]


Make = Callable[[int, int], Matrix]
LARGE: dict[str, Make] = {"GrOWL-like": growl, "Gaussian": gaussian, "tight": tight}
SMALL: dict[str, Make] = {
    "GrOWL-like": growl,
    "Gaussian": gaussian,
    "tight": tight,
    "loose": loose,
    "low rank": low_rank,
    "repeated": repeated,
}
TABLES = {"large": large, "plain": plain, "limited": limited}

if __name__ == "__main__":
    main()
