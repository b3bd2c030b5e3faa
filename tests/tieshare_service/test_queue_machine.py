"""Random histories of the queue, compared after each step with a model of a few lines."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from sqlalchemy import delete, insert

from tieshare_service.database import open_database
from tieshare_service.errors import LeaseLost, WrongState
from tieshare_service.job_rows import NewJob
from tieshare_service.queue import Queue
from tieshare_service.records import Job, datasets, metadata, models

LEASE = 10.0
MAX_ATTEMPTS = 3
ENDED = {"succeeded", "failed", "cancelled"}


@dataclass
class Expected:
    """What the queue should know of a job."""

    status: str = "queued"
    attempt: int = 0
    lost: int = 0
    until: float = 0.0
    events: int = 1

    def become(self, status: str) -> None:
        self.status = status
        self.events += 1


class QueueMachine(RuleBasedStateMachine):
    """Clients, workers that may be dead, and a clock."""

    ids = Bundle("ids")
    held = Bundle("held")

    def __init__(self, database: str) -> None:
        super().__init__()
        self.at = 0.0
        self.engine = open_database(database)
        with self.engine.begin() as connection:
            for table in reversed(metadata.sorted_tables):
                connection.execute(delete(table))
            for table in (models, datasets):
                values = {"id": "x", "name": "x", "sha256": "", "bytes": 1, "card": {}}
                connection.execute(insert(table).values({**values, "created_at": 0.0}))
        self.queue = Queue(self.engine, lambda: self.at, max_attempts=MAX_ATTEMPTS)
        self.expected: dict[str, Expected] = {}

    def teardown(self) -> None:
        self.engine.dispose()

    def lost(self, job: Expected) -> bool:
        return job.status in ("running", "cancelling") and job.until <= self.at

    @rule(target=ids)
    def submit(self) -> str:
        job = self.queue.submit(NewJob("x", "x", {}))
        self.expected[job.id] = Expected()
        return job.id

    @rule(seconds=st.sampled_from([0.5, LEASE - 0.5, LEASE]))
    def wait(self, seconds: float) -> None:
        self.at += seconds

    @rule(target=held)
    def claim(self) -> tuple[str, int]:
        for job in self.expected.values():
            if self.lost(job) and job.status == "cancelling":
                job.become("cancelled")
            elif self.lost(job) and job.lost + 1 >= MAX_ATTEMPTS:
                job.become("failed")
        free = [i for i, job in self.expected.items() if job.status == "queued" or self.lost(job)]
        got = self.queue.claim("w", LEASE)
        if not free:
            assert got is None
            return "", 0
        assert got is not None
        assert got.id == free[0]
        job = self.expected[got.id]
        job.lost += job.status == "running"
        job.attempt += 1
        job.until = self.at + LEASE
        job.become("running")
        return got.id, job.attempt

    def write(self, at: tuple[str, int], write: Callable[[str, int], object]) -> Expected | None:
        """Write as the attempt; None where it has to be, and was, refused."""
        job_id, attempt = at
        if not job_id:
            return None
        job = self.expected[job_id]
        if job.attempt == attempt and job.status in ("running", "cancelling"):
            write(job_id, attempt)
            return job
        try:
            write(job_id, attempt)
        except LeaseLost:
            return None
        raise AssertionError("a former attempt has written")

    @rule(at=held)
    def beat(self, at: tuple[str, int]) -> None:
        answers: list[bool] = []
        job = self.write(at, lambda i, a: answers.append(self.queue.beat(i, a, LEASE)))
        if job is not None:
            assert answers == [job.status == "cancelling"]
            job.until = self.at + LEASE

    @rule(at=held)
    def progress(self, at: tuple[str, int]) -> None:
        step = {"stage": "path", "done": 1, "total": 2}
        job = self.write(at, lambda i, a: self.queue.progress(i, a, step))
        if job is not None:
            job.events += 1

    @rule(at=held)
    def front(self, at: tuple[str, int]) -> None:
        job = self.write(at, lambda i, a: self.queue.front(i, a, [{"point": 1}]))
        if job is not None:
            job.events += 1

    @rule(at=held)
    def succeed(self, at: tuple[str, int]) -> None:
        job = self.write(at, lambda i, a: self.queue.succeed(i, a, {}))
        if job is not None:
            job.become("succeeded")

    @rule(at=held)
    def fail(self, at: tuple[str, int]) -> None:
        job = self.write(at, lambda i, a: self.queue.fail(i, a, {"type": "t", "message": "m"}))
        if job is not None:
            job.become("failed")

    @rule(at=held)
    def release(self, at: tuple[str, int]) -> None:
        job = self.write(at, self.queue.release)
        if job is not None:
            job.become("cancelled" if job.status == "cancelling" else "queued")

    @rule(job_id=ids)
    def cancel(self, job_id: str) -> None:
        job = self.expected[job_id]
        if job.status in ("succeeded", "failed"):
            self.refused(self.queue.cancel, job_id)
            return
        after = self.queue.cancel(job_id)
        if job.status == "queued" or self.lost(job):
            job.become("cancelled")
        elif job.status == "running":
            job.become("cancelling")
        assert after.status == job.status

    @precondition(lambda self: any(job.status in ENDED for job in self.expected.values()))
    @rule(job_id=ids)
    def retry(self, job_id: str) -> None:
        job = self.expected[job_id]
        if job.status not in ("failed", "cancelled"):
            self.refused(self.queue.retry, job_id)
            return
        self.queue.retry(job_id)
        job.lost = 0
        job.become("queued")

    @staticmethod
    def refused(change: Callable[[str], Job], job_id: str) -> None:
        try:
            change(job_id)
        except WrongState:
            return
        raise AssertionError("a change in the wrong state went through")

    @invariant()
    def jobs_are_as_expected(self) -> None:
        for job_id, expected in self.expected.items():
            job = self.queue.get(job_id)
            assert (job.status, job.attempt) == (expected.status, expected.attempt)
            assert job.leases_lost == expected.lost
            assert (job.ended_at is not None) == (job.status in ENDED)
            assert (job.worker is not None) == (job.status in ("running", "cancelling"))
            assert (job.error is not None) == (job.status == "failed")

    @invariant()
    def events_have_no_gap_and_end_with_the_status(self) -> None:
        for job_id, expected in self.expected.items():
            told = self.queue.events(job_id)
            assert [event.seq for event in told] == list(range(1, expected.events + 1))
            statuses = [event.data["status"] for event in told if event.type == "status"]
            assert statuses[-1] == expected.status


@pytest.mark.slow
def test_whatever_happens_to_it_the_queue_is_as_expected(database: Path | str) -> None:
    where = database if isinstance(database, str) else "sqlite://"  # in memory
    run_state_machine_as_test(
        lambda: QueueMachine(where),  # type: ignore[arg-type]
        settings=settings(max_examples=15, stateful_step_count=40, deadline=None),
    )
