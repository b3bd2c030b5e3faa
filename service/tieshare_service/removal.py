"""Takes an ended job away with all that it left: events, results, versions in service.

The row goes last, so that what was cut off is done again. The numbers of its versions stay taken:
under a served name no number ever answers with another model.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Self

from sqlalchemy import Connection, Engine, delete, select, update

from tieshare_service.blobs import Blobs
from tieshare_service.errors import ServiceError, WrongState
from tieshare_service.job_rows import find
from tieshare_service.publish import Publisher, Served
from tieshare_service.records import ENDED, jobs, versions
from tieshare_service.tenants import EVERYTHING, Scope


class InService(ServiceError):
    """Versions of the job are served."""

    type = "in-service"

    def __init__(self, job_id: str, served: Sequence[Served]) -> None:
        numbers = ", ".join(str(one.version) for one in served)
        super().__init__(f"in service as version {numbers}; withdraw=true ends that", where=job_id)


@dataclass(frozen=True)
class Remover:
    """``remove`` one job, ``of`` what a scope may see."""

    engine: Engine
    blobs: Blobs
    publisher: Publisher
    scope: Scope = EVERYTHING

    def of(self, scope: Scope) -> Self:
        """What this one may remove."""
        return replace(self, scope=scope)

    def remove(
        self, job_id: str, stays: Callable[[Connection, Sequence[Served]], bool] = lambda *_: False
    ) -> None:
        """Unless it ``stays`` for the versions of it that are in service.

        Raises NoSuchJob, WrongState where it has not ended, InService where it stays.
        """
        with self.engine.begin() as connection:
            # Locked before the versions are looked at: a new one holds the same row.
            job = find(connection, job_id, self.scope, lock=True)
            if job.status not in ENDED:
                raise WrongState(job_id, job.status, "deleted")
            mine = versions.c.job_id == job_id
            rows = connection.execute(select(versions).where(mine).order_by(versions.c.version))
            served = [Served(row.name, row.version) for row in rows]
            if served and stays(connection, served):
                raise InService(job_id, served)
            for one in served:
                self.publisher.withdraw(one)
            self.blobs.delete_artifacts(job_id)
            connection.execute(update(versions).where(mine).values(job_id=None))
            connection.execute(delete(jobs).where(jobs.c.id == job_id))
