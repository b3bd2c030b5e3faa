"""What the API answers, as typed values. Fields that a newer service adds are ignored."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

Json = Mapping[str, Any]
Status = Literal["queued", "running", "cancelling", "succeeded", "failed", "cancelled"]

ENDED: frozenset[Status] = frozenset({"succeeded", "failed", "cancelled"})


def _time(text: str | None) -> datetime | None:
    return None if text is None else datetime.fromisoformat(text)


@dataclass(frozen=True)
class Tensor:
    """An input or output of a model, or an array of a data set.

    ``shape`` holds a name, or None, where a model leaves the size free.
    """

    name: str
    dtype: str
    shape: tuple[int | str | None, ...]

    @classmethod
    def from_json(cls, data: Json) -> "Tensor":
        """Read the API's form."""
        return cls(data["name"], data["dtype"], tuple(data["shape"]))


@dataclass(frozen=True)
class Layer:
    """A layer that can be compressed: its weight is a matrix of (rows, columns)."""

    name: str
    operator: str
    rows: int
    columns: int

    @classmethod
    def from_json(cls, data: Json) -> "Layer":
        """Read the API's form."""
        return cls(data["name"], data["operator"], data["rows"], data["columns"])


@dataclass(frozen=True)
class Model:
    """An uploaded network. ``sha256`` is the hex digest of its file."""

    id: str
    name: str
    sha256: str
    bytes: int
    created_at: datetime
    parameters: int
    opset: int
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    layers: tuple[Layer, ...]

    @classmethod
    def from_json(cls, data: Json) -> "Model":
        """Read the API's form."""
        return cls(
            id=data["id"],
            name=data["name"],
            sha256=data["sha256"],
            bytes=data["bytes"],
            created_at=datetime.fromisoformat(data["created_at"]),
            parameters=data["parameters"],
            opset=data["opset"],
            inputs=tuple(map(Tensor.from_json, data["inputs"])),
            outputs=tuple(map(Tensor.from_json, data["outputs"])),
            layers=tuple(map(Layer.from_json, data["layers"])),
        )


@dataclass(frozen=True)
class Dataset:
    """An uploaded data set. ``samples`` counts the first axis of its largest split."""

    id: str
    name: str
    sha256: str
    bytes: int
    created_at: datetime
    samples: int
    arrays: tuple[Tensor, ...]

    @classmethod
    def from_json(cls, data: Json) -> "Dataset":
        """Read the API's form."""
        return cls(
            id=data["id"],
            name=data["name"],
            sha256=data["sha256"],
            bytes=data["bytes"],
            created_at=datetime.fromisoformat(data["created_at"]),
            samples=data["samples"],
            arrays=tuple(map(Tensor.from_json, data["arrays"])),
        )


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
class Failure:
    """Why a job failed; ``type`` is stable."""

    type: str
    message: str


@dataclass(frozen=True)
class Served:
    """Where the inference endpoint answers: ``/v2/models/NAME/versions/VERSION``."""

    name: str
    version: int


@dataclass(frozen=True)
class Result:
    """What a job has made.

    ``report``     report.json
    ``artifacts``  the names that ``jobs.download`` knows
    ``served``     None where the result was not put into service
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
            served=Served(served["name"], served["version"]) if served else None,
        )


@dataclass(frozen=True)
class Job:
    """One job as it was when the service answered. ``model`` and ``dataset`` are ids."""

    id: str
    name: str
    model: str
    dataset: str
    status: Status
    stage: str | None
    progress: Progress | None
    metrics: Mapping[str, float]
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
        return cls(
            id=data["id"],
            name=data["name"],
            model=data["model"],
            dataset=data["dataset"],
            status=data["status"],
            stage=data.get("stage"),
            progress=Progress.from_json(progress) if progress else None,
            metrics=data.get("metrics") or {},
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

    ``type`` is ``status`` or ``progress``. ``data`` of a status holds status and attempt, of a
    progress stage, done, total, unit, eta_s and metrics. ``at`` is None where the event came by a
    stream, which does not tell it.
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
