"""One job's row and its events, inside a transaction that the queue has opened."""

from dataclasses import dataclass, fields
from typing import Any

from sqlalchemy import Connection, func, insert, select, update

from tieshare_service.errors import LeaseLost, NoSuchDataset, NoSuchJob, NoSuchModel
from tieshare_service.records import (
    HELD,
    EventType,
    Job,
    Json,
    Status,
    datasets,
    events,
    from_row,
    jobs,
    models,
)
from tieshare_service.tenants import EVERYTHING, Scope

COLUMNS = [jobs.c[item.name] for item in fields(Job)]
FREE: Json = {"worker": None, "lease_until": None}
FRESH: Json = {
    "stage": None,
    "progress": None,
    "metrics": {},
    "front": None,
    "leases_lost": 0,
    "cancel_requested": False,
    "error": None,
    "result": None,
    "started_at": None,
    "ended_at": None,
}


@dataclass(frozen=True)
class NewJob:
    """What is asked for. With no name the job takes the model's."""

    model_id: str
    dataset_id: str
    recipe: Json
    name: str | None = None
    idempotency_key: str | None = None
    request_sha256: str | None = None


def find(
    connection: Connection, job_id: str, scope: Scope = EVERYTHING, *, lock: bool = False
) -> Job:
    """The job, kept as it is until the transaction ends where ``lock``. Raises NoSuchJob."""
    query = select(*COLUMNS).where(jobs.c.id == job_id, scope.sees(jobs))
    row = connection.execute(query.with_for_update() if lock else query).mappings().one_or_none()
    if row is None:
        raise NoSuchJob(job_id)
    return from_row(Job, row)


def held(connection: Connection, job_id: str, attempt: int) -> Job:
    """The job, locked, if this attempt still holds it. Raises NoSuchJob, LeaseLost."""
    job = find(connection, job_id, lock=True)
    if job.attempt != attempt or job.status not in HELD:
        raise LeaseLost(job_id, attempt)
    return job


def write(connection: Connection, job_id: str, **values: Any) -> None:
    """Change columns, and tell no one."""
    connection.execute(update(jobs).where(jobs.c.id == job_id).values(**values))


def note(
    connection: Connection, now: float, job_id: str, kind: EventType, data: Json, **values: Any
) -> None:
    """Change columns but not the status, with the event that tells it."""
    write(connection, job_id, updated_at=now, **values)
    tell(connection, now, job_id, kind, data)


def move(connection: Connection, now: float, job_id: str, status: Status, **values: Any) -> Job:
    """Change the status, with the event that tells it."""
    write(connection, job_id, status=status, updated_at=now, **values)
    job = find(connection, job_id)
    tell_status(connection, now, job)
    return job


def end(connection: Connection, now: float, job_id: str, status: Status, **values: Any) -> Job:
    """Change to a status in which no worker holds the job any more, for good."""
    return move(connection, now, job_id, status, ended_at=now, **FREE, **values)


def tell_status(connection: Connection, now: float, job: Job) -> None:
    """Append the event of the status that the job has now."""
    data: Json = {"status": job.status, "attempt": job.attempt}
    if job.error is not None:
        data["error"] = job.error
    tell(connection, now, job.id, "status", data)


def tell(connection: Connection, now: float, job_id: str, kind: EventType, data: Json) -> None:
    """Append an event; the job's row is locked, so no one else takes the same ``seq``."""
    last = select(func.coalesce(func.max(events.c.seq), 0)).where(events.c.job_id == job_id)
    seq = connection.scalars(last).one() + 1
    values = {"job_id": job_id, "seq": seq, "at": now, "type": kind, "data": data}
    connection.execute(insert(events).values(values))


def require_uploads(connection: Connection, scope: Scope, model_id: str, dataset_id: str) -> str:
    """Keep both uploads from deletion until the transaction ends; gives the model's name.

    Raises NoSuchModel, NoSuchDataset.
    """
    of_model = select(models.c.name).where(models.c.id == model_id, scope.sees(models))
    of_dataset = select(datasets.c.id).where(datasets.c.id == dataset_id, scope.sees(datasets))
    name: str | None = connection.scalars(of_model.with_for_update(read=True)).one_or_none()
    if name is None:
        raise NoSuchModel(model_id)
    if connection.scalars(of_dataset.with_for_update(read=True)).one_or_none() is None:
        raise NoSuchDataset(dataset_id)
    return name
