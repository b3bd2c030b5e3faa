"""The points of one job on a Ray cluster, beside the same job on one machine."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
import pytest
from skl2onnx import to_onnx
from sklearn.datasets import load_digits
from sklearn.neural_network import MLPClassifier
from tests.ray_cluster import Cluster

from tieshare_service import ray_crew
from tieshare_service.ray_engine import RUNNER

pytestmark = pytest.mark.slow

# The job of a short recipe, whose points all count as long ones. It tells of each epoch of the
# path, of each team that walks it, and of each point that a task brought.
JOB = """
import sys
from pathlib import Path

import tieshare.maker
from tieshare.checkpoint import Checkpoints
from tieshare.recipe import Recipe, Target
from tieshare.team import Team
from tieshare_service import ray_crew

tieshare.maker._WORTH_A_PROCESS = 0.0
where, kind = Path(sys.argv[1]), sys.argv[2]
put = Checkpoints.put


def say(line):
    print(line, flush=True)


def brought(checkpoints, files):
    put(checkpoints, files)
    say("brought " + " ".join(sorted(files)))


def tell(progress):
    if progress.stage == "path":
        say(f"path {progress.done}")


def gathered(team):
    gather(team)
    say(f"team of {team.size}")


Checkpoints.put, gather, Team.__init__ = brought, Team.__init__, gathered
recipe = Recipe(
    Target(min_ratio=2.0),
    path_epochs=8,
    retrain_epochs=3,
    batch_size=64,
    learning_rate=0.05,
    workers=3 if kind == "team" else 1,
)
given = where / "model.onnx", where / "data.npz", recipe, tell
runner = tieshare.compress if kind == "alone" else ray_crew.compress
result = runner(*given, checkpoint_dir=where / kind / "checkpoints")
(where / kind / "tied.onnx").write_bytes(result.tied.SerializeToString())
"""


@pytest.fixture(scope="module")
def where(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a model that knows the digits."""
    folder = tmp_path_factory.mktemp("job")
    images, classes = load_digits(return_X_y=True)
    x = (images / 16).astype(np.float32)
    taught = MLPClassifier((32,), max_iter=40, tol=0.0, random_state=0)
    with pytest.warns(match="Maximum iterations"):
        taught.fit(x, classes)
    model = to_onnx(taught, x[:1], options={"zipmap": False}, target_opset=17)
    onnx.save(model, folder / "model.onnx")
    np.savez(folder / "data.npz", x=x, y=classes)
    return folder


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    made = Cluster(tmp_path)
    yield made
    made.close()


def run(
    where: Path, kind: str, cluster: Cluster | None = None, until: str = "brought"
) -> list[str]:
    """What the job says; after the first line that begins like this a node dies."""
    environ = {**os.environ, "TIESHARE_THREADS": "1", "OMP_NUM_THREADS": "1"}
    if cluster is not None:
        environ["RAY_ADDRESS"] = cluster.address
    command = [sys.executable, "-W", "ignore", "-c", JOB, str(where), kind]
    heard: list[str] = []
    with subprocess.Popen(command, env=environ, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        for line in process.stdout:
            heard.append(line.strip())
            first = sum(told.startswith(until) for told in heard) == 1
            if cluster is not None and line.startswith(until) and first:
                cluster.kill(0)
    assert process.returncode == 0
    return heard


def test_points_are_retrained_on_the_cluster_too_and_are_the_same_even_if_a_node_dies(
    where: Path, cluster: Cluster
) -> None:
    run(where, "alone")
    heard = run(where, "ray", cluster)
    brought = [line for line in heard if line.startswith("brought")]
    assert brought
    assert all(len([name for name in line.split() if name[:4] == "made"]) == 1 for line in brought)
    tied = [(where / kind / "tied.onnx").read_bytes() for kind in ("ray", "alone")]
    assert tied[0] == tied[1]
    assert not list((where / "ray" / "rooms").iterdir())


def test_members_on_other_nodes_walk_the_path_and_it_goes_on_when_one_is_lost(
    where: Path, cluster: Cluster
) -> None:
    heard = run(where, "team", cluster, until="path 3")
    assert heard.count("team of 3") == 1
    walked = [int(line.split()[1]) for line in heard if line.startswith("path")]
    assert walked == [*range(1, 9)]


def test_it_is_what_runs_the_jobs_of_the_engine() -> None:
    assert f"{ray_crew.__name__}:{ray_crew.compress.__name__}" == RUNNER
