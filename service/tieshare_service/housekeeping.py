"""Clears away what nobody needs: what stopped processes left half done, and what has expired.

Any number of APIs on one data folder may do it at the same time.
"""

import logging
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

from sqlalchemy import Connection, Engine, select
from sqlalchemy.exc import SQLAlchemyError

from tieshare_service.audit import Audit
from tieshare_service.blobs import Blobs
from tieshare_service.catalog import Catalog, InUse
from tieshare_service.database import reading
from tieshare_service.errors import NotFound, WrongState
from tieshare_service.partial import Partials
from tieshare_service.publish import Served
from tieshare_service.records import ENDED, DatasetRecord, ModelRecord, jobs, versions
from tieshare_service.removal import InService, Remover

EVERY_S = 3600.0
_DAY_S = 86_400.0
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Housekeeping:
    """``run`` it now and then.

    ``keep_days``      ended jobs, with their events, results and versions, and uploads that no
                       job names any more go after so many days; 0: never.
    ``keep_versions``  the newest of each served name stay, and with them their jobs; 0: all.
    """

    engine: Engine
    blobs: Blobs
    models: Catalog[ModelRecord]
    datasets: Catalog[DatasetRecord]
    partials: Partials
    remover: Remover
    audit: Audit
    keep_days: float
    keep_versions: int
    now: Callable[[], float] = time.time
    _stopped: threading.Event = field(default_factory=threading.Event)

    @contextmanager
    def running(self) -> Iterator[None]:
        """In a thread, now and once in an hour."""
        thread = threading.Thread(target=self._repeat, name="housekeeping", daemon=True)
        thread.start()
        try:
            yield
        finally:
            self._stopped.set()
            thread.join()

    def run(self) -> None:
        """All of it. An error is logged: the next time may be better."""
        try:
            self.blobs.clear_tmp()
            self.partials.clear()
            self.models.sweep()
            self.datasets.sweep()
            if self.keep_days:
                self._expire(self.now() - _DAY_S * self.keep_days)
        except (OSError, SQLAlchemyError):
            _log.exception("not all was cleared away")

    def _repeat(self) -> None:
        self.run()
        while not self._stopped.wait(EVERY_S):
            self.run()

    def _expire(self, before: float) -> None:
        old = jobs.c.status.in_(ENDED) & (jobs.c.ended_at < before)
        with reading(self.engine) as connection:
            ended = connection.scalars(select(jobs.c.id).where(old)).all()
        for job_id in ended:
            with suppress(InService, NotFound, WrongState):
                self.remover.remove(job_id, self._stays)
                self.audit.note(None, "expired", job_id)
        for catalog in (self.models, self.datasets):
            for upload_id in catalog.unused(before):
                with suppress(InUse, NotFound):
                    catalog.delete(upload_id)
                    self.audit.note(None, "expired", upload_id)

    def _stays(self, connection: Connection, served: Sequence[Served]) -> bool:
        """Whether any of them is among the newest of its name."""
        return any(one.version in self._newest(connection, one.name) for one in served)

    def _newest(self, connection: Connection, name: str) -> Sequence[int]:
        """Versions of this name that stay."""
        there = (versions.c.name == name) & versions.c.job_id.is_not(None)
        newest = select(versions.c.version).where(there).order_by(versions.c.version.desc())
        return connection.scalars(newest.limit(self.keep_versions or None)).all()
