"""How a running job tells where it is, and how long it will still take."""

import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from statistics import mean
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from tieshare.report import FrontPoint

Stage = Literal["check", "path", "retrain", "export", "measure"]


@dataclass(frozen=True)
class Progress:
    """One step of one stage.

    ``metrics`` holds what is known by then: accuracy (or loss), alive_rows, clusters,
    compression_ratio. ``eta_s`` is for the whole job. ``front`` is there where it has grown: all
    of it, the largest network first.
    """

    stage: Stage
    done: int
    total: int
    unit: str = "epochs"
    eta_s: float | None = None
    metrics: dict[str, float] = field(default_factory=dict)
    front: "tuple[FrontPoint, ...] | None" = None


Listener = Callable[[Progress], None]

_EXPECTED_POINTS = 10


def silent(_: Progress) -> None:
    """Tell nobody."""


class Narrator:
    """Tells a listener, with an estimate from how long the epochs before took.

    Until the first point is retrained, an epoch of that counts as long as one of the path.
    """

    def __init__(self, listener: Listener, clock: Callable[[], float] = time.monotonic) -> None:
        self.listener, self.clock = listener, clock
        self.path_epochs = self.retrain_epochs = 1
        self.points = 0
        self.path_s = self.retrain_s = 0.0  # of the last epoch
        self.told = Progress("path", 0, 1)
        self.last = clock()

    def expect(self, path_epochs: int, retrain_epochs: int) -> None:
        """So many epochs of stage 1, and of stage 2 for each point."""
        self.path_epochs, self.retrain_epochs = path_epochs, retrain_epochs

    @contextmanager
    def step(self, stage: Stage, metrics: Mapping[str, float] | None = None) -> Iterator[None]:
        """A step without epochs begins, and ends; ``metrics`` are those of the result."""
        known = dict(metrics or {})
        self._tell(Progress(stage, 0, 1, unit="steps", metrics=known))
        yield
        self._tell(Progress(stage, 1, 1, unit="steps", metrics=known))

    def restart(self) -> None:
        """What was done since the last epoch is no part of the next."""
        self.last = self.clock()

    def path(self, done: int, metrics: dict[str, float]) -> None:
        """An epoch of stage 1 is done."""
        self.path_s = self.retrain_s = self._lap()
        points_s = self._points_left() * self.retrain_epochs * self.retrain_s
        left_s = (self.path_epochs - done) * self.path_s + points_s
        self._tell(Progress("path", done, self.path_epochs, eta_s=left_s, metrics=metrics))

    def retrain(self, done: int, metrics: Mapping[str, float]) -> None:
        """An epoch of stage 2 of one point is done."""
        self.retrain_s = self._lap()
        self._retrained(done, 1, metrics)

    @contextmanager
    def together(self, points: int) -> Iterator[Callable[[int, Mapping[str, float]], None]]:
        """Stage 2 of several points at once: to be told how many epochs all have done."""
        self.restart()
        laps: deque[float] = deque(maxlen=points)  # epochs of several points end together

        def told(done: int, metrics: Mapping[str, float]) -> None:
            laps.append(self._lap())
            self.retrain_s = mean(laps)
            self._retrained(done, points, metrics)

        yield told
        self.restart()

    def front(self, points: "tuple[FrontPoint, ...]") -> None:
        """A point came to the front."""
        self.listener(replace(self.told, front=points))

    def _retrained(self, done: int, points: int, metrics: Mapping[str, float]) -> None:
        """``done`` counts from the first epoch of these points, which are made at once."""
        total = points * self.retrain_epochs
        self.points += points if done == total else 0
        here = 0 if done == total else points
        later = max(self._points_left() - here, 0) * self.retrain_epochs
        left_s = (total - done + later) * self.retrain_s
        self._tell(Progress("retrain", done, total, eta_s=left_s, metrics=dict(metrics)))

    def _tell(self, progress: Progress) -> None:
        self.told = progress
        self.listener(progress)

    def _points_left(self) -> int:
        return max(_EXPECTED_POINTS - self.points, 0)

    def _lap(self) -> float:
        now = self.clock()
        passed, self.last = now - self.last, now
        return passed
