"""Who asks, where that matters: the keys, and the log of what was changed."""

import time
from dataclasses import dataclass

from sqlalchemy import Engine

from tieshare_service.audit import Audit
from tieshare_service.database import open_database
from tieshare_service.keys import Guard, Keys
from tieshare_service.settings import Settings


@dataclass(frozen=True)
class Access:
    """Open until it is closed."""

    guard: Guard
    audit: Audit
    engine: Engine

    @classmethod
    def of(cls, settings: Settings) -> "Access":
        """By the database of the service."""
        engine = open_database(settings.database)
        return cls(Guard(Keys(engine, time.time)), Audit(engine, time.time), engine)

    def close(self) -> None:
        """Ask the database no more."""
        self.guard.close()
        self.engine.dispose()
