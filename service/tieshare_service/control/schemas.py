"""What the API answers, as its OpenAPI document shows it."""

from datetime import UTC, datetime
from typing import Annotated, Any

from pydantic import BaseModel, Field

from tieshare_service import publish, records
from tieshare_service.blobs import Kind
from tieshare_service.partial import Partial
from tieshare_service.records import EventType, Status
from tieshare_service.submission import Plan


class Tensor(BaseModel):
    """An input or output of a model, or an array of a data set."""

    name: str
    dtype: str = Field(description="numpy's name of the element type", examples=["float32"])
    shape: list[int | str | None] = Field(
        description="one entry an axis; a name or null where the model leaves the length free"
    )


class Layer(BaseModel):
    """A layer that can be compressed; its weight is a matrix of rows."""

    name: str
    operator: str = Field(examples=["Gemm"])
    rows: int
    columns: int


_TENANT: str = Field(description="whose it is; empty where it belongs to none", examples=[""])


class _Upload(BaseModel):
    id: str
    name: str
    sha256: str = Field(description="of the file, in hexadecimal")
    bytes: int
    created_at: datetime
    tenant: str = _TENANT

    @staticmethod
    def columns(record: records.ModelRecord | records.DatasetRecord) -> dict[str, Any]:
        """The fields that models and data sets share."""
        return {
            "id": record.id,
            "name": record.name,
            "sha256": record.sha256,
            "bytes": record.bytes,
            "created_at": _time(record.created_at),
            "tenant": record.tenant,
        }


class Model(_Upload):
    """An uploaded network."""

    parameters: int = Field(description="how many values training changes")
    opset: int
    inputs: list[Tensor]
    outputs: list[Tensor]
    layers: list[Layer]

    @classmethod
    def of(cls, record: records.ModelRecord) -> "Model":
        """The answer for a record."""
        return cls.model_validate({**record.card, **cls.columns(record)})


class Dataset(_Upload):
    """An uploaded data set."""

    samples: int
    arrays: list[Tensor]

    @classmethod
    def of(cls, record: records.DatasetRecord) -> "Dataset":
        """The answer for a record."""
        return cls.model_validate({**record.card, **cls.columns(record)})


class Upload(BaseModel):
    """A file on its way in, or what became of it."""

    id: str
    kind: Kind
    name: str | None
    offset: int = Field(description="how many bytes are on the service's disk")
    length: int | None = Field(description="how many there are, where that is known")
    made: str | None = Field(description="id of the model or data set that it became")
    created_at: datetime

    @classmethod
    def of(cls, partial: Partial, offset: int) -> "Upload":
        """The answer for an upload with so many bytes."""
        return cls(
            id=partial.id,
            kind=partial.kind,
            name=partial.name,
            offset=offset,
            length=partial.length,
            made=partial.made,
            created_at=_time(partial.created_at),
        )


class Progress(BaseModel):
    """How far the stage is."""

    done: int
    total: int
    unit: str = Field(examples=["epochs"])
    eta_s: float | None = Field(description="seconds until the whole job ends, as far as known")


class Failure(BaseModel):
    """Why a job failed; ``type`` is stable."""

    type: str
    message: str


class FrontPoint(BaseModel):
    """One result of a job, scored on held-out data, measured on its files."""

    point: int = Field(description="its number, from 1; the largest network comes first")
    unique_parameters: int
    compression_ratio: float
    bytes: int = Field(description="of its shared file")
    packed_bytes: int
    macs: int = Field(description="multiplications of one sample")
    latency_us: dict[str, float] = Field(
        description="of its shared file: microseconds of a call by batch size",
        examples=[{"1": 14.5, "32": 61.0}],
    )
    accuracy: float | None = None
    loss: float | None = None
    chosen: bool = Field(description="it is the one that the target picks")


class Served(BaseModel):
    """Where the inference endpoint has a result: /v2/models/NAME/versions/VERSION."""

    name: str
    version: int

    @classmethod
    def of(cls, served: publish.Served) -> "Served":
        """The answer for a model that was put into service."""
        return cls(name=served.name, version=served.version)


