"""What a client and a worker may do to a job, with time as an argument."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy import Engine, delete, insert

from tieshare_service.database import open_database
from tieshare_service.errors import (
    IdempotencyConflict,
    LeaseLost,
    NoSuchDataset,
    NoSuchJob,
    NoSuchModel,
    WrongState,
)
from tieshare_service.job_rows import NewJob
from tieshare_service.liveness import Liveness
from tieshare_service.publish import Point, Served
from tieshare_service.queue import Queue
from tieshare_service.records import Artifact, Job, datasets, models

LEASE = 30.0
NEW = NewJob(model_id="mdl_1", dataset_id="dat_1", recipe={"penalty": "growl"})
STEP = {"stage": "path", "done": 3, "total": 60, "unit": "epochs", "eta_s": 9.5}


class Clock:
    """Time that stands still until it is moved."""

    def __init__(self) -> None:
        self.at = 1000.0

    def __call__(self) -> float:
        return self.at


@pytest.fixture
def engine(database: Path | str) -> Iterator[Engine]:
    engine = open_database(database)
    with engine.begin() as connection:
        for table, upload_id in ((models, "mdl_1"), (datasets, "dat_1")):
            values = {"id": upload_id, "name": "digits", "sha256": "", "bytes": 1}
            connection.execute(insert(table).values({**values, "card": {}, "created_at": 0.0}))
    yield engine
    engine.dispose()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def queue(engine: Engine, clock: Clock) -> Queue:
    return Queue(engine, clock, max_attempts=3)


def claimed(queue: Queue, worker: str = "w") -> Job:
    job = queue.claim(worker, LEASE)
    if job is None:
        raise LookupError("there was nothing to claim")
    return job


def story(queue: Queue, job: Job) -> list[tuple[int, str]]:
    """The events as (seq, status or stage)."""
    told = queue.events(job.id)
    return [(event.seq, event.data.get("status") or event.data["stage"]) for event in told]


def test_a_new_job_is_queued_and_takes_the_name_of_its_model(queue: Queue) -> None:
    job = queue.submit(NEW)
    assert job == queue.get(job.id)
    assert (job.status, job.name, job.attempt, job.metrics) == ("queued", "digits", 0, {})
    assert (job.created_at, job.started_at, job.error, job.result) == (1000.0, None, None, None)
    assert queue.submit(replace(NEW, name="mine")).name == "mine"
    assert story(queue, job) == [(1, "queued")]


def test_a_job_needs_a_model_and_a_data_set_that_exist(queue: Queue) -> None:
    with pytest.raises(NoSuchModel, match="mdl_2"):
        queue.submit(replace(NEW, model_id="mdl_2"))
    with pytest.raises(NoSuchDataset, match="dat_2"):
        queue.submit(replace(NEW, dataset_id="dat_2"))
    assert queue.list() == ([], None)


def test_the_same_request_under_the_same_key_is_one_job(queue: Queue) -> None:
    new = replace(NEW, idempotency_key="k", request_sha256="aa")
    first = queue.submit(new)
    assert queue.submit(new) == first
    with pytest.raises(IdempotencyConflict, match="k"):
        queue.submit(replace(new, request_sha256="bb"))
    assert queue.list() == ([first], None)


def test_jobs_are_claimed_in_the_order_in_which_they_came(queue: Queue, clock: Clock) -> None:
    first, second = queue.submit(NEW), queue.submit(NEW)
    clock.at += 5
    job = claimed(queue, "a")
    assert (job.id, job.status, job.attempt, job.worker) == (first.id, "running", 1, "a")
    assert (job.started_at, job.lease_until) == (1005.0, 1035.0)
    assert claimed(queue, "b").id == second.id
    assert queue.claim("c", LEASE) is None


def test_no_two_workers_claim_the_same_job(queue: Queue) -> None:
    expected = {queue.submit(NEW).id for _ in range(20)}
    with ThreadPoolExecutor(8) as pool:
        jobs = list(pool.map(lambda i: queue.claim(f"w{i}", LEASE), range(24)))
    ids = [job.id for job in jobs if job is not None]
    assert len(ids) == 20
    assert set(ids) == expected


def test_clients_with_one_key_at_once_get_one_job(queue: Queue) -> None:
    new = replace(NEW, idempotency_key="once", request_sha256="0")
    with ThreadPoolExecutor(8) as pool:
        made = list(pool.map(lambda _: queue.submit(new), range(16)))
    assert made == [made[0]] * 16
    assert len(queue.list()[0]) == 1


def test_jobs_that_nobody_holds_any_more_end_once(queue: Queue, clock: Clock) -> None:
    """Workers that come at once find jobs whose workers died while they were being cancelled."""
    for _ in range(10):
        queue.submit(NEW)
        queue.cancel(claimed(queue).id)
    clock.at += LEASE
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(lambda i: queue.claim(f"w{i}", LEASE), range(8))) == [None] * 8
    for job in queue.list()[0]:
        assert [name for _, name in story(queue, job)][2:] == ["cancelling", "cancelled"]


def test_a_lease_holds_until_its_last_moment_and_a_beat_puts_it_off(
    queue: Queue, clock: Clock
) -> None:
    queue.submit(NEW)
    job = claimed(queue)
    clock.at += LEASE - 0.001
    assert queue.claim("other", LEASE) is None
    assert queue.beat(job.id, 1, LEASE) is False
    clock.at += LEASE - 0.001
    assert queue.claim("other", LEASE) is None
    clock.at += 0.001
    again = claimed(queue, "other")
    assert (again.id, again.attempt, again.leases_lost, again.worker) == (job.id, 2, 1, "other")
    assert again.started_at == job.started_at


@pytest.mark.parametrize("jump", [1e6, -1e6])
def test_a_clock_that_jumps_leaves_a_dead_workers_job_to_the_next(
    queue: Queue, clock: Clock, jump: float
) -> None:
    queue.submit(NEW)
    job = claimed(queue)
    clock.at += jump
    assert queue.demand() == (1, set())
    assert claimed(queue, "other").attempt == 2
    assert queue.demand() == (0, {"other"})
    with pytest.raises(LeaseLost):
        queue.beat(job.id, 1, LEASE)


@pytest.mark.parametrize("jump", [1e6, -1e6])
def test_a_worker_that_lives_keeps_its_job_over_a_jump_of_the_clock(
    queue: Queue, clock: Clock, jump: float
) -> None:
    queue.submit(NEW)
    job = claimed(queue)
    clock.at += jump
    queue.beat(job.id, 1, LEASE)
    assert queue.claim("other", LEASE) is None
    assert queue.cancel(job.id).status == "cancelling"
    clock.at -= jump
    assert queue.cancel(job.id).status == "cancelled"


def test_every_write_of_a_former_attempt_is_refused(queue: Queue, clock: Clock) -> None:
    queue.submit(NEW)
    job = claimed(queue)
    clock.at += LEASE
    current = claimed(queue, "other")
    before = queue.events(job.id)
    for write in (
        lambda: queue.beat(job.id, 1, LEASE),
        lambda: queue.progress(job.id, 1, STEP),
        lambda: queue.front(job.id, 1, []),
        lambda: queue.succeed(job.id, 1, {}),
        lambda: queue.fail(job.id, 1, {}),
        lambda: queue.cancelled(job.id, 1),
        lambda: queue.release(job.id, 1),
    ):
        with pytest.raises(LeaseLost, match="attempt 1"):
            write()
    assert queue.get(job.id) == current
    assert queue.events(job.id) == before


def test_a_job_whose_workers_keep_dying_fails(queue: Queue, clock: Clock) -> None:
    job = queue.submit(NEW)
    for attempt in (1, 2, 3):
        assert claimed(queue).attempt == attempt
        clock.at += LEASE
    assert queue.claim("w", LEASE) is None
    ended = queue.get(job.id)
    assert (ended.status, ended.attempt, ended.ended_at) == ("failed", 3, 1090.0)
    assert ended.error is not None
    assert ended.error["type"] == "job-attempts-exhausted"
    assert queue.events(job.id)[-1].data["error"] == ended.error


def test_handing_a_job_back_does_not_count_as_a_death(queue: Queue) -> None:
    job = queue.submit(NEW)
    for attempt in range(1, 6):
        assert claimed(queue).attempt == attempt
        assert queue.release(job.id, attempt).status == "queued"
    assert (queue.get(job.id).leases_lost, queue.get(job.id).worker) == (0, None)


def test_progress_sets_the_stage_and_metrics_add_up(queue: Queue, clock: Clock) -> None:
    queue.submit(NEW)
    job = claimed(queue)
    queue.progress(job.id, 1, {**STEP, "metrics": {"accuracy": 0.9, "alive_rows": 80}})
    clock.at += 1
    queue.progress(job.id, 1, {**STEP, "stage": "retrain", "metrics": {"accuracy": 0.8}})
    job = queue.get(job.id)
    assert job.stage == "retrain"
    assert job.progress == {"done": 3, "total": 60, "unit": "epochs", "eta_s": 9.5}
    assert job.metrics == {"accuracy": 0.8, "alive_rows": 80}
    assert story(queue, job) == [(1, "queued"), (2, "running"), (3, "path"), (4, "retrain")]
    last = queue.events(job.id, after=3)
    assert [(event.at, event.type) for event in last] == [(1001.0, "progress")]
    assert last[0].data["metrics"] == {"accuracy": 0.8, "alive_rows": 80}
    assert [event.seq for event in queue.events(job.id, after=1, limit=2)] == [2, 3]


def test_the_front_is_told_whole_each_time_it_grows(queue: Queue, clock: Clock) -> None:
    queue.submit(NEW)
    job = claimed(queue)
    assert job.front is None
    queue.front(job.id, 1, [{"point": 1}])
    clock.at += 1
    queue.front(job.id, 1, [{"point": 1}, {"point": 2}])
    assert queue.get(job.id).front == [{"point": 1}, {"point": 2}]
    assert queue.get(job.id).updated_at == clock.at
    told = queue.events(job.id, after=2)
    assert [event.type for event in told] == ["front", "front"]
    assert [len(event.data["front"]) for event in told] == [1, 2]
    queue.fail(job.id, 1, {"type": "job-error", "message": "no"})
    assert queue.retry(job.id).front is None


def test_what_is_served_is_told_once_and_never_set_back(queue: Queue) -> None:
    queue.submit(NEW)
    job = claimed(queue)
    first = {"name": "digits", "version": 1}
    queue.succeed(job.id, 1, {"report": {}, "served": first})
    for version in (1, 3, 3, 2):
        queue.published(job.id, Served("digits", version), Point(version, "packed"))
    third = {"name": "digits", "version": 3}
    assert queue.get(job.id).result == {"report": {}, "served": third}
    (told,) = queue.events(job.id, after=3)
    assert (told.type, told.data) == ("published", {"served": third, "point": 3, "file": "packed"})


def test_a_finished_job_keeps_its_result_and_its_files(queue: Queue) -> None:
    queue.submit(NEW)
    job = claimed(queue)
    files = [Artifact(job.id, name, "aa", 7) for name in ("report.json", "tied.onnx")]
    ended = queue.succeed(job.id, 1, {"served": {"name": "digits", "version": 1}}, files)
    assert (ended.status, ended.worker, ended.lease_until) == ("succeeded", None, None)
    assert ended.result == {"served": {"name": "digits", "version": 1}}
    assert queue.artifacts(job.id) == files
    assert queue.counts() == {"succeeded": 1}
    for change in (queue.cancel, queue.retry):
        with pytest.raises(WrongState, match="succeeded"):
            change(job.id)
    with pytest.raises(LeaseLost):
        queue.beat(job.id, 1, LEASE)


def test_a_queued_job_is_cancelled_at_once(queue: Queue) -> None:
    job = queue.submit(NEW)
    assert queue.cancel(job.id).status == "cancelled"
    assert queue.cancel(job.id).status == "cancelled"
    assert queue.claim("w", LEASE) is None
    assert story(queue, job) == [(1, "queued"), (2, "cancelled")]


def test_a_running_job_is_cancelled_by_its_worker(queue: Queue) -> None:
    queue.submit(NEW)
    job = claimed(queue)
    with pytest.raises(WrongState, match="running"):
        queue.cancelled(job.id, 1)
    assert queue.cancel(job.id).status == "cancelling"
    assert queue.cancel(job.id).status == "cancelling"
    assert queue.beat(job.id, 1, LEASE) is True
    assert queue.cancelled(job.id, 1).status == "cancelled"
    states = [(1, "queued"), (2, "running"), (3, "cancelling"), (4, "cancelled")]
    assert story(queue, job) == states


def test_a_job_that_is_being_cancelled_ends_when_its_worker_dies(
    queue: Queue, clock: Clock
) -> None:
    queue.submit(NEW)
    job = claimed(queue)
    queue.cancel(job.id)
    clock.at += LEASE
    assert queue.claim("other", LEASE) is None
    assert queue.get(job.id).status == "cancelled"
    with pytest.raises(LeaseLost):
        queue.succeed(job.id, 1, {})


def test_cancelling_a_job_whose_worker_is_dead_ends_it_at_once(queue: Queue, clock: Clock) -> None:
    queue.submit(NEW)
    job = claimed(queue)
    clock.at += LEASE
    assert queue.cancel(job.id).status == "cancelled"


def test_a_job_handed_back_while_it_is_cancelled_ends(queue: Queue) -> None:
    queue.submit(NEW)
    job = claimed(queue)
    queue.cancel(job.id)
    assert queue.release(job.id, 1).status == "cancelled"


def test_a_cancel_that_comes_too_late_does_not_undo_a_result(queue: Queue) -> None:
    queue.submit(NEW)
    job = claimed(queue)
    queue.cancel(job.id)
    assert queue.succeed(job.id, 1, {"report": {}}).status == "succeeded"


def test_a_failed_job_is_retried_with_its_events_and_attempts_kept(
    queue: Queue, clock: Clock
) -> None:
    queue.submit(NEW)
    job = claimed(queue)
    queue.progress(job.id, 1, {**STEP, "metrics": {"accuracy": 0.9}})
    failed = queue.fail(job.id, 1, {"type": "job-error", "message": "no"})
    assert failed.error == {"type": "job-error", "message": "no"}
    again = queue.retry(job.id)
    assert (again.status, again.attempt, again.error, again.ended_at) == ("queued", 1, None, None)
    assert (again.stage, again.progress, again.metrics) == (None, None, {})
    with pytest.raises(WrongState, match="queued"):
        queue.retry(job.id)
    assert claimed(queue).attempt == 2
    statuses = ["queued", "running", "path", "failed", "queued", "running"]
    assert story(queue, job) == list(enumerate(statuses, start=1))


def test_a_retry_starts_the_count_of_deaths_anew(queue: Queue, clock: Clock) -> None:
    job = queue.submit(NEW)
    for _ in range(3):
        claimed(queue)
        clock.at += LEASE
    queue.claim("w", LEASE)
    assert queue.retry(job.id).leases_lost == 0
    assert claimed(queue).attempt == 4
    clock.at += LEASE
    assert claimed(queue).attempt == 5


def test_a_job_whose_model_is_gone_cannot_be_retried(queue: Queue, engine: Engine) -> None:
    job = queue.submit(NEW)
    queue.cancel(job.id)
    with engine.begin() as connection:
        connection.execute(delete(models))
    with pytest.raises(NoSuchModel):
        queue.retry(job.id)
    assert queue.get(job.id).status == "cancelled"


def test_jobs_are_listed_newest_first_in_pages_and_by_status(queue: Queue) -> None:
    ids = [queue.submit(NEW).id for _ in range(5)]
    queue.cancel(ids[1])
    first, token = queue.list(page_size=2)
    queue.submit(NEW)
    second, token = queue.list(page_size=2, page_token=token)
    third, end = queue.list(page_size=2, page_token=token)
    assert [job.id for job in [*first, *second, *third]] == ids[::-1]
    assert end is None
    assert [job.id for job in queue.list("cancelled")[0]] == [ids[1]]


def test_an_unknown_job_is_named(queue: Queue) -> None:
    for ask in (queue.get, queue.events, queue.artifacts, queue.cancel, queue.retry):
        with pytest.raises(NoSuchJob, match="job_none"):
            ask("job_none")


def test_a_worker_is_alive_while_it_beats(engine: Engine, clock: Clock) -> None:
    liveness = Liveness(engine, clock)
    liveness.beat("a")
    clock.at += 10
    liveness.beat("b")
    assert liveness.alive(within_s=15) == ["a", "b"]
    clock.at += 5
    assert liveness.alive(within_s=15) == ["b"]
    liveness.beat("a")
    assert liveness.alive(within_s=15) == ["a", "b"]
    liveness.leave("a")
    assert liveness.alive(within_s=15) == ["b"]
    clock.at -= 1e6
    assert liveness.alive(within_s=15) == []
    liveness.beat("b")
    assert liveness.alive(within_s=15) == ["b"]
