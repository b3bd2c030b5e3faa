"""Two processes that train one network, each with a part of every batch."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from tieshare.crew import stored
from tieshare.job import Job
from tieshare.team import ALONE
from tieshare.walk import walk

Ready = Callable[..., Job]

MEMBER = """
import sys
from pathlib import Path
import numpy as np
import torch
import torch.distributed as dist
from tieshare.checkpoint import Checkpoints
from tieshare.job_files import open_job
from tieshare.progress import Narrator, silent
from tieshare.team import Team, TeamLost
from tieshare.walk import walk

folder, rank, what = Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
torch.set_num_threads(1)
store = dist.FileStore(str(folder.parent / "store"), 2)
dist.init_process_group("gloo", store=store, rank=rank, world_size=2)
job = open_job(folder, Checkpoints(folder.parent / f"member-{rank}"), Narrator(silent))
job.trainer.team = Team()


def step():
    twin = job.twin(job.start)
    optimizer = torch.optim.SGD(twin.parameters(), lr=0.1)
    index = next(job.trainer.batches(0, 0))
    job.trainer.step(twin, optimizer, index)
    right = job.trainer.right(twin)
    np.savez(folder.parent / f"step-{rank}.npz", index=index, right=right, **twin.tensors())


def leave():
    if rank == 1:
        sys.exit()
    try:
        walk(job)
    except TeamLost as error:
        print(error)


{"step": step, "walk": lambda: walk(job), "leave": leave}[what]()
"""


def together(folder: Path, what: str) -> list[str]:
    """What both members say."""
    members = [
        subprocess.Popen(
            [sys.executable, "-W", "ignore", "-c", MEMBER, str(folder), str(rank), what],
            stdout=subprocess.PIPE,
            text=True,
        )
        for rank in (0, 1)
    ]
    said = [member.communicate(timeout=120)[0] for member in members]
    assert [member.returncode for member in members] == [0, 0]
    return said


@pytest.mark.slow
def test_a_step_of_two_is_the_step_of_one_on_the_whole_batch(ready: Ready) -> None:
    job = ready(batch_size=65, distill=0.5)
    together(stored(job), "step")
    twin = job.twin(job.start)
    (index, *_) = job.trainer.batches(0, 0)
    job.trainer.step(twin, torch.optim.SGD(twin.parameters(), lr=0.1), index)
    one, other = (np.load(job.checkpoints.folder / f"step-{rank}.npz") for rank in (0, 1))
    assert [len(one["index"]), len(other["index"])] == [33, 32]
    assert [*one["index"], *other["index"]] == index.tolist()
    for name, array in twin.tensors().items():
        assert one[name] == pytest.approx(array, abs=1e-6)
        assert one[name].tobytes() == other[name].tobytes()
    right = job.trainer.right(twin)
    for member in (one, other):
        assert np.mean(member["right"] == right) > 0.99
        assert member["right"].shape == right.shape


@pytest.mark.slow
def test_members_walk_one_path(ready: Ready) -> None:
    job = ready(path_epochs=6)
    together(stored(job), "walk")
    folder = job.checkpoints.folder
    one, other = (sorted((folder / f"member-{rank}").glob("epoch-*.npz")) for rank in (0, 1))
    assert [path.name for path in one] == [path.name for path in other]
    for first, second in zip(one, other, strict=True):
        a, b = np.load(first), np.load(second)
        assert all(a[name].tobytes() == b[name].tobytes() for name in a.files)
    alone = walk(ready("alone", path_epochs=6)).snapshots
    assert len(one) == pytest.approx(len(alone), abs=1)


@pytest.mark.slow
def test_a_member_that_is_left_alone_says_so(ready: Ready) -> None:
    said = together(stored(ready()), "leave")
    assert said[0].startswith("member 0 of 2 is left alone: ")


def test_alone_nothing_is_shared(ready: Ready) -> None:
    job = ready()
    assert job.trainer.team is ALONE
    index = torch.arange(7)
    assert ALONE.part(index) is index
    assert [ALONE.slice(7), ALONE.same(index) is index] == [slice(7), True]
