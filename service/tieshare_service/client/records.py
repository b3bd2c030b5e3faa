"""A job as the API answers it, as typed values. Fields that a newer service adds are ignored."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

Json = Mapping[str, Any]
Status = Literal["queued", "running", "cancelling", "succeeded", "failed", "cancelled"]
ServedFile = Literal["shared", "packed"]

ENDED: frozenset[Status] = frozenset({"succeeded", "failed", "cancelled"})


def _time(text: str | None) -> datetime | None:
    return None if text is None else datetime.fromisoformat(text)


@dataclass(frozen=True)
class Progress:
    """How far the stage of a job is; ``eta_s`` is for the whole job."""

    done: int
    total: int
    unit: str
    eta_s: float | None

    @classmethod
    def from_json(cls, data: Json) -> "Progress":
        """Read the API's form."""
        return cls(data["done"], data["total"], data["unit"], data.get("eta_s"))


@dataclass(frozen=True)
class FrontPoint:
    """One result of a job, scored on held-out data, measured on its files.

    ``point``       its number, from 1; the largest network comes first
    ``bytes``       of its shared file, as ``latency_us`` is: microseconds of a call by batch size
    ``macs``        multiplications of one sample
    ``chosen``      it is the one that the target picks
    """

    point: int
    unique_parameters: int
    compression_ratio: float
    bytes: int
    packed_bytes: int
    macs: int
    latency_us: Mapping[str, float]
    accuracy: float | None
    loss: float | None
    chosen: bool

    @classmethod
    def from_json(cls, data: Json) -> "FrontPoint":
        """Read the API's form."""
        return cls(
            point=data["point"],
            unique_parameters=data["unique_parameters"],
            compression_ratio=data["compression_ratio"],
            bytes=data["bytes"],
            packed_bytes=data["packed_bytes"],
            macs=data["macs"],
            latency_us=data["latency_us"],
            accuracy=data.get("accuracy"),
            loss=data.get("loss"),
            chosen=data["chosen"],
        )


@dataclass(frozen=True)
class Failure:
    """Why a job failed; ``type`` is stable."""

    type: str
    message: str


@dataclass(frozen=True)
class Served:
    """Where the inference endpoint answers: ``/v2/models/NAME/versions/VERSION``."""

    name: str
    version: int

    @classmethod
    def from_json(cls, data: Json) -> "Served":
        """Read the API's form."""
        return cls(data["name"], data["version"])


@dataclass(frozen=True)
class Result:
    """What a job has made.

    ``report``     report.json
    ``artifacts``  the names that ``jobs.download`` knows
    ``served``     the newest version; None where the result was not put into service
    """

    report: Json
    artifacts: tuple[str, ...]
    served: Served | None

    @classmethod
    def from_json(cls, data: Json) -> "Result":
        """Read the API's form."""
        served = data.get("served")
        return cls(
            report=data["report"],
            artifacts=tuple(data["artifacts"]),
            served=Served.from_json(served) if served else None,
        )


@dataclass(frozen=True)
class Job:
    """One job as it was when the service answered. ``model`` and ``dataset`` are ids.

    ``front`` holds the results so far; None before there is one.
    """

    id: str
    name: str
    model: str
    dataset: str
    status: Status
    stage: str | None
    progress: Progress | None
    metrics: Mapping[str, float]
    front: tuple[FrontPoint, ...] | None
    attempt: int
    recipe: Json
    error: Failure | None
    result: Result | None
    created_at: datetime
    started_at: datetime | None
    ended_at: datetime | None

    @property
    def ended(self) -> bool:
        """Whether it will change no more, unless it is retried."""
        return self.status in ENDED

    @classmethod
    def from_json(cls, data: Json) -> "Job":
        """Read the API's form."""
        error = data.get("error")
        progress = data.get("progress")
        result = data.get("result")
        front = data.get("front")
        return cls(
            id=data["id"],
            name=data["name"],
            model=data["model"],
            dataset=data["dataset"],
            status=data["status"],
            stage=data.get("stage"),
            progress=Progress.from_json(progress) if progress else None,
            metrics=data.get("metrics") or {},
            front=tuple(map(FrontPoint.from_json, front)) if front else None,
            attempt=data["attempt"],
            recipe=data.get("recipe") or {},
            error=Failure(error["type"], error["message"]) if error else None,
            result=Result.from_json(result) if result else None,
            created_at=datetime.fromisoformat(data["created_at"]),
            started_at=_time(data.get("started_at")),
            ended_at=_time(data.get("ended_at")),
        )


@dataclass(frozen=True)
class Plan:
    """The job that a request would make; ``recipe`` has every default filled in."""

    name: str
    model: str
    dataset: str
    recipe: Json

    @classmethod
    def from_json(cls, data: Json) -> "Plan":
        """Read the API's form."""
        return cls(data["name"], data["model"], data["dataset"], data["recipe"])


@dataclass(frozen=True)
class Event:
    """One change of a job; ``seq`` counts them from 1 without a gap.

    ``data``, by ``type``:

    ``status``     status, attempt, and error where there is one
    ``progress``   stage, done, total, unit, eta_s, metrics
    ``front``      front: all points so far, each as in ``Job.front``
    ``published``  served: name and version, and what it is: point, file

    ``at`` is None where the event came by a stream, which does not tell it.
    """

    seq: int
    at: datetime | None
    type: str
    data: Json

    @property
    def ends(self) -> bool:
        """Whether the job had ended with this event."""
        return self.type == "status" and self.data.get("status") in ENDED

    @classmethod
    def from_json(cls, data: Json) -> "Event":
        """Read the API's form."""
        return cls(data["seq"], _time(data["at"]), data["type"], data["data"])


@dataclass(frozen=True)
class Artifact:
    """One file that a job has made. ``sha256`` is its hex digest."""

    name: str
    sha256: str
    bytes: int

    @classmethod
    def from_json(cls, data: Json) -> "Artifact":
        """Read the API's form."""
        return cls(data["name"], data["sha256"], data["bytes"])
