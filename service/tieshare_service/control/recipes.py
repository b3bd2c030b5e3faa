"""What a client may say of how a job works: the library's Recipe and Target, as JSON."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Discriminator, Field, Tag

from tieshare.recipe import Bits, DeviceName, PenaltyName, Recipe, TaskName, TieBy

_DEFAULT = Recipe()
_LARGEST_SEED = 2**32 - 1  # of numpy and scikit-learn
_FROM_DATA = "null: from the size of the data"
_PLANNED = "null: from the sizes of the data and of the network"
_MOST_EPOCHS = 100_000
_LARGEST_BATCH = 1_000_000
_MOST_WORKERS = 1_000
_MOST_PIXELS = 10_000
_LARGEST_FILE = 2**53  # a float of JSON is exact up to here


def _whole(value: object) -> object:
    return int(value) if isinstance(value, float) and value.is_integer() else value


# In JSON 3.0 is an integer. The bounds stand next to the type: behind "or null" pydantic would
# write them into the schema under names of its own, which say nothing there.
WHOLE = BeforeValidator(_whole)
_LayerPenalty = Literal[PenaltyName, "none"]
_Epochs = Annotated[int, Field(ge=1, le=_MOST_EPOCHS), WHOLE]
_Batch = Annotated[int, Field(ge=1, le=_LARGEST_BATCH), WHOLE]
_Workers = Annotated[int, Field(ge=1, le=_MOST_WORKERS), WHOLE]
_Bytes = Annotated[int, Field(ge=1, le=_LARGEST_FILE), WHOLE]
_Seed = Annotated[int, Field(ge=0, le=_LARGEST_SEED), WHOLE]
_Pixels = Annotated[int, Field(ge=0, le=_MOST_PIXELS), WHOLE]
_Row = Annotated[int, Field(ge=0), WHOLE]
_True = Annotated[bool, Field(json_schema_extra={"const": True})]
_TwoOrMore = Field(min_length=2, json_schema_extra={"uniqueItems": True})


class Closed(BaseModel):
    """An object with no other fields, each of the very type that it declares."""

    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)


def _exactly_one(schema: dict[str, Any]) -> None:
    types = {name: "boolean" if name == "front" else "number" for name in schema["properties"]}
    schema["oneOf"] = [
        {
            "required": [given],
            "properties": {
                name: {"type": kind if name == given else "null"} for name, kind in types.items()
            },
        }
        for given in types
    ]


class JobTarget(Closed):
    """Which result is served; exactly one field. The others of the front are kept beside it."""

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
    max_bytes: _Bytes | None = Field(
        None, description="the most accurate result whose packed file has at most so many bytes"
    )
    max_latency_us: float | None = Field(
        None,
        gt=0,
        description="the most accurate result whose shared file answers one sample in so many "
        "microseconds",
    )
    front: _True | None = Field(
        None, description="all results; the one that max_drop 0.01 would pick is served"
    )


class TiedRows(Closed):
    """Rows of one layer that stay equal, numbered from 0."""

    layer: str
    rows: Annotated[list[_Row], _TwoOrMore]


class TiedTensors(Closed):
    """Whole weights of one shape that stay equal, by their names in the ONNX graph."""

    tensors: Annotated[list[str], _TwoOrMore]


def _kind(group: object) -> str:
    names = group if isinstance(group, dict) else dir(group)
    return TIE_TAGS["tensors" in names]


# Which form a group has; pydantic puts it between the place and the field of what is wrong.
TIE_TAGS = ("tied rows", "tied tensors")
_TieGroup = Annotated[
    Annotated[TiedRows, Tag(TIE_TAGS[0])] | Annotated[TiedTensors, Tag(TIE_TAGS[1])],
    Discriminator(_kind),
]


class JobAugment(Closed):
    """How images are changed each time that they are trained on."""

    shift: _Pixels = Field(
        _DEFAULT.augment.shift,
        description="moved by up to so many pixels, up or down and left or right",
    )
    flip: bool = Field(
        _DEFAULT.augment.flip, description="left and right exchanged, half the times"
    )


class JobRecipe(Closed):
    """How to train, tie and choose. Every field has a default that works."""

    target: JobTarget | None = Field(None, description="as beside the recipe; give it once")
    penalty: PenaltyName = Field(_DEFAULT.penalty, description="what training adds to the loss")
    penalties: dict[str, _LayerPenalty] = Field(
        dict(_DEFAULT.penalties),
        description="by the name of a layer, in the place of `penalty`; none leaves it alone",
    )
    l2: float = Field(_DEFAULT.l2, ge=0, description="weight decay beside it")
    tie: bool = Field(_DEFAULT.tie, description="look for rows that can share one value")
    tie_by: TieBy = Field(
        _DEFAULT.tie_by,
        description="affinity: rows that affinity propagation finds alike; path: rows that the "
        "penalty has given one norm, if their directions are alike",
    )
    preference: float = Field(
        _DEFAULT.preference, ge=-1, le=1, description="higher gives more clusters"
    )
    tie_groups: list[_TieGroup] = Field([], description="what stays equal by prior knowledge")
    bits: Bits | None = Field(
        _DEFAULT.bits, description="of a value in the packed file; null: chosen by layer"
    )
    device: DeviceName = Field(
        _DEFAULT.device, description="to train on; auto: a GPU where there is one"
    )
    workers: _Workers = Field(
        _DEFAULT.workers,
        description="at most so many processes share each batch of the path, where jobs run on a "
        "cluster that has room for them",
    )
    path_epochs: _Epochs | None = Field(_DEFAULT.path_epochs, description=_PLANNED)
    retrain_epochs: _Epochs | None = Field(_DEFAULT.retrain_epochs, description=_PLANNED)
    batch_size: _Batch | None = Field(_DEFAULT.batch_size, description=_FROM_DATA)
    learning_rate: float | None = Field(
        _DEFAULT.learning_rate, gt=0, description="null: half the largest that a trial stands"
    )
    distill: float = Field(
        _DEFAULT.distill, ge=0, le=1, description="weight of the uploaded model in the loss"
    )
    temperature: float = Field(_DEFAULT.temperature, gt=0, description="of the distillation")
    augment: JobAugment = Field(
        JobAugment.model_validate({}),
        description="of images; as the uploaded model was trained, if it was so",
    )
    scale: float = Field(_DEFAULT.scale, gt=0, description="uint8 inputs are multiplied by it")
    task: TaskName = Field(
        _DEFAULT.task, description="auto: integer targets are classes, float targets regression"
    )
    seed: _Seed = _DEFAULT.seed
