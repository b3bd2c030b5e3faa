"""Jobs: submit, follow, fetch what they made."""

import time
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from tieshare_service.client.downloads import download
from tieshare_service.client.errors import JobCancelled, JobFailed, WaitTimeout
from tieshare_service.client.records import (
    Artifact,
    Event,
    Job,
    Plan,
    Served,
    ServedFile,
    Status,
)
from tieshare_service.client.transport import Call, Transport
from tieshare_service.client.uploads import OnBytes, ignore
from tieshare_service.client.watching import page, watch

# Seconds that one question may stay open at the service.
LONG_POLL_S = 20


class Jobs:
    """The jobs of one service."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def submit(
        self,
        model: str,
        dataset: str,
        *,
        name: str | None = None,
        recipe: Mapping[str, Any] | None = None,
        target: Mapping[str, float | bool] | None = None,
        idempotency_key: str | None = None,
    ) -> Job:
        """Queue a job for the model and the data set with these ids.

        ``name``    under which the result is served; the model's own where it is left out
        ``recipe``  fields of ``tieshare.Recipe``; what is left out has a default that works
        ``target``  ``{"max_drop": 0.01}``, or one of ``min_ratio``, ``max_bytes``,
        ``max_latency_us`` and ``{"front": True}``
        ``idempotency_key``  the same key gives the same job, however often this is called; each
        call has its own where it is left out, so that a try whose answer was lost is made again
        without a second job

        Raises Invalid, NotFound, and Conflict where the key came before with another request.
        """
        call = Call(
            "POST",
            ("jobs",),
            headers={"Idempotency-Key": idempotency_key or str(uuid.uuid4())},
            json=_request(model, dataset, name, recipe, target),
            replayable=True,
        )
        return self._transport.read(call, Job.from_json)

    def validate(
        self,
        model: str,
        dataset: str,
        *,
        name: str | None = None,
        recipe: Mapping[str, Any] | None = None,
        target: Mapping[str, float | bool] | None = None,
    ) -> Plan:
        """Check what ``submit`` would check, and queue nothing; raises what it would."""
        call = Call(
            "POST",
            ("jobs",),
            params={"validate_only": "true"},
            json=_request(model, dataset, name, recipe, target),
            replayable=True,
        )
        return self._transport.read(call, Plan.from_json)

    def list(self, status: Status | None = None, page_size: int = 100) -> Iterator[Job]:
        """All jobs, newest first, or those in one status; fetched ``page_size`` at a time."""
        only = {"status": status} if status else {}
        return self._transport.every(("jobs",), {"page_size": page_size, **only}, Job.from_json)

    def get(self, job_id: str) -> Job:
        """The job as it is now; raises NotFound."""
        return self._transport.read(Call("GET", ("jobs", job_id), replayable=True), Job.from_json)

    def cancel(self, job_id: str) -> Job:
        """End it at once; raises Conflict where it has ended."""
        call = Call("POST", ("jobs", job_id, "cancel"), replayable=True)
        return self._transport.read(call, Job.from_json)

    def retry(self, job_id: str) -> Job:
        """Queue it again; raises Conflict where it has not failed or been cancelled."""
        return self._transport.read(Call("POST", ("jobs", job_id, "retry")), Job.from_json)

    def delete(self, job_id: str, *, withdraw: bool = False) -> None:
        """Delete it with its events and results; with ``withdraw`` its served versions, too.

        Raises NotFound, and Conflict where it has not ended, or is in service.
        """
        asked = {"withdraw": "true"} if withdraw else {}
        self._transport.send(Call("DELETE", ("jobs", job_id), params=asked, replayable=True))

    def publish(self, job_id: str, point: int, file: ServedFile = "shared") -> Served:
        """Put another point of its front into service, as the next version of its name.

        Where its newest version is that very file, nothing changes. Raises Conflict where it has
        not succeeded, Invalid where its front has no such point.
        """
        call = Call(
            "POST",
            ("jobs", job_id, "publish"),
            json={"point": point, "file": file},
            replayable=True,
        )
        return self._transport.read(call, Served.from_json)

    def events(self, job_id: str, after: int = 0) -> tuple[Event, ...]:
        """The next events after number ``after``: one page, empty where there are none."""
        return page(self._transport, job_id, after)

    def watch(self, job_id: str, after: int = 0, poll_s: float = 1.0) -> Iterator[Event]:
        """Its events after number ``after``, as they happen, until it has ended.

        Each comes exactly once and in order, also where the connection breaks in between. Where
        streams don't get through, the service is asked every ``poll_s`` seconds.
        """
        return watch(self._transport, job_id, after, poll_s)

    def wait(self, job_id: str, timeout_s: float | None = None) -> Job:
        """Wait until it has succeeded, and return it with its result.

        Raises JobFailed and JobCancelled with the job in them, and WaitTimeout after
        ``timeout_s`` seconds.
        """
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        while True:
            left = LONG_POLL_S if deadline is None else deadline - time.monotonic()
            call = Call(
                "GET",
                ("jobs", job_id),
                params={"wait": max(0, min(LONG_POLL_S, round(left)))},
                replayable=True,
            )
            job = self._transport.read(call, Job.from_json)
            if job.ended:
                return _succeeded(job)
            if deadline is not None and time.monotonic() >= deadline:
                raise WaitTimeout(f"job {job_id} is still {job.status} after {timeout_s:g} s")

    def artifacts(self, job_id: str) -> tuple[Artifact, ...]:
        """The files that it has made."""
        call = Call("GET", ("jobs", job_id, "artifacts"), replayable=True)
        return self._transport.read(
            call, lambda body: tuple(map(Artifact.from_json, body["items"]))
        )

    def download(
        self,
        job_id: str,
        artifact: str,
        to: str | Path,
        progress: OnBytes = ignore,
    ) -> Path:
        """Write one artifact, such as ``shared.onnx``, to the path ``to``; whole or not at all."""
        return download(self._transport, ("jobs", job_id, "artifacts", artifact), to, progress)


def _request(
    model: str,
    dataset: str,
    name: str | None,
    recipe: Mapping[str, Any] | None,
    target: Mapping[str, float | bool] | None,
) -> dict[str, Any]:
    given = {"name": name, "recipe": recipe, "target": target}
    optional = {key: value for key, value in given.items() if value is not None}
    return {"model": model, "dataset": dataset, **optional}


def _succeeded(job: Job) -> Job:
    if job.status == "failed":
        reason = job.error.message if job.error else "the service gives no reason"
        raise JobFailed(f"job {job.id} failed: {reason}", job)
    if job.status == "cancelled":
        raise JobCancelled(f"job {job.id} was cancelled", job)
    return job
