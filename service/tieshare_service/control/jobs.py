"""Jobs: submit, list, look at or wait for, cancel, retry, delete, serve another result."""

from typing import Annotated

from fastapi import APIRouter, Query, Response
from fastapi.responses import JSONResponse

from tieshare_service import points, submission
from tieshare_service.control import schemas
from tieshare_service.control.answers import Responses, header, problems
from tieshare_service.control.json_body import JsonRoute
from tieshare_service.control.requests import (
    IdempotencyKey,
    JobRequest,
    PageSize,
    PageToken,
    PathJob,
    PublishRequest,
)
from tieshare_service.control.services import Parts
from tieshare_service.control.waiting import changed
from tieshare_service.records import Job, Status

RETRY_AFTER_S = 1
LONGEST_WAIT_S = 60

router = APIRouter(prefix="/jobs", tags=["jobs"], route_class=JsonRoute)

_ACCEPTED: Responses = {
    202: {
        "headers": {
            **header("Location", "where the job is"),
            **header("Retry-After", "seconds until it makes sense to ask for it"),
        }
    }
}
_PLANNED: Responses = {
    200: {"model": schemas.JobPlan, "description": "validate_only: nothing was queued"}
}


@router.post(
    "",
    status_code=202,
    response_model=schemas.Job,
    responses={**_PLANNED, **_ACCEPTED, **problems(400, 404, 409, 413, 415)},
)
def create_job(
    asked: JobRequest,
    response: Response,
    parts: Parts,
    idempotency_key: IdempotencyKey = None,
    validate_only: Annotated[bool, Query(description="check all, queue nothing")] = False,
) -> schemas.Job | Response:
    """Submit a job: compress this model with this data set. Two ids are enough."""
    domain = parts.models, parts.datasets, asked.to_domain()
    if validate_only:
        plan = schemas.JobPlan.of(submission.plan(*domain))
        return JSONResponse(plan.model_dump(mode="json"))
    return _accepted(response, submission.submit(parts.queue, *domain, idempotency_key))


@router.get("", responses=problems())
def list_jobs(
    parts: Parts,
    status: Status | None = None,
    page_size: PageSize = 50,
    page_token: PageToken = None,
) -> schemas.JobPage:
    """List jobs, newest first."""
    jobs, token = parts.queue.list(status, page_size, page_token)
    return schemas.JobPage(items=list(map(schemas.Job.of, jobs)), next_page_token=token)


@router.get("/{id}", responses=problems(404))
async def get_job(
    job_id: PathJob,
    parts: Parts,
    wait: Annotated[
        float,
        Query(ge=0, le=LONGEST_WAIT_S, description="seconds to wait for the job to change"),
    ] = 0,
) -> schemas.Job:
    """Look at one job, or wait until it differs from what it is now."""
    return schemas.Job.of(await changed(parts.queue, job_id, wait, parts.settings.poll_s))


@router.post("/{id}/cancel", status_code=202, responses={**_ACCEPTED, **problems(404, 409)})
def cancel_job(job_id: PathJob, response: Response, parts: Parts) -> schemas.Job:
    """End a job now if it is queued, and soon if it runs; asking again changes nothing."""
    return _accepted(response, parts.queue.cancel(job_id))


@router.post("/{id}/retry", status_code=202, responses={**_ACCEPTED, **problems(404, 409)})
def retry_job(job_id: PathJob, response: Response, parts: Parts) -> schemas.Job:
    """Queue a failed or cancelled job again."""
    return _accepted(response, parts.queue.retry(job_id))


@router.delete("/{id}", status_code=204, response_class=Response, responses=problems(404, 409))
def delete_job(
    job_id: PathJob,
    parts: Parts,
    withdraw: Annotated[bool, Query(description="also take its versions out of service")] = False,
) -> None:
    """Delete an ended job with its events and results; refused while a version of it is served."""
    parts.remover.remove(job_id, lambda *_: not withdraw)


@router.post("/{id}/publish", responses=problems(400, 404, 409, 413, 415))
def publish_point(job_id: PathJob, asked: PublishRequest, parts: Parts) -> schemas.Served:
    """Serve another point of the front as the next version of the job's name, with no training.

    Where the newest version of the job is that very file, the answer is that version.
    """
    stored = parts.queue, parts.blobs, parts.publisher
    return schemas.Served.of(points.publish_point(*stored, job_id, asked.to_domain()))


def _accepted(response: Response, job: Job) -> schemas.Job:
    response.headers["Location"] = f"/v1/jobs/{job.id}"
    response.headers["Retry-After"] = str(RETRY_AFTER_S)
    return schemas.Job.of(job)
