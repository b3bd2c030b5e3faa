"""Whose a thing is: what keeps the tenants of one service apart, and what each key may use.

A tenant's models, data sets, uploads and jobs have its name in their rows, and what it serves has
it in the name that is asked for: TENANT~NAME. What belongs to no tenant is the operator's.
"""

import re
from dataclasses import dataclass

from sqlalchemy import ColumnElement, Connection, Table, func, select, true

from tieshare_service.database import alone
from tieshare_service.errors import ServiceError
from tieshare_service.records import ENDED, artifacts, datasets, jobs, models

LONGEST = 40
_MARK = "~"  # in no other name that is served
_TENANT = re.compile(rf"[a-z0-9]([a-z0-9-]{{0,{LONGEST - 2}}}[a-z0-9])?")


class QuotaExceeded(ServiceError):
    """A key has as much as it may. ``where``: the key."""

    type = "quota-exceeded"


@dataclass(frozen=True)
class Quotas:
    """What one key may use; None: as much as there is.

    ``bytes``     of the models, data sets, unfinished uploads and results that it has there.
    ``jobs``      that have not ended.
    ``requests``  in a minute, of every process that answers.
    """

    bytes: int | None = None
    jobs: int | None = None
    requests: int | None = None


UNLIMITED = Quotas()


@dataclass(frozen=True)
class Scope:
    """Who asks: ``whole`` sees what all tenants have, else it is what ``tenant`` has, "" for none.

    What is made belongs to ``tenant``, and counts for the key.
    """

    tenant: str = ""
    key_id: str | None = None
    whole: bool = False
    quotas: Quotas = UNLIMITED

    def sees(self, table: Table) -> ColumnElement[bool]:
        """The condition for its rows."""
        return true() if self.whole else table.c.tenant == self.tenant

    def asks(self, served: str) -> bool:
        """Whether a served name is one of its own."""
        return self.whole or tenant_of(served) == self.tenant

    def used_bytes(self, connection: Connection) -> int:
        """By what the key has stored whole."""
        of_jobs = select(jobs.c.id).where(jobs.c.key_id == self.key_id)
        sums = (
            select(func.sum(models.c.bytes)).where(models.c.key_id == self.key_id),
            select(func.sum(datasets.c.bytes)).where(datasets.c.key_id == self.key_id),
            select(func.sum(artifacts.c.bytes)).where(artifacts.c.job_id.in_(of_jobs)),
        )
        return sum(int(connection.scalar(query) or 0) for query in sums)

    def require_bytes(self, connection: Connection, more: int) -> None:
        """Raise QuotaExceeded where so many more are too many; no one else adds any meanwhile."""
        most = self.quotas.bytes
        if most is None:
            return
        alone(connection, f"bytes of {self.key_id}")
        used = self.used_bytes(connection)
        if used + more > most:
            raise QuotaExceeded(
                f"the key may have {most} bytes here and has {used}, so that {more} more are too "
                "many: delete what is not needed any more",
                where=self.key_id or "",
            )

    def require_job(self, connection: Connection) -> None:
        """Raise QuotaExceeded where one more is too many; no one else adds any meanwhile."""
        most = self.quotas.jobs
        if most is None:
            return
        alone(connection, f"jobs of {self.key_id}")
        own = (jobs.c.key_id == self.key_id) & jobs.c.status.not_in(ENDED)
        if connection.scalars(select(func.count()).where(own)).one() >= most:
            raise QuotaExceeded(
                f"the key may have {most} jobs that have not ended, and has them: wait for one or "
                "cancel it",
                where=self.key_id or "",
            )


EVERYTHING = Scope(whole=True)
"""Of the service itself, and of who asks where no key is needed."""


def is_tenant(text: str) -> bool:
    """Whether a tenant may be called so: lower-case letters, digits and, between them, ``-``."""
    return _TENANT.fullmatch(text) is not None


def owned_name(tenant: str, name: str) -> str:
    """Under which a tenant's model is served."""
    return f"{tenant}{_MARK}{name}" if tenant else name


def tenant_of(served: str) -> str:
    """Whose a served name is."""
    return served.partition(_MARK)[0] if _MARK in served else ""
