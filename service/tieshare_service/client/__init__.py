"""A typed client for the control API.

with Client("http://127.0.0.1:8000") as client:
    model = client.models.create("digits.onnx")
    dataset = client.datasets.create("digits.npz")
    job = client.jobs.submit(model.id, dataset.id, target={"max_drop": 0.01})
    job = client.jobs.wait(job.id)
    client.jobs.download(job.id, "shared.onnx", to="smaller.onnx")
"""

from tieshare_service.client.client import Client
from tieshare_service.client.errors import (
    BadUrl,
    ClientError,
    Conflict,
    ConnectionFailed,
    DigestMismatch,
    Invalid,
    JobCancelled,
    JobFailed,
    JobNotSucceeded,
    NotFound,
    Problem,
    Refused,
    ServiceError,
    TooLarge,
    Unavailable,
    UnexpectedAnswer,
    WaitTimeout,
)
from tieshare_service.client.files import Dataset, Layer, Model, Tensor
from tieshare_service.client.records import (
    Artifact,
    Event,
    Failure,
    FrontPoint,
    Job,
    Plan,
    Progress,
    Result,
    Served,
    ServedFile,
    Status,
)
from tieshare_service.client.transport import Retry

__all__ = [
    "Artifact",
    "BadUrl",
    "Client",
    "ClientError",
    "Conflict",
    "ConnectionFailed",
    "Dataset",
    "DigestMismatch",
    "Event",
    "Failure",
    "FrontPoint",
    "Invalid",
    "Job",
    "JobCancelled",
    "JobFailed",
    "JobNotSucceeded",
    "Layer",
    "Model",
    "NotFound",
    "Plan",
    "Problem",
    "Progress",
    "Refused",
    "Result",
    "Retry",
    "Served",
    "ServedFile",
    "ServiceError",
    "Status",
    "Tensor",
    "TooLarge",
    "Unavailable",
    "UnexpectedAnswer",
    "WaitTimeout",
]