class Result(BaseModel):
    """What a job came to."""

    report: dict[str, Any] = Field(description="report.json, measured on the exported files")
    artifacts: list[str]
    served: Served | None = Field(description="the newest version that this job has")


class Job(BaseModel):
    """A job as it stands."""

    id: str
    name: str = Field(description="under this name the result is served")
    model: str
    dataset: str
    status: Status
    stage: str | None = Field(description="check, path, retrain, export or measure")
    progress: Progress | None
    metrics: dict[str, float] = Field(
        description="as known by now: accuracy or loss, alive_rows, clusters, compression_ratio"
    )
    front: list[FrontPoint] | None = Field(
        description="the results so far; null before there is one"
    )
    attempt: int = Field(description="how often a worker has taken it up")
    recipe: dict[str, Any] = Field(description="with every default filled in")
    error: Failure | None
    result: Result | None
    created_at: datetime
    started_at: datetime | None
    ended_at: datetime | None
    tenant: str = _TENANT

    @classmethod
    def of(cls, job: records.Job) -> "Job":
        """The answer for a record."""
        return cls(
            id=job.id,
            name=job.name,
            model=job.model_id,
            dataset=job.dataset_id,
            status=job.status,
            stage=job.stage,
            progress=None if job.progress is None else Progress.model_validate(job.progress),
            metrics=job.metrics,
            front=None if job.front is None else list(map(FrontPoint.model_validate, job.front)),
            attempt=job.attempt,
            recipe=job.recipe,
            error=None if job.error is None else Failure.model_validate(job.error),
            result=None if job.result is None else Result.model_validate(job.result),
            created_at=_time(job.created_at),
            started_at=None if job.started_at is None else _time(job.started_at),
            ended_at=None if job.ended_at is None else _time(job.ended_at),
            tenant=job.tenant,
        )


class JobPlan(BaseModel):
    """The job that the same request without ``validate_only`` would make."""

    name: str
    model: str
    dataset: str
    recipe: dict[str, Any]

    @classmethod
    def of(cls, plan: Plan) -> "JobPlan":
        """The answer for a job that was not queued."""
        return cls(name=plan.name, model=plan.model_id, dataset=plan.dataset_id, recipe=plan.recipe)


class Event(BaseModel):
    """One change of a job; ``seq`` counts them from 1 without a gap."""

    seq: int
    at: datetime
    type: EventType
    data: dict[str, Any] = Field(
        description="the fields that changed, named as in the job; of published: served, and the "
        "point and the file of it"
    )

    @classmethod
    def of(cls, event: records.Event) -> "Event":
        """The answer for a record."""
        return cls(seq=event.seq, at=_time(event.at), type=event.type, data=event.data)


class EventPage(BaseModel):
    """Events in order; ask for those after ``last`` next."""

    items: list[Event]
    last: int


class Artifact(BaseModel):
    """One file that a job has made."""

    name: str
    sha256: str = Field(description="of the file, in hexadecimal")
    bytes: int

    @classmethod
    def of(cls, artifact: records.Artifact) -> "Artifact":
        """The answer for a record."""
        return cls(name=artifact.name, sha256=artifact.sha256, bytes=artifact.bytes)


NextPageToken = Annotated[str | None, Field(description="null on the last page")]


class ModelPage(BaseModel):
    """Models, newest first."""

    items: list[Model]
    next_page_token: NextPageToken


class DatasetPage(BaseModel):
    """Data sets, newest first."""

    items: list[Dataset]
    next_page_token: NextPageToken


class JobPage(BaseModel):
    """Jobs, newest first."""

    items: list[Job]
    next_page_token: NextPageToken


class ArtifactPage(BaseModel):
    """All files of a job, by name."""

    items: list[Artifact]
    next_page_token: NextPageToken


class Health(BaseModel):
    """The process is there."""

    status: str = Field(examples=["ok"])


class Readiness(Health):
    """The service can take uploads and jobs."""

    workers: int = Field(description="That live and take jobs, on all machines.", examples=[1])


class Problem(BaseModel):
    """Problem details, RFC 9457; ``type`` is stable."""

    type: str
    title: str
    status: int
    detail: str
    where: str | None = Field(
        default=None, description="the field, node, array or byte that is wrong, if one is"
    )


def _time(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)
