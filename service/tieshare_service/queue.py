"""The job table as a queue: leases, attempts that fence every write, and the events of each job.

    queued ──claim──> running ──succeed, fail──> succeeded, failed ──retry──> queued
      │                 │  ^ release, lost lease: back in line (failed after too many)
      └──cancel──> cancelled <──cancelled, release, lost lease── cancelling <──cancel── running

A worker holds a job until ``lease_until`` and puts that off with every beat. Once it has passed,
the next claim hands the job on as ``attempt + 1``, and whatever the former attempt still writes
raises LeaseLost. A clock that jumps costs running jobs an attempt at most.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    Engine,
    and_,
    case,
    delete,
    func,
    insert,
    not_,
    or_,
    select,
    update,
)

from tieshare_service.database import alone, reading
from tieshare_service.errors import IdempotencyConflict, WrongState
from tieshare_service.ids import new_id
from tieshare_service.job_rows import (
    COLUMNS,
    FREE,
    FRESH,
    NewJob,
    end,
    find,
    held,
    move,
    note,
    require_uploads,
    tell_status,
    write,
)
from tieshare_service.pages import page
from tieshare_service.publish import Point, Served
from tieshare_service.records import (
    HELD,
    Artifact,
    Event,
    Job,
    Json,
    Status,
    artifacts,
    events,
    from_row,
    jobs,
)
from tieshare_service.settings import LONGEST_LEASE_S
from tieshare_service.tenants import EVERYTHING, Scope


class Queue:
    """All that can happen to a job, each in one transaction with the event that tells it."""

    def __init__(
        self,
        engine: Engine,
        now: Callable[[], float],
        *,
        max_attempts: int = 5,
        scope: Scope = EVERYTHING,
    ) -> None:
        self._engine = engine
        self._now = now
        self._max_attempts = max_attempts
        self._scope = scope

    def of(self, scope: Scope) -> "Queue":
        """What this one may see and do."""
        return Queue(self._engine, self._now, max_attempts=self._max_attempts, scope=scope)

    # What a client may do.

    def submit(self, new: NewJob) -> Job:
        """Put a job in line; a key that came before with the same request gives that job again.

        Raises NoSuchModel, NoSuchDataset, IdempotencyConflict, QuotaExceeded.
        """
        scope = self._scope
        key = new.idempotency_key
        if key is not None and scope.tenant:
            key = f"{scope.tenant} {key}"  # by itself it has no space
        with self._engine.begin() as connection:
            if key is not None:
                alone(connection, key)
                query = select(*COLUMNS).where(jobs.c.idempotency_key == key)
                first = connection.execute(query).mappings().one_or_none()
                if first is not None:
                    if first["request_sha256"] != new.request_sha256:
                        raise IdempotencyConflict(new.idempotency_key or "")
                    return from_row(Job, first)
            model_name = require_uploads(connection, scope, new.model_id, new.dataset_id)
            scope.require_job(connection)
            now = self._now()
            values = asdict(new) | FRESH | FREE
            values |= {"idempotency_key": key, "tenant": scope.tenant, "key_id": scope.key_id}
            values |= {"id": new_id("job"), "name": new.name or model_name, "status": "queued"}
            values |= {"attempt": 0, "created_at": now, "updated_at": now}
            row = connection.execute(insert(jobs).values(values).returning(*COLUMNS))
            job = from_row(Job, row.mappings().one())
            tell_status(connection, now, job)
            return job

    def get(self, job_id: str) -> Job:
        """The job as it stands. Raises NoSuchJob."""
        with reading(self._engine) as connection:
            return find(connection, job_id, self._scope)

    def list(
        self, status: Status | None = None, page_size: int = 50, page_token: str | None = None
    ) -> tuple[list[Job], str | None]:
        """One page of jobs, newest first, and the token of the next. Raises BadPageToken."""
        query = select(*COLUMNS).where(self._scope.sees(jobs))
        if status is not None:
            query = query.where(jobs.c.status == status)
        with reading(self._engine) as connection:
            rows, token = page(connection, query, jobs.c.number, page_size, page_token)
        return [from_row(Job, row) for row in rows], token

    def events(self, job_id: str, after: int = 0, limit: int = 1000) -> Sequence[Event]:
        """The events with ``seq > after``, oldest first. Raises NoSuchJob."""
        query = select(events).where(events.c.job_id == job_id, events.c.seq > after)
        with reading(self._engine) as connection:
            find(connection, job_id, self._scope)
            rows = connection.execute(query.order_by(events.c.seq).limit(limit)).mappings()
            return [from_row(Event, row) for row in rows]

    def artifacts(self, job_id: str) -> Sequence[Artifact]:
        """The files of a finished job, by name. Raises NoSuchJob."""
        query = select(artifacts).where(artifacts.c.job_id == job_id).order_by(artifacts.c.name)
        with reading(self._engine) as connection:
            find(connection, job_id, self._scope)
            return [from_row(Artifact, row) for row in connection.execute(query).mappings()]

    def counts(self) -> dict[str, int]:
        """How many jobs there are of each status that has any."""
        query = select(jobs.c.status, func.count().label("jobs")).group_by(jobs.c.status)
        with reading(self._engine) as connection:
            return {row.status: row.jobs for row in connection.execute(query)}

    def cancel(self, job_id: str) -> Job:
        """End a queued job now and ask the worker of a running one to stop.

        Asking again changes nothing. Raises NoSuchJob, WrongState.
        """
        with self._engine.begin() as connection:
            now = self._now()
            job = find(connection, job_id, self._scope, lock=True)
            holds = connection.scalars(select(_holds(now)).where(jobs.c.id == job_id)).one()
            if job.status == "queued" or (job.status in HELD and not holds):
                return end(connection, now, job_id, "cancelled", cancel_requested=True)
            if job.status == "running":
                return move(connection, now, job_id, "cancelling", cancel_requested=True)
            if job.status in ("cancelling", "cancelled"):
                return job
            raise WrongState(job_id, job.status, "cancelled")

    def retry(self, job_id: str) -> Job:
        """Put a failed or cancelled job in line again; its events and its attempts go on.

        Raises NoSuchJob, WrongState, NoSuchModel, NoSuchDataset, QuotaExceeded.
        """
        with self._engine.begin() as connection:
            job = find(connection, job_id, self._scope, lock=True)
            if job.status not in ("failed", "cancelled"):
                raise WrongState(job_id, job.status, "retried")
            require_uploads(connection, self._scope, job.model_id, job.dataset_id)
            self._scope.require_job(connection)
            return move(connection, self._now(), job_id, "queued", **FRESH)

    def published(self, job_id: str, served: Served, point: Point) -> None:
        """Record what is served now of a job that has a result; what it says already is no news."""
        with self._engine.begin() as connection:
            job = find(connection, job_id, self._scope, lock=True)
            result = job.result or {}
            if served.version > (result.get("served") or {"version": 0})["version"]:
                changed = {"served": asdict(served)}
                told: Json = {**changed, **asdict(point)}
                note(connection, self._now(), job_id, "published", told, result=result | changed)

    # What a worker may do.

    def demand(self) -> tuple[int, set[str]]:
        """How many jobs wait for a worker, and the workers that hold one."""
        now = self._now()
        waits = or_(jobs.c.status == "queued", _lost("running", now))
        holds = jobs.c.status.in_(HELD) & _holds(now)
        with reading(self._engine) as connection:
            waiting = connection.scalars(select(func.count()).where(waits)).one()
            holders = connection.scalars(select(jobs.c.worker).where(holds))
            return waiting, {name for name in holders if name is not None}

    def claim(self, worker: str, lease_s: float) -> Job | None:
        """Take the oldest job that no one holds; None where there is none."""
        with self._engine.begin() as connection:
            now = self._now()
            self._settle(connection, now)
            oldest = (
                select(jobs.c.id)
                .where(or_(jobs.c.status == "queued", _lost("running", now)))
                .order_by(jobs.c.number)
                .limit(1)
                .with_for_update(skip_locked=True)
            )
            row = connection.execute(
                update(jobs)
                .where(jobs.c.id == oldest.scalar_subquery())
                .values(
                    status="running",
                    attempt=jobs.c.attempt + 1,
                    leases_lost=jobs.c.leases_lost + case((jobs.c.status == "running", 1), else_=0),
                    worker=worker,
                    lease_until=now + lease_s,
                    started_at=func.coalesce(jobs.c.started_at, now),
                    updated_at=now,
                )
                .returning(*COLUMNS)
            )
            found = row.mappings().one_or_none()
            if found is None:
                return None
            job = from_row(Job, found)
            tell_status(connection, now, job)
            return job

    def beat(self, job_id: str, attempt: int, lease_s: float) -> bool:
        """Keep the job for ``lease_s`` more; True where its cancellation was asked for."""
        with self._engine.begin() as connection:
            job = held(connection, job_id, attempt)
            write(connection, job_id, lease_until=self._now() + lease_s)
            return job.cancel_requested

    def progress(self, job_id: str, attempt: int, progress: Mapping[str, Any]) -> None:
        """Record a Progress given as a mapping; its metrics join those known before."""
        step = dict(progress)
        stage, metrics = step.pop("stage"), step.pop("metrics", {})
        with self._engine.begin() as connection:
            job = held(connection, job_id, attempt)
            known = {"stage": stage, "metrics": job.metrics | metrics}
            told = known | step
            note(connection, self._now(), job_id, "progress", told, progress=step, **known)

    def front(self, job_id: str, attempt: int, front: Sequence[Json]) -> None:
        """Record the front as it stands: all of its points."""
        with self._engine.begin() as connection:
            held(connection, job_id, attempt)
            told = {"front": list(front)}
            note(connection, self._now(), job_id, "front", told, **told)

    def succeed(
        self, job_id: str, attempt: int, result: Json, made: Sequence[Artifact] = ()
    ) -> Job:
        """End with a result and its files, even where a cancel came too late to stop it."""
        with self._engine.begin() as connection:
            held(connection, job_id, attempt)
            connection.execute(delete(artifacts).where(artifacts.c.job_id == job_id))
            if made:
                connection.execute(insert(artifacts), [asdict(artifact) for artifact in made])
            return end(connection, self._now(), job_id, "succeeded", result=result)

    def fail(self, job_id: str, attempt: int, error: Json) -> Job:
        """End with an error, {type, message}."""
        with self._engine.begin() as connection:
            held(connection, job_id, attempt)
            return end(connection, self._now(), job_id, "failed", error=error)

    def cancelled(self, job_id: str, attempt: int) -> Job:
        """End because a cancel was asked for. Raises WrongState where none was."""
        with self._engine.begin() as connection:
            job = held(connection, job_id, attempt)
            if not job.cancel_requested:
                raise WrongState(job_id, job.status, "ended as cancelled")
            return end(connection, self._now(), job_id, "cancelled")

    def release(self, job_id: str, attempt: int) -> Job:
        """Hand the job back to the line, or end it where a cancel was asked for."""
        with self._engine.begin() as connection:
            if held(connection, job_id, attempt).cancel_requested:
                return end(connection, self._now(), job_id, "cancelled")
            return move(connection, self._now(), job_id, "queued", **FREE)

    def _settle(self, connection: Connection, now: float) -> None:
        """End the jobs whose worker is gone and which no one shall take up again."""
        too_often = and_(_lost("running", now), jobs.c.leases_lost + 1 >= self._max_attempts)
        left = select(jobs.c.id).with_for_update(skip_locked=True)
        for job_id in connection.scalars(left.where(_lost("cancelling", now))).all():
            end(connection, now, job_id, "cancelled")
        for job_id in connection.scalars(left.where(too_often)).all():
            message = f"{self._max_attempts} workers in a row took it up and ended without a result"
            error = {"type": "job-attempts-exhausted", "message": message}
            end(connection, now, job_id, "failed", error=error)


def _lost(status: Status, now: float) -> ColumnElement[bool]:
    return and_(jobs.c.status == status, not_(_holds(now)))


def _holds(now: float) -> ColumnElement[bool]:
    """Whether the lease does. One from a future that the clock has left again is none."""
    return and_(jobs.c.lease_until > now, jobs.c.lease_until <= now + LONGEST_LEASE_S)
