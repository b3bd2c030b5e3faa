"""How a running job tells where it is, and how long it will still take."""

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Literal

Stage = Literal["check", "path", "retrain", "export", "measure"]


@dataclass(frozen=True)
class Progress:
    """One step of one stage.

    ``metrics`` holds what is known by then: accuracy (or loss), alive_rows, clusters,
    compression_ratio. ``eta_s`` is for the whole job.
    """

    stage: Stage
    done: int
    total: int
    unit: str = "epochs"
    eta_s: float | None = None
    metrics: dict[str, float] = field(default_factory=dict)


Listener = Callable[[Progress], None]

_EXPECTED_POINTS = 7


def silent(_: Progress) -> None:
    """Tell nobody."""


class Narrator:
    """Tells a listener, with an estimate from how long the epochs before took.

    Until the first point is retrained, an epoch of that counts as long as one of the path.
    """

    def __init__(
        self,
        listener: Listener,
        path_epochs: int,
        retrain_epochs: int,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.listener, self.clock = listener, clock
        self.path_epochs, self.retrain_epochs = path_epochs, retrain_epochs
        self.points = 0
        self.path_s = self.retrain_s = 0.0  # of the last epoch
        self.last = clock()

    @contextmanager
    def step(self, stage: Stage, metrics: Mapping[str, float] | None = None) -> Iterator[None]:
        """A step without epochs begins, and ends; ``metrics`` are those of the result."""
        known = dict(metrics or {})
        self.listener(Progress(stage, 0, 1, unit="steps", metrics=known))
        yield
        self.listener(Progress(stage, 1, 1, unit="steps", metrics=known))

    def restart(self) -> None:
        """What was done since the last epoch is no part of the next."""
        self.last = self.clock()

    def path(self, done: int, metrics: dict[str, float]) -> None:
        """An epoch of stage 1 is done."""
        self.path_s = self.retrain_s = self._lap()
        left = (self.path_epochs - done) * self.path_s + self._points_left() * self._point_s()
        self.listener(Progress("path", done, self.path_epochs, eta_s=left, metrics=metrics))

    def retrain(self, done: int, metrics: dict[str, float]) -> None:
        """An epoch of stage 2 of one point is done."""
        self.retrain_s = self._lap()
        left = (self.retrain_epochs - done) * self.retrain_s
        if done == self.retrain_epochs:
            self.points += 1
        else:
            left -= self._point_s()
        left = max(left + self._points_left() * self._point_s(), 0.0)
        self.listener(Progress("retrain", done, self.retrain_epochs, eta_s=left, metrics=metrics))

    def _points_left(self) -> int:
        return max(_EXPECTED_POINTS - self.points, 1)

    def _point_s(self) -> float:
        return self.retrain_epochs * self.retrain_s

    def _lap(self) -> float:
        now = self.clock()
        passed, self.last = now - self.last, now
        return passed
