"""What the processes of one endpoint tell each other."""

import asyncio
import os
import socket
from pathlib import Path

from tieshare_service.inference.metrics import Metrics
from tieshare_service.inference.siblings import Siblings
from tieshare_service.inference.statistics import Times

TIMES = Times(queue=1000, input=2000, infer=3000, output=4000, rows=2, run_rows=4, first=True)


def _counted(requests: int) -> Metrics:
    metrics = Metrics()
    for _ in range(requests):
        metrics.answered(200)
        metrics.of("m", 1).succeeded(TIMES)
    metrics.of("m", 1).failed("REJECTED", 500)
    return metrics


def _other(folder: Path, name: str) -> Path:
    """The socket of a process that is not this one."""
    folder.mkdir(exist_ok=True)
    return folder / f"{name}.sock"


def test_alone_nobody_is_told(tmp_path: Path) -> None:
    async def run() -> list[bytes]:
        siblings = Siblings()
        await siblings.start(lambda: b"mine")
        told = await siblings.told()
        siblings.stop()
        return told

    assert asyncio.run(run()) == []
    assert not Siblings().expected
    assert Siblings(tmp_path).expected


def test_each_hears_what_the_others_tell_but_not_itself(tmp_path: Path) -> None:
    async def run() -> list[bytes]:
        own = Siblings(tmp_path)
        await own.start(lambda: b"mine")
        os.rename(tmp_path / f"{os.getpid()}.sock", _other(tmp_path, "1"))  # noqa: PTH104
        second = Siblings(tmp_path)
        await second.start(lambda: b"second")
        told = await second.told()
        own.stop()
        second.stop()
        return told

    assert asyncio.run(run()) == [b"mine"]


def test_the_socket_of_one_that_has_died_is_removed(tmp_path: Path) -> None:
    path = _other(tmp_path, "1")
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
    assert asyncio.run(Siblings(tmp_path).told()) == []
    assert not path.exists()


def test_one_that_says_nothing_is_left_out(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as silent:
        silent.bind(str(_other(tmp_path, "1")))
        silent.listen()
        assert asyncio.run(Siblings(tmp_path).told()) == []


def test_what_two_have_counted_is_the_sum() -> None:
    both = _counted(2).joined([_counted(3).dump()])
    assert both.render(1, 1, 0) == _joined_by_hand().render(1, 1, 0)
    assert both.of("m", 1).document("m", 1)["inference_count"] == 10
    assert both.of("m", 1).document("m", 1)["batch_stats"][0]["compute_infer"]["count"] == 5


def _joined_by_hand() -> Metrics:
    metrics = _counted(5)
    metrics.of("m", 1).failed("REJECTED", 500)
    return metrics


def test_of_one_alone_it_is_what_it_counted() -> None:
    one = _counted(3)
    assert one.joined([]).render(1, 1, 0) == one.render(1, 1, 0)
    assert one.joined([]).of("m", 1).last_ms == one.of("m", 1).last_ms
