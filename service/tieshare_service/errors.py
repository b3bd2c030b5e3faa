"""What the service itself refuses. What is wrong with a model, a data set or a recipe is in
``tieshare.errors``.

    ServiceError
    ├── NotFound
    │   ├── NoSuchModel
    │   ├── NoSuchDataset
    │   └── NoSuchJob
    ├── WrongState            the job is not in a state that allows this
    ├── NoSuchPoint           the front of the job has no such point
    ├── IdempotencyConflict   a key used before, for another request
    ├── LeaseLost             the job belongs to another attempt by now
    ├── BadPageToken          not a token that a list returned
    └── SettingsError         one setting

``type`` is stable: clients may branch on it. ``where`` names the id, field or setting.
"""

from collections.abc import Sequence
from typing import ClassVar


class ServiceError(Exception):
    """The root of everything that the service refuses."""

    type: ClassVar[str] = "service-error"

    def __init__(self, message: str, *, where: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.where = where

    def __str__(self) -> str:
        return f"{self.where}: {self.message}" if self.where else self.message


class NotFound(ServiceError):
    """Nothing has this id."""

    type = "not-found"


class NoSuchModel(NotFound):
    """No model has this id."""

    type = "model-not-found"

    def __init__(self, model_id: str) -> None:
        super().__init__("no such model", where=model_id)


class NoSuchDataset(NotFound):
    """No data set has this id."""

    type = "dataset-not-found"

    def __init__(self, dataset_id: str) -> None:
        super().__init__("no such data set", where=dataset_id)


class NoSuchJob(NotFound):
    """No job has this id."""

    type = "job-not-found"

    def __init__(self, job_id: str) -> None:
        super().__init__("no such job", where=job_id)


class WrongState(ServiceError):
    """The job's status does not allow this."""

    type = "job-wrong-state"

    def __init__(self, job_id: str, status: str, wanted: str) -> None:
        super().__init__(f"the job is {status}: it can't be {wanted}", where=job_id)
        self.status = status


class NoSuchPoint(ServiceError):
    """The job has no file of this point."""

    type = "no-such-point"

    def __init__(self, point: int | None, file: str, there: Sequence[int]) -> None:
        known = f"it has {', '.join(map(str, there))}" if there else "it has none"
        super().__init__(f"the job has no {file} file of point {point}; {known}", where="point")


class IdempotencyConflict(ServiceError):
    """An idempotency key that came before with another request."""

    type = "idempotency-conflict"

    def __init__(self, key: str) -> None:
        super().__init__("this idempotency key was used for another request", where=key)


class LeaseLost(ServiceError):
    """The attempt that writes is no longer the one that holds the job."""

    type = "lease-lost"

    def __init__(self, job_id: str, attempt: int) -> None:
        super().__init__(f"attempt {attempt} no longer holds the job", where=job_id)
        self.attempt = attempt


class BadPageToken(ServiceError):
    """Not a token that a list returned."""

    type = "page-token-invalid"

    def __init__(self) -> None:
        super().__init__("not a token that a list returned", where="page_token")


class SettingsError(ServiceError):
    """One setting can't be used."""

    type = "settings-invalid"
