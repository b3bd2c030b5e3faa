"""A job's events as they happen, each exactly once, whatever happens to the connection."""

import json
from collections.abc import Iterator

import httpx

from tieshare_service.client.errors import UnexpectedAnswer
from tieshare_service.client.records import Event, Job
from tieshare_service.client.sse import ServerEvent, read_events
from tieshare_service.client.transport import Call, Transport

EVENT_STREAM = "text/event-stream"

# Streams in a row that brought nothing before the watcher stops asking for one.
DUMB_STREAMS = 3


def watch(transport: Transport, job_id: str, after: int, poll_s: float) -> Iterator[Event]:
    """Yield the events after number ``after`` until the job has ended.

    A stream that breaks is taken up after the last event seen. Where streams don't get through
    (a buffering proxy), the events are asked for every ``poll_s`` seconds instead. Raises
    ConnectionFailed once the service stays away for longer than the client's retries last.
    """
    last, dumb = after, 0
    while True:
        if dumb < DUMB_STREAMS:
            start = last
            for event in _stream(transport, job_id, last):
                last = event.seq
                yield event
                if event.ends:
                    break
            dumb = 0 if last > start else dumb + 1
        # In this order: an ended job's last event can't be missed between the two questions.
        call = Call("GET", ("jobs", job_id), replayable=True)
        ended = transport.read(call, Job.from_json).ended
        missed = page(transport, job_id, last)
        for event in missed:
            last = event.seq
            yield event
        if ended and not missed:
            return
        if dumb and not missed:
            transport.sleep(poll_s)


def page(transport: Transport, job_id: str, after: int) -> tuple[Event, ...]:
    """The next events after number ``after``, as many as the service gives at once."""
    call = Call("GET", ("jobs", job_id, "events"), params={"after": after}, replayable=True)
    return transport.read(call, lambda body: tuple(map(Event.from_json, body["items"])))


def _stream(transport: Transport, job_id: str, after: int) -> Iterator[Event]:
    """The events of one connection; it ends where the connection does, and says nothing."""
    call = Call(
        "GET",
        ("jobs", job_id, "events"),
        headers={"Accept": EVENT_STREAM, "Last-Event-ID": str(after)},
    )
    try:
        with transport.open(call) as response:
            if response.headers.get("Content-Type", "").startswith(EVENT_STREAM):
                yield from map(_event, read_events(response.iter_bytes()))
    except httpx.TransportError:
        return


def _event(sent: ServerEvent) -> Event:
    try:
        return Event(int(sent.id), None, sent.type, json.loads(sent.data))
    except ValueError as error:
        raise UnexpectedAnswer(f"event {sent.id!r}: not an event of this API") from error
