"""What a job may be told. Every field has a default that works."""

import math
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Literal, get_args, get_origin, get_type_hints

from tieshare.errors import RecipeError

PenaltyName = Literal["growl", "oscar", "group_lasso", "l1", "weight_decay"]
TaskName = Literal["auto", "classes", "multilabel", "regression"]


@dataclass(frozen=True)
class Target:
    """Which result of the path is wanted; exactly one field is set.

    ``max_drop``: the smallest result that loses at most this much accuracy (a fraction, 0.01 is
    one point) on held-out data; for regression, whose error rises at most by this fraction.
    ``min_ratio``: the most accurate result with at least this compression ratio.
    """

    max_drop: float | None = None
    min_ratio: float | None = None

    def __post_init__(self) -> None:
        _check_types(self, "target.")
        if (self.max_drop is None) == (self.min_ratio is None):
            raise RecipeError("give exactly one of max_drop and min_ratio", where="target")
        if self.max_drop is not None and not 0 <= self.max_drop < 1:
            raise RecipeError("must be at least 0 and below 1", where="target.max_drop")
        if self.min_ratio is not None and not self.min_ratio >= 1:
            raise RecipeError("must be at least 1", where="target.min_ratio")


@dataclass(frozen=True)
class Recipe:
    """How to train, tie and choose.

    ``penalty``     what stage 1 adds to the loss; growl is piecewise linear decay, the paper's.
    ``l2``          weight decay beside it, per step and unit of learning rate.
    ``tie``         look for rows that can share one value; without it only zeros are found.
    ``preference``  of affinity propagation: higher gives more clusters.
    ``path_epochs``, ``retrain_epochs``, ``batch_size``  None: from the size of the data.
    ``learning_rate``  of stage 1; None: half the largest that a trial stands.
    ``distill``     weight of the uploaded model's outputs in the loss, the rest is the labels'.
    ``scale``       uint8 inputs are multiplied by it.
    ``task``        auto: integer targets are classes, float targets are regression.
    """

    target: Target = field(default_factory=lambda: Target(max_drop=0.01))
    penalty: PenaltyName = "growl"
    l2: float = 0.0
    tie: bool = True
    preference: float = 0.6
    path_epochs: int | None = None
    retrain_epochs: int | None = None
    batch_size: int | None = None
    learning_rate: float | None = None
    distill: float = 0.9
    temperature: float = 4.0
    scale: float = 1 / 255
    task: TaskName = "auto"
    seed: int = 0

    def __post_init__(self) -> None:
        _check_types(self)
        for name, allowed in (("penalty", PenaltyName), ("task", TaskName)):
            if getattr(self, name) not in get_args(allowed):
                raise RecipeError(f"must be one of {', '.join(get_args(allowed))}", where=name)
        for name in ("path_epochs", "retrain_epochs", "batch_size"):
            if getattr(self, name) is not None and getattr(self, name) < 1:
                raise RecipeError("must be at least 1", where=name)
        for name in ("learning_rate", "temperature", "scale"):
            value = getattr(self, name)
            if value is not None and not 0 < value < math.inf:
                raise RecipeError("must be a finite number above 0", where=name)
        if not 0 <= self.distill <= 1:
            raise RecipeError("must be from 0 to 1", where="distill")
        if not 0 <= self.l2 < math.inf:
            raise RecipeError("must be a finite number of at least 0", where="l2")
        if self.seed < 0:
            raise RecipeError("must be at least 0", where="seed")
        if not -1 <= self.preference <= 1:
            raise RecipeError("must be from -1 to 1", where="preference")

    def to_dict(self) -> dict[str, Any]:
        """Plain data, every default filled in."""
        return asdict(self)

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> "Recipe":
        """The way back; an unknown field is a RecipeError that names it."""
        _check_names(cls, data)
        values = dict(data)
        if "target" in values:
            if not isinstance(values["target"], dict):
                raise RecipeError("must be an object", where="target")
            _check_names(Target, values["target"], "target.")
            values["target"] = Target(**values["target"])
        return cls(**values)


def _check_names(kind: type[Target | Recipe], data: dict[str, Any], prefix: str = "") -> None:
    known = {item.name for item in fields(kind)}
    for name in data:
        if name not in known:
            raise RecipeError(
                f"unknown field; known are {', '.join(sorted(known))}", where=prefix + name
            )


def _check_types(options: Target | Recipe, prefix: str = "") -> None:
    """Every value has the type that its field declares; a whole number will do for a float."""
    declared = get_type_hints(type(options))
    for item in fields(options):
        value, wanted = getattr(options, item.name), declared[item.name]
        if get_origin(wanted) is Literal:
            wanted = str
        allowed = (wanted, int) if float in (wanted, *get_args(wanted)) else (wanted,)
        if not isinstance(value, allowed) or (isinstance(value, bool) and wanted is not bool):
            name = getattr(wanted, "__name__", str(wanted))
            raise RecipeError(f"must be of type {name}, not {value!r}", where=prefix + item.name)
