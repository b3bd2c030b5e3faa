"""The thread goes on whatever one pass meets, and ends when told to."""

import logging
import threading
from collections.abc import Callable
from pathlib import Path
from typing import cast

import pytest

from tieshare_service.inference.repository import Repository
from tieshare_service.inference.watcher import Watcher


class _Passes:
    """Stands in for a repository: fails the first pass, then counts."""

    look_s = 0.0

    def __init__(self) -> None:
        self.count = 0
        self.third = threading.Event()

    def sync(self, stopped: Callable[[], bool]) -> None:
        self.count += 1
        if self.count == 1:
            raise PermissionError("the disk says no")
        if self.count == 3:
            self.third.set()


def test_a_pass_that_fails_is_logged_and_the_next_one_comes(
    caplog: pytest.LogCaptureFixture,
) -> None:
    passes = _Passes()
    watcher = Watcher(cast("Repository", passes), poll_s=0.001)
    with caplog.at_level(logging.ERROR):
        watcher.start()
        assert passes.third.wait(10)
        watcher.stop()
    assert [record.message for record in caplog.records] == [
        "the models folder could not be read; what is loaded stays"
    ]
    count = passes.count
    assert not any(thread.name == "watch-models" for thread in threading.enumerate())
    assert passes.count == count


def test_a_folder_that_takes_long_to_look_through_is_looked_at_less_often() -> None:
    passes = _Passes()
    passes.look_s = 1000.0
    watcher = Watcher(cast("Repository", passes), poll_s=0.001)
    watcher.start()
    assert not passes.third.wait(0.3)
    changed = threading.Event()
    watcher.ask(changed.set).result(10)  # what is asked for is done at once
    assert changed.is_set()
    watcher.stop()


def test_stopping_ends_a_long_wait_at_once(models_dir: Path) -> None:
    watcher = Watcher(Repository(models_dir, 1), poll_s=3600)
    watcher.start()
    watcher.stop()
    assert not any(thread.name == "watch-models" for thread in threading.enumerate())


def test_changes_are_made_by_the_thread_and_their_errors_come_back(models_dir: Path) -> None:
    made: list[str] = []

    def change() -> None:
        made.append(threading.current_thread().name)

    def fail() -> None:
        raise ValueError("no")

    watcher = Watcher(Repository(models_dir, 1), poll_s=3600)
    watcher.start()
    watcher.ask(change).result(10)
    with pytest.raises(ValueError, match="no"):
        watcher.ask(fail).result(10)
    watcher.ask(change).result(10)
    watcher.stop()
    assert made == ["watch-models", "watch-models"]
