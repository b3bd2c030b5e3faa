"""What a client may say: the job it asks for, and the values that paths, queries, headers take."""

from collections.abc import Callable
from typing import Annotated, Any

from fastapi import Header, Path, Query, Request
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema

from tieshare.recipe import PenaltyName, Recipe, TaskName
from tieshare_service import ids
from tieshare_service.control.errors import UnknownParameter
from tieshare_service.errors import NoSuchDataset, NoSuchJob, NoSuchModel, NotFound
from tieshare_service.submission import Asked

_DEFAULT = Recipe()
_LARGEST_SEED = 2**32 - 1  # of numpy and scikit-learn
_FROM_DATA = "null: from the size of the data"
_LARGEST_SEQ = 2**63 - 1  # of the database
_MOST_EPOCHS = 100_000
_LARGEST_BATCH = 1_000_000


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

PathModel = Annotated[ModelId, Path(alias="id")]
PathDataset = Annotated[DatasetId, Path(alias="id")]
PathJob = Annotated[JobId, Path(alias="id")]

UploadName = Annotated[
    str | None,
    Query(
        alias="name",
        description="what to call it; its id where this is left out",
        pattern=r"^[^\x00-\x1f\x7f]{1,200}$",
    ),
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
LastSeen = Annotated[int, Query(ge=0, le=_LARGEST_SEQ, description="the last event seen")]
LastEventId = Annotated[
    int | None,
    Header(
        alias="Last-Event-ID",
        ge=0,
        le=_LARGEST_SEQ,
        description="of a broken stream; wins over `after`",
    ),
]


def _whole(value: object) -> object:
    return int(value) if isinstance(value, float) and value.is_integer() else value


# In JSON 3.0 is an integer. The bounds stand next to the type: behind "or null" pydantic would
# write them into the schema under names of its own, which say nothing there.
_WHOLE = BeforeValidator(_whole)
_Epochs = Annotated[int, Field(ge=1, le=_MOST_EPOCHS), _WHOLE]
_Batch = Annotated[int, Field(ge=1, le=_LARGEST_BATCH), _WHOLE]
_Seed = Annotated[int, Field(ge=0, le=_LARGEST_SEED), _WHOLE]


class _Closed(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)


def _exactly_one(schema: dict[str, Any]) -> None:
    schema["oneOf"] = [
        {"required": [given], "properties": {given: {"type": "number"}, other: {"type": "null"}}}
        for given, other in (("max_drop", "min_ratio"), ("min_ratio", "max_drop"))
    ]


class JobTarget(_Closed):
    """Which result is wanted; exactly one field."""

    model_config = ConfigDict(json_schema_extra=_exactly_one)

    max_drop: float | None = Field(
        None,
        ge=0,
        lt=1,
        description="the smallest result that loses at most this much accuracy; 0.01 is one point",
    )
    min_ratio: float | None = Field(
        None, ge=1, description="the most accurate result with at least this compression ratio"
    )


class JobRecipe(_Closed):
    """How to train, tie and choose. Every field has a default that works."""

    target: JobTarget | None = Field(None, description="as beside the recipe; give it once")
    penalty: PenaltyName = Field(_DEFAULT.penalty, description="what training adds to the loss")
    l2: float = Field(_DEFAULT.l2, ge=0, description="weight decay beside it")
    tie: bool = Field(_DEFAULT.tie, description="look for rows that can share one value")
    preference: float = Field(
        _DEFAULT.preference, ge=-1, le=1, description="higher gives more clusters"
    )
    path_epochs: _Epochs | None = Field(_DEFAULT.path_epochs, description=_FROM_DATA)
    retrain_epochs: _Epochs | None = Field(_DEFAULT.retrain_epochs, description=_FROM_DATA)
    batch_size: _Batch | None = Field(_DEFAULT.batch_size, description=_FROM_DATA)
    learning_rate: float | None = Field(
        _DEFAULT.learning_rate, gt=0, description="null: half the largest that a trial stands"
    )
    distill: float = Field(
        _DEFAULT.distill, ge=0, le=1, description="weight of the uploaded model in the loss"
    )
    temperature: float = Field(_DEFAULT.temperature, gt=0, description="of the distillation")
    scale: float = Field(_DEFAULT.scale, gt=0, description="uint8 inputs are multiplied by it")
    task: TaskName = Field(
        _DEFAULT.task, description="auto: integer targets are classes, float targets regression"
    )
    seed: _Seed = _DEFAULT.seed


class JobRequest(_Closed):
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


async def only_known_parameters(request: Request) -> None:
    """Refuse a query parameter that the operation does not have: most often one misspelt."""
    known = {field.alias for field in request.scope["route"].dependant.query_params}
    for name in request.query_params:
        if name not in known:
            have = ", ".join(sorted(known)) or "none"
            raise UnknownParameter(f"no such query parameter; there are: {have}", where=name)
