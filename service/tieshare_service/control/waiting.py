"""Long poll: the answer comes when there is something new to say."""

import asyncio

from starlette.concurrency import run_in_threadpool

from tieshare_service.queue import Queue
from tieshare_service.records import ENDED, Job


async def changed(queue: Queue, job_id: str, wait_s: float, poll_s: float) -> Job:
    """The job once it differs from what it is now, or has ended, or ``wait_s`` is over.

    Raises NoSuchJob.
    """
    clock = asyncio.get_running_loop().time
    deadline = clock() + wait_s
    first = job = await run_in_threadpool(queue.get, job_id)
    while job.status not in ENDED and _told(job) == _told(first):
        left = deadline - clock()
        if left <= 0:
            break
        await asyncio.sleep(min(poll_s, left))
        job = await run_in_threadpool(queue.get, job_id)
    return job


def _told(job: Job) -> tuple[object, ...]:
    """What an event would tell; a beat is none."""
    return job.status, job.attempt, job.stage, job.progress, job.metrics, job.updated_at
