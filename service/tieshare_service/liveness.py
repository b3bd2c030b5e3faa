"""Which workers are alive: each writes down the time of its last beat."""

from collections.abc import Callable

from sqlalchemy import Engine, delete, insert, select, update

from tieshare_service.database import reading
from tieshare_service.records import workers

FORGET_S = 86_400.0


class Liveness:
    """The table of workers."""

    def __init__(self, engine: Engine, now: Callable[[], float]) -> None:
        self._engine = engine
        self._now = now

    def beat(self, worker: str) -> None:
        """This worker is alive; its first beat enters it."""
        now = self._now()
        with self._engine.begin() as connection:
            known = connection.execute(
                update(workers).where(workers.c.name == worker).values(beat_at=now)
            )
            if known.rowcount == 0:
                entry = {"name": worker, "started_at": now, "beat_at": now}
                connection.execute(insert(workers).values(entry))
                connection.execute(delete(workers).where(workers.c.beat_at < now - FORGET_S))

    def leave(self, worker: str) -> None:
        """This worker ends."""
        with self._engine.begin() as connection:
            connection.execute(delete(workers).where(workers.c.name == worker))

    def alive(self, within_s: float) -> list[str]:
        """The workers that beat in the last ``within_s`` seconds, oldest first.

        One whose beat is as far ahead was there before the clock was set back.
        """
        now = self._now()
        query = select(workers.c.name).where(
            workers.c.beat_at > now - within_s, workers.c.beat_at < now + within_s
        )
        with reading(self._engine) as connection:
            return list(connection.scalars(query.order_by(workers.c.started_at)))
