"""Points retrained in processes of their own."""

import signal
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import psutil
import pytest

from tieshare.crew import Child, Processes, follow, stored
from tieshare.job import Job
from tieshare.points import Points
from tieshare.progress import Progress
from tieshare.search import Point

Ready = Callable[..., Job]
LAYERS = ("Gemm_0", "Gemm_2")
POINTS = [Point(3, 0.6), Point(3, 0.3, bits=4)]
PARENT = """
import sys
from functools import partial
from pathlib import Path
from tieshare.crew import Child, follow
from tieshare.search import Point
points = [Point(3, 0.6), Point(3, 0.3, bits=4)]
hand = partial(Child, Path(sys.argv[1]), ("Gemm_0", "Gemm_2"))
follow([partial(hand, point, 1) for point in points], lambda done, _: print(done))
"""


class Cut(Exception):
    """The job was cancelled here."""


def hands(folder: Path, layers: tuple[str, ...]) -> list[Callable[[], Child]]:
    return [partial(Child, folder, layers, point, 1) for point in POINTS]


def children() -> list[psutil.Process]:
    """Those of the crew that run, the first to be started first."""
    found = [it for it in psutil.Process().children() if "tieshare.crew" in it.cmdline()]
    return sorted(found, key=lambda it: it.create_time())


def has_ended(pid: int) -> bool:
    try:
        return bool(psutil.Process(pid).status() == psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return True


@pytest.mark.slow
def test_a_crew_makes_bit_for_bit_what_one_process_makes(ready: Ready) -> None:
    job = ready("crew")
    heard: list[tuple[int, set[str]]] = []
    Processes().retrain(
        job, LAYERS, POINTS, lambda done, metrics: heard.append((done, set(metrics)))
    )
    assert [done for done, _ in heard] == [*range(1, 9)]
    assert {frozenset(names) for _, names in heard} == {
        frozenset({"accuracy", "alive_rows", "clusters", "compression_ratio"})
    }
    crew, alone = Points(job, LAYERS), Points(ready("alone"), LAYERS)
    assert crew.missing(POINTS) == []
    for point in POINTS:
        made, expected = crew.retrain(point), alone.retrain(point)
        assert made.tied.SerializeToString() == expected.tied.SerializeToString()
        assert made.bits == expected.bits
        assert made.right.tobytes() == expected.right.tobytes()


@pytest.mark.slow
def test_of_a_child_that_is_killed_the_caller_makes_the_rest_itself(ready: Ready) -> None:
    job = ready("crew", retrain_epochs=40)
    killed: list[psutil.Process] = []

    def kill_the_first(_: int, metrics: object) -> None:
        if not killed and job.checkpoints.load("point-3-0.6-8") is not None:
            killed.append(children()[0])
            killed[0].kill()

    Processes().retrain(job, LAYERS, POINTS, kill_the_first)
    assert children() == []
    assert Points(job, LAYERS).missing(POINTS) == POINTS[:1]
    heard: list[Progress] = []
    made = Points(ready("crew", heard.append, retrain_epochs=40), LAYERS).retrain(POINTS[0])
    assert 1 < heard[0].done <= heard[-1].done == 50
    expected = Points(ready("alone", retrain_epochs=40), LAYERS).retrain(POINTS[0])
    assert made.tied.SerializeToString() == expected.tied.SerializeToString()


@pytest.mark.slow
def test_when_the_caller_is_cancelled_no_child_goes_on(ready: Ready) -> None:
    def cancel(_: int, metrics: object) -> None:
        raise Cut

    with pytest.raises(Cut):
        Processes().retrain(ready(retrain_epochs=400), LAYERS, POINTS, cancel)
    assert children() == []


@pytest.mark.slow
def test_when_the_caller_is_killed_its_children_end(ready: Ready) -> None:
    folder = stored(ready(retrain_epochs=10_000))
    parent = subprocess.Popen(
        [sys.executable, "-u", "-c", PARENT, str(folder)], stdout=subprocess.PIPE, text=True
    )
    with parent:
        assert parent.stdout is not None
        assert parent.stdout.readline() == "1\n"
        crew = [child.pid for child in psutil.Process(parent.pid).children()]
        assert len(crew) == 2
        assert not any(has_ended(pid) for pid in crew)
        parent.kill()
    assert parent.returncode == -signal.SIGKILL
    until = time.monotonic() + 60
    while not all(has_ended(pid) for pid in crew) and time.monotonic() < until:
        time.sleep(0.05)
    assert [pid for pid in crew if not has_ended(pid)] == []


@pytest.fixture
def child(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """From now on this shell script takes the place of a child."""

    def make(script: str) -> None:
        path = tmp_path / "child"
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)
        monkeypatch.setattr("sys.executable", str(path))

    return make


@pytest.mark.parametrize(
    ("points", "threads", "expected"), [(1, 1, 1), (2, 2, 1), (2, 5, 2), (3, 2, 1)]
)
def test_threads_are_divided_among_the_children(
    child: Callable[[str], None],
    ready: Ready,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    points: int,
    threads: int,
    expected: int,
) -> None:
    child(f'read spec; echo "$OMP_NUM_THREADS" >> {tmp_path}/threads')
    monkeypatch.setattr("torch.get_num_threads", lambda: threads)
    made = [Point(epoch, 0.6) for epoch in range(points)]
    Processes().retrain(ready(), LAYERS, made, lambda *_: None)
    assert (tmp_path / "threads").read_text().split() == [str(expected)] * points


def test_the_caller_hears_how_many_epochs_all_have_done(
    child: Callable[[str], None], tmp_path: Path
) -> None:
    message = '{\\"done\\": $n, \\"metrics\\": {\\"loss\\": 2}}'
    child(f'read spec; for n in 1 2 3; do echo "{message}"; done')
    heard: list[tuple[int, object]] = []
    follow(hands(tmp_path, LAYERS), lambda *told: heard.append(told))
    assert heard == [(done, {"loss": 2}) for done in range(1, 7)]


@pytest.mark.parametrize("layers", [LAYERS, ("L" * 1_000_000,)])
def test_children_that_end_at_once_are_no_error(
    child: Callable[[str], None], tmp_path: Path, layers: tuple[str, ...]
) -> None:
    """Not even where they have not read what they were to do: more than a pipe holds."""
    child("exit 1")
    heard: list[object] = []
    follow(hands(tmp_path, layers), lambda *told: heard.append(told))
    assert heard == []
