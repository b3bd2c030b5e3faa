import asyncio
import json
import threading
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from sqlalchemy import insert

from tieshare_service import records
from tieshare_service.control.events import streamed
from tieshare_service.control.services import Services
from tieshare_service.publish import Point, Served

STREAM = {"Accept": "text/event-stream"}


@pytest.fixture
def job(http: httpx.Client, uploaded: tuple[str, str]) -> str:
    answer = http.post("/v1/jobs", json={"model": uploaded[0], "dataset": uploaded[1]})
    return str(answer.json()["id"])


def step(done: int) -> dict[str, Any]:
    return {"stage": "path", "done": done, "total": 9, "unit": "epochs", "eta_s": None}


def frames(lines: Iterator[str]) -> Iterator[dict[str, str]]:
    """The events of a stream; comments have no field."""
    frame: dict[str, str] = {}
    for line in lines:
        if line and not line.startswith(":"):
            name, _, value = line.partition(": ")
            frame[name] = value
        elif not line and frame:
            yield frame
            frame = {}


def test_events_are_told_in_order_and_from_where_one_left_off(
    http: httpx.Client, services: Services, job: str
) -> None:
    services.queue.claim("worker", 30)
    services.queue.progress(job, 1, step(1))
    page = http.get(f"/v1/jobs/{job}/events").json()
    assert [event["seq"] for event in page["items"]] == [1, 2, 3]
    assert [event["type"] for event in page["items"]] == ["status", "status", "progress"]
    assert page["items"][2]["data"]["done"] == 1
    assert page["last"] == 3
    rest = http.get(f"/v1/jobs/{job}/events", params={"after": 3}).json()
    assert rest == {"items": [], "last": 3}
    one = http.get(f"/v1/jobs/{job}/events", params={"after": 1, "page_size": 1}).json()
    assert ([event["seq"] for event in one["items"]], one["last"]) == ([2], 2)


def test_a_stream_tells_what_was_and_what_comes_and_ends_with_the_job(
    http: httpx.Client, services: Services, job: str
) -> None:
    services.queue.claim("worker", 30)
    seen = []
    with http.stream("GET", f"/v1/jobs/{job}/events", headers=STREAM) as answer:
        assert answer.headers["Content-Type"].startswith("text/event-stream")
        for frame in frames(answer.iter_lines()):
            seen.append((int(frame["id"]), frame["event"], json.loads(frame["data"])))
            if len(seen) == 2:
                services.queue.progress(job, 1, step(5))
                services.queue.fail(job, 1, {"type": "x", "message": "y"})
    assert [number for number, _, _ in seen] == [1, 2, 3, 4]
    assert [kind for _, kind, _ in seen] == ["status", "status", "progress", "status"]
    assert seen[2][2]["done"] == 5
    assert seen[3][2]["status"] == "failed"


def test_a_stream_tells_the_front_as_it_grows_and_what_is_published(
    http: httpx.Client, services: Services, job: str, front: list[dict[str, Any]]
) -> None:
    services.queue.claim("worker", 30)
    services.queue.front(job, 1, front[:1])
    services.queue.front(job, 1, front)
    services.queue.succeed(job, 1, {"report": {}, "served": None})
    services.queue.published(job, Served("digits", 2), Point(3, "packed"))
    stream = http.get(f"/v1/jobs/{job}/events", headers=STREAM).text
    told = [
        (frame["event"], json.loads(frame["data"])) for frame in frames(iter(stream.splitlines()))
    ][2:]
    assert told == [
        ("front", {"front": front[:1]}),
        ("front", {"front": front}),
        ("status", {"status": "succeeded", "attempt": 1}),
        ("published", {"served": {"name": "digits", "version": 2}, "point": 3, "file": "packed"}),
    ]


def test_a_stream_goes_on_after_the_last_event_that_got_through(
    http: httpx.Client, services: Services, job: str
) -> None:
    services.queue.claim("worker", 30)
    for done in range(1, 4):
        services.queue.progress(job, 1, step(done))
    services.queue.fail(job, 1, {"type": "x", "message": "y"})
    headers = STREAM | {"Last-Event-ID": "4"}
    answer = http.get(f"/v1/jobs/{job}/events", params={"after": 1}, headers=headers)
    assert [frame["id"] for frame in frames(iter(answer.text.splitlines()))] == ["5", "6"]


def test_a_stream_after_the_last_event_of_an_ended_job_is_empty(
    http: httpx.Client, job: str
) -> None:
    http.post(f"/v1/jobs/{job}/cancel")
    answer = http.get(f"/v1/jobs/{job}/events", headers=STREAM | {"Last-Event-ID": "2"})
    assert (answer.status_code, answer.text) == (200, "")


def test_many_events_are_streamed_whole(http: httpx.Client, services: Services, job: str) -> None:
    more = [
        {"job_id": job, "seq": seq, "at": 1.0, "type": "progress", "data": step(seq)}
        for seq in range(2, 1203)
    ]
    with services.engine.begin() as connection:
        connection.execute(insert(records.events), more)
    services.queue.cancel(job)
    answer = http.get(f"/v1/jobs/{job}/events", headers=STREAM)
    numbers = [int(frame["id"]) for frame in frames(iter(answer.text.splitlines()))]
    assert numbers == list(range(1, 1204))


def test_a_silent_stream_sends_a_comment_now_and_then(services: Services, job: str) -> None:
    async def first_two() -> list[bytes]:
        stream = streamed(services.queue, job, 1, poll_s=0.01, heartbeat_s=0.05)
        return [await anext(stream), await anext(stream)]

    assert asyncio.run(first_two()) == [b": still here\n\n"] * 2


def test_a_client_that_leaves_its_stream_does_no_harm(
    http: httpx.Client, services: Services, job: str
) -> None:
    for _ in range(3):
        with http.stream("GET", f"/v1/jobs/{job}/events", headers=STREAM) as answer:
            assert next(frames(answer.iter_lines()))["id"] == "1"
    assert http.get("/healthz").status_code == 200
    assert threading.active_count() < 60


@pytest.mark.parametrize(
    ("headers", "query", "where"),
    [
        ({"Last-Event-ID": "x"}, {}, "last-event-id"),
        ({"Last-Event-ID": "-1"}, {}, "last-event-id"),
        ({}, {"after": "-1"}, "after"),
        ({}, {"since": "1"}, "since"),
    ],
)
def test_a_place_that_is_none_is_refused(
    http: httpx.Client, job: str, headers: dict[str, str], query: dict[str, str], where: str
) -> None:
    answer = http.get(f"/v1/jobs/{job}/events", headers=headers, params=query)
    assert answer.status_code == 422
    assert answer.json()["where"].lower() == where


def test_a_stream_of_a_job_that_does_not_exist_is_not_found(http: httpx.Client) -> None:
    answer = http.get("/v1/jobs/job_aaaaaaaaaaaaaaaaaaaa/events", headers=STREAM)
    assert answer.status_code == 404
    assert answer.headers["Content-Type"] == "application/problem+json"
