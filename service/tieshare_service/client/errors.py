"""What a call can end in instead of an answer.

ClientError
├── BadUrl                  the service's address is not one
├── ConnectionFailed        nothing listens there, or the connection broke for good
├── Problem                 the service answered no: RFC 9457 problem details
│   ├── Invalid                 400, 415, 422: mend the request and send it again
│   ├── Refused                 401, 403: a key is needed, or another one
│   ├── NotFound                404
│   ├── Conflict                409: in use, in another state, or the key was used before
│   ├── TooLarge                413
│   ├── Unavailable             429, 502, 503, 504: try again later
│   └── ServiceError            any other status: a fault of the service
├── UnexpectedAnswer        an answer that this client can't read
├── DigestMismatch          bytes arrived that are not the ones that were sent
├── JobNotSucceeded         jobs.wait: the job has ended, without a result
│   ├── JobFailed
│   └── JobCancelled
└── WaitTimeout             jobs.wait: the job goes on, the caller's time is up
"""

from typing import Any

import httpx

from tieshare_service.client.records import Job

PROBLEMS = "https://tieshare.dev/problems/"


class ClientError(Exception):
    """The call has no result."""


class BadUrl(ClientError):
    """An address without ``http://`` or ``https://``, or with no host."""


class ConnectionFailed(ClientError):
    """No whole answer came, after all tries that were safe to make."""


class Problem(ClientError):
    """The service refused; ``type`` is stable, so callers may branch on it.

    ``type``    the last part of the problem's URI, such as ``model-unsupported-operator``
    ``where``   the field, node, array or byte that is wrong; empty where there is none
    """

    def __init__(self, status: int, body: dict[str, Any]) -> None:
        self.status = status
        self.type = str(body.get("type", "about:blank")).removeprefix(PROBLEMS)
        self.title = str(body.get("title", ""))
        self.detail = str(body.get("detail", ""))
        self.where = str(body.get("where", "") or "")
        super().__init__(self.detail or self.title or f"HTTP status {status}")


class Invalid(Problem):
    """The request itself is wrong: the file, a field, a value."""


class Refused(Problem):
    """A key is needed for this, or another one."""


class NotFound(Problem):
    """There is no such thing."""


class Conflict(Problem):
    """It exists, and its state does not allow this."""


class TooLarge(Problem):
    """The body is over the service's limit."""


class Unavailable(Problem):
    """Not now."""


class ServiceError(Problem):
    """The service is at fault."""


class UnexpectedAnswer(ClientError):
    """The answer lacks what the API promises: another service, or another version of it."""


class DigestMismatch(ClientError):
    """The SHA-256 of what arrived differs from the announced one."""


class JobNotSucceeded(ClientError):
    """The job has ended and has no result; ``job`` is its last state."""

    def __init__(self, message: str, job: Job) -> None:
        super().__init__(message)
        self.job = job


class JobFailed(JobNotSucceeded):
    """It failed; ``job.error`` says why."""


class JobCancelled(JobNotSucceeded):
    """Somebody cancelled it."""


class WaitTimeout(ClientError):
    """The job had not ended when the time given to ``wait`` was over."""


BY_STATUS: dict[int, type[Problem]] = {
    400: Invalid,
    401: Refused,
    403: Refused,
    404: NotFound,
    409: Conflict,
    413: TooLarge,
    415: Invalid,
    422: Invalid,
    429: Unavailable,
    502: Unavailable,
    503: Unavailable,
    504: Unavailable,
}


def problem_of(response: httpx.Response) -> Problem:
    """Turn a refusal, whose body has been read, into its exception.

    A body that is no problem document (a proxy's page) still gives the right class.
    """
    try:
        body = response.json()
    except ValueError:
        body = {}
    if not isinstance(body, dict):
        body = {}
    body.setdefault("title", response.reason_phrase)
    return BY_STATUS.get(response.status_code, ServiceError)(response.status_code, body)
