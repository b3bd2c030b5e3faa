"""What happened to a job: a page of events, or a stream of them as they happen."""

import asyncio
from collections.abc import AsyncIterator
from typing import Annotated

import orjson
from fastapi import APIRouter, Header, Response
from fastapi.responses import StreamingResponse
from starlette.concurrency import run_in_threadpool

from tieshare_service import records
from tieshare_service.control import examples, schemas
from tieshare_service.control.answers import Responses, problems
from tieshare_service.control.requests import LastEventId, LastSeen, PageSize, PathJob
from tieshare_service.control.services import Parts
from tieshare_service.queue import Queue
from tieshare_service.records import ENDED

EVENT_STREAM = "text/event-stream"
HEARTBEAT_S = 15.0  # proxies cut a connection that is silent for a minute

router = APIRouter(prefix="/jobs", tags=["jobs"])

_STREAM_HEADERS = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
_STREAM: Responses = {
    200: {
        "content": {EVENT_STREAM: {"schema": {"type": "string"}, "example": examples.EVENT_STREAM}}
    }
}


@router.get(
    "/{id}/events", response_model=schemas.EventPage, responses={**_STREAM, **problems(404)}
)
async def list_events(
    job_id: PathJob,
    parts: Parts,
    accept: Annotated[str, Header(include_in_schema=False)] = "",
    last_event_id: LastEventId = None,
    after: LastSeen = 0,
    page_size: PageSize = 1000,
) -> schemas.EventPage | Response:
    """Ask for the events after one; `Accept: text/event-stream` keeps sending until the last."""
    last = after if last_event_id is None else last_event_id
    events = await run_in_threadpool(parts.queue.events, job_id, last, page_size)
    if EVENT_STREAM in accept:
        stream = streamed(parts.queue, job_id, last, parts.settings.poll_s)
        return StreamingResponse(stream, media_type=EVENT_STREAM, headers=_STREAM_HEADERS)
    return schemas.EventPage(
        items=list(map(schemas.Event.of, events)), last=events[-1].seq if events else last
    )


async def streamed(
    queue: Queue, job_id: str, last: int, poll_s: float, heartbeat_s: float = HEARTBEAT_S
) -> AsyncIterator[bytes]:
    """Events after ``last`` as server-sent events, until the job has ended and all are told."""
    clock = asyncio.get_running_loop().time
    silent_since = clock()
    while True:
        # In this order: what a job did before it ended is there when it has ended.
        job = await run_in_threadpool(queue.get, job_id)
        events = await run_in_threadpool(queue.events, job_id, last)
        if events:
            yield b"".join(map(_frame, events))
            last, silent_since = events[-1].seq, clock()
        elif job.status in ENDED:
            return
        elif clock() - silent_since >= heartbeat_s:
            yield b": still here\n\n"
            silent_since = clock()
        else:
            await asyncio.sleep(poll_s)


def _frame(event: records.Event) -> bytes:
    data = orjson.dumps(event.data)
    return b"id: %d\nevent: %s\ndata: %s\n\n" % (event.seq, event.type.encode(), data)
