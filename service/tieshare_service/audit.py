"""The audit log: who changed what, and when."""

import logging
from collections.abc import Callable
from dataclasses import dataclass

from sqlalchemy import Engine, insert, select
from sqlalchemy.exc import SQLAlchemyError

from tieshare_service.database import reading
from tieshare_service.records import changes, from_row

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Change:
    """One change. ``key_id``: None where no key was needed; ``of`` names what was changed."""

    number: int
    at: float
    key_id: str | None
    what: str
    of: str


class Audit:
    """The table of changes, to which lines are only added."""

    def __init__(self, engine: Engine, now: Callable[[], float]) -> None:
        self._engine = engine
        self._now = now

    def note(self, key_id: str | None, what: str, of: str) -> None:
        """Write down a change that was made. Where that fails the process's log has it."""
        try:
            self.add(key_id, what, of)
        except SQLAlchemyError:
            _log.exception("not in the audit log: %s, %s of %s", key_id, what, of)

    def add(self, key_id: str | None, what: str, of: str) -> None:
        """Write down a change that was made."""
        row = {"at": self._now(), "key_id": key_id, "what": what, "of": of}
        with self._engine.begin() as connection:
            connection.execute(insert(changes).values(row))

    def last(self, most: int) -> list[Change]:
        """The newest of them, the oldest first."""
        query = select(changes).order_by(changes.c.number.desc()).limit(most)
        with reading(self._engine) as connection:
            rows = connection.execute(query).mappings().all()
        return [from_row(Change, row) for row in reversed(rows)]
