"""What a client may say: the job it asks for, and the values that paths, queries, headers take."""

from collections.abc import Callable
from typing import Annotated

from fastapi import Header, Path, Query, Request
from pydantic import AfterValidator, Field, WithJsonSchema

from tieshare_service import ids
from tieshare_service.blobs import Kind
from tieshare_service.control.errors import UnknownParameter
from tieshare_service.control.recipes import WHOLE, Closed, JobRecipe, JobTarget
from tieshare_service.errors import NoSuchDataset, NoSuchJob, NoSuchModel, NotFound
from tieshare_service.partial import NoSuchUpload
from tieshare_service.publish import Point, ServedFile
from tieshare_service.submission import Asked

_LARGEST = 2**63 - 1  # of the database
_MOST_POINTS = 1_000_000


def _known(kind: ids.Kind, missing: Callable[[str], NotFound]) -> AfterValidator:
    """Text without the shape of an id names nothing: it is not found, like any other."""

    def check(text: str) -> str:
        if not ids.is_id(kind, text):
            raise missing(text)
        return text

    return AfterValidator(check)


def _shape(kind: ids.Kind) -> WithJsonSchema:
    return WithJsonSchema({"type": "string", "pattern": f"^{kind}_[a-z2-7]{{{ids.CHARACTERS}}}$"})


ModelId = Annotated[str, _known("mdl", NoSuchModel), _shape("mdl")]
DatasetId = Annotated[str, _known("dat", NoSuchDataset), _shape("dat")]
JobId = Annotated[str, _known("job", NoSuchJob), _shape("job")]

UploadId = Annotated[str, _known("upl", NoSuchUpload), _shape("upl")]

PathModel = Annotated[ModelId, Path(alias="id")]
PathDataset = Annotated[DatasetId, Path(alias="id")]
PathJob = Annotated[JobId, Path(alias="id")]
PathUpload = Annotated[UploadId, Path(alias="id")]

UploadName = Annotated[
    str | None,
    Query(
        alias="name",
        description="what to call it; its id where this is left out",
        pattern=r"^[^\x00-\x1f\x7f]{1,200}$",
    ),
]
UploadKind = Annotated[Kind, Query(alias="kind", description="what the file is")]
UploadComplete = Annotated[
    str,
    Header(
        alias="Upload-Complete",
        description="`?1` with the last bytes, `?0` where more will come",
        pattern=r"^\?[01]$",
    ),
]
UploadOffset = Annotated[
    int, Header(alias="Upload-Offset", ge=0, le=_LARGEST, description="where these bytes belong")
]
UploadLength = Annotated[
    int | None,
    Header(alias="Upload-Length", ge=0, le=_LARGEST, description="bytes of the whole file"),
]
PageSize = Annotated[int, Query(ge=1, le=1000)]
PageToken = Annotated[
    str | None, Query(description="next_page_token of the page before", max_length=100)
]
IdempotencyKey = Annotated[
    str | None,
    Header(
        alias="Idempotency-Key",
        description="the same key with the same request gives the same job, however often",
        pattern=r"^[\x21-\x7e]{1,255}$",
    ),
]
LastSeen = Annotated[int, Query(ge=0, le=_LARGEST, description="the last event seen")]
LastEventId = Annotated[
    int | None,
    Header(
        alias="Last-Event-ID",
        ge=0,
        le=_LARGEST,
        description="of a broken stream; wins over `after`",
    ),
]


class JobRequest(Closed):
    """Two ids are enough."""

    model: ModelId
    dataset: DatasetId
    name: str | None = Field(
        None,
        pattern=r"^[A-Za-z0-9_]([A-Za-z0-9._-]{0,98}[A-Za-z0-9_])?$",
        description="under which the result is served; the model's where this is left out",
    )
    target: JobTarget | None = None
    recipe: JobRecipe | None = None

    def to_domain(self) -> Asked:
        """The same without HTTP."""
        given = self.model_dump(exclude_unset=True)
        return Asked(self.model, self.dataset, self.name, given.get("recipe"), given.get("target"))


class PublishRequest(Closed):
    """Which result of a job to put into service."""

    point: Annotated[int, Field(ge=1, le=_MOST_POINTS), WHOLE] = Field(
        description="its number in the front"
    )
    file: ServedFile = Field(
        "shared", description="shared: the fastest form; packed: the one with the fewest bytes"
    )

    def to_domain(self) -> Point:
        """The same without HTTP."""
        return Point(self.point, self.file)


async def only_known_parameters(request: Request) -> None:
    """Refuse a query parameter that the operation does not have: most often one misspelt."""
    known = {field.alias for field in request.scope["route"].dependant.query_params}
    for name in request.query_params:
        if name not in known:
            have = ", ".join(sorted(known)) or "none"
            raise UnknownParameter(f"no such query parameter; there are: {have}", where=name)
