"""A service whose disk runs full while it works, and has room again later."""

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from tests import hostile
from tests.serving import QUICK, serving
from tests.waiting import until

from tieshare_service.client import Client, ServiceError

pytestmark = pytest.mark.slow

LEFT_BYTES = 100_000


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """One of 40 MB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = ["mount", "-t", "tmpfs", "-o", "size=40m", "tmpfs", str(folder)]
    if subprocess.run(mounted, capture_output=True, check=False).returncode:
        pytest.skip("no right to mount a disk of its own")
    yield folder
    subprocess.run(["umount", folder], check=True)


def test_a_job_outlasts_a_full_disk(disk: Path) -> None:
    ballast = disk / "ballast"
    model, data = hostile.digits().SerializeToString(), hostile.samples(seed=0, count=120)
    with serving(disk / "data", "--threads", 1) as service, Client(service.api) as client:
        ready = f"{service.api}/readyz"
        ids = client.models.create(model, "net").id, client.datasets.create(data, "net").id
        job = client.jobs.submit(*ids, recipe=QUICK)
        _fill(disk, ballast)
        answer = httpx.get(ready)
        assert (answer.status_code, answer.json()["detail"]) == (503, "the data folder is full")
        until(lambda: _refused(client, model), 60)
        assert client.jobs.get(job.id).status in ("queued", "running", "failed")
        ballast.unlink()
        assert httpx.get(ready).status_code == 200
        if client.jobs.get(job.id).status == "failed":
            client.jobs.retry(job.id)
        assert client.jobs.wait(job.id).status == "succeeded"


def _fill(disk: Path, ballast: Path) -> None:
    """But for a few bytes, which uploads and the job take before long."""
    ballast.write_bytes(bytes(shutil.disk_usage(disk).free - LEFT_BYTES))


def _refused(client: Client, model: bytes) -> bool:
    try:
        client.models.create(model, "more")
    except ServiceError as error:
        return error.status == httpx.codes.INSUFFICIENT_STORAGE
    return False
