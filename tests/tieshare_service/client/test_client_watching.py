"""A job's events over connections that break, against a scripted server."""

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import pytest

from tieshare_service.client import Client, ConnectionFailed, Event, Retry

AT = "2026-01-02T03:04:05Z"


def document(seq: int, status: str | None = None) -> dict[str, Any]:
    if status is None:
        return {"seq": seq, "at": AT, "type": "progress", "data": {"done": seq}}
    return {"seq": seq, "at": AT, "type": "status", "data": {"status": status}}


def sse(*documents: dict[str, Any]) -> bytes:
    return b"".join(
        f"id: {each['seq']}\nevent: {each['type']}\ndata: {json.dumps(each['data'])}\n\n".encode()
        for each in documents
    )


class Service:
    """What the watcher may ask for, each as one scripted reply."""

    def __init__(self, script: Any, reply: Callable[..., Any]) -> None:
        self.script = script
        self.reply = reply

    def stream(self, *documents: dict[str, Any], cut: int | None = None) -> None:
        headers = (("Content-Type", "text/event-stream; charset=utf-8"),)
        self.script.add(self.reply(200, sse(*documents), headers, cut, False))

    def job(self, status: str) -> None:
        self.script.json(
            {
                "id": "job_1",
                "name": "digits",
                "model": "mdl_1",
                "dataset": "dat_1",
                "status": status,
                "attempt": 1,
                "created_at": AT,
            }
        )

    def page(self, *documents: dict[str, Any]) -> None:
        self.script.json({"items": list(documents), "last": 0})


@pytest.fixture
def service(script: Any) -> Service:
    def reply(
        status: int,
        body: bytes,
        headers: tuple[tuple[str, str], ...],
        cut: int | None,
        length: bool,
    ) -> Any:
        script.json(None, status)
        return replace(script.replies.pop(), body=body, headers=headers, cut=cut, length=length)

    return Service(script, reply)


def watched(service: Service, **options: Any) -> list[Event]:
    retry = Retry(attempts=3, first_s=0.0)
    with Client(service.script.url, retry=retry, sleep=lambda _: None) as client:
        return list(client.jobs.watch("job_1", **options))


def seqs(events: Sequence[Event]) -> list[int]:
    return [event.seq for event in events]


def test_events_come_in_order_until_the_job_has_ended(service: Service) -> None:
    service.stream(document(1, "running"), document(2), document(3, "succeeded"))
    service.job("succeeded")
    service.page()
    events = watched(service)

    assert seqs(events) == [1, 2, 3]
    assert events[1].data == {"done": 2}
    assert service.script.requests[0].headers["last-event-id"] == "0"
    assert service.script.requests[0].headers["accept"] == "text/event-stream"


def test_a_broken_stream_is_taken_up_after_the_last_whole_event(service: Service) -> None:
    whole = len(sse(document(1, "running"), document(2)))
    service.stream(document(1, "running"), document(2), document(3), cut=whole + 10)
    service.job("running")
    service.page(document(3))
    service.stream(document(4, "succeeded"))
    service.job("succeeded")
    service.page()

    assert seqs(watched(service)) == [1, 2, 3, 4]
    asked = [each for each in service.script.requests if "last-event-id" in each.headers]
    assert [each.headers["last-event-id"] for each in asked] == ["0", "3"]


def test_the_service_may_be_away_in_between(service: Service) -> None:
    service.stream(document(1, "running"))
    service.script.drop()
    service.job("running")
    service.script.drop()
    service.page(document(2))
    service.script.drop()
    service.job("succeeded")
    service.page(document(3, "succeeded"))
    service.stream()
    service.job("succeeded")
    service.page()

    assert seqs(watched(service)) == [1, 2, 3]


def test_a_service_that_stays_away_is_given_up(service: Service) -> None:
    service.stream(document(1, "running"))
    for _ in range(3):
        service.script.drop()

    with pytest.raises(ConnectionFailed):
        watched(service)


def test_where_streams_do_not_get_through_pages_are_asked_for(service: Service) -> None:
    for number in range(1, 4):
        service.script.json({"items": [], "last": 0})  # a proxy that drops the Accept header
        service.job("running")
        service.page(document(number))
    service.job("running")
    service.page()
    service.job("failed")
    service.page(document(4, "failed"))
    service.job("failed")
    service.page()

    assert seqs(watched(service)) == [1, 2, 3, 4]


def test_a_job_that_was_retried_meanwhile_is_followed_to_its_real_end(service: Service) -> None:
    service.stream(document(1, "failed"), document(2, "queued"))
    service.job("running")
    service.page(document(2, "queued"))
    service.stream(document(3, "succeeded"))
    service.job("succeeded")
    service.page()

    assert seqs(watched(service)) == [1, 2, 3]


def test_watching_starts_where_the_caller_says(service: Service) -> None:
    service.stream()
    service.job("succeeded")
    service.page()

    assert watched(service, after=7) == []
    stream, _, page = service.script.requests
    assert stream.headers["last-event-id"] == "7"
    assert page.path == "/v1/jobs/job_1/events?after=7"
