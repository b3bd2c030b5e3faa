"""What a job may be told. Every field has a default that works."""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from functools import reduce
from operator import or_
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from tieshare.errors import RecipeError
from tieshare.tie_groups import TieGroup, check_apart, read_tie_groups

PenaltyName = Literal["growl", "oscar", "slope", "group_lasso", "l1", "weight_decay"]
LayerPenalty = PenaltyName | Literal["none"]
TieBy = Literal["affinity", "path"]
Bits = Literal[4, 8, 16]
DeviceName = Literal["auto", "cpu", "cuda"]
TaskName = Literal["auto", "classes", "multilabel", "regression"]


@dataclass(frozen=True)
class Target:
    """Which point of the front is the result. Exactly one field is set.

    ``max_drop``        the smallest that loses at most this much accuracy (a fraction, 0.01 is
                        one point) on held-out data; of regression the error rises at most by
                        this fraction.
    ``min_ratio``       the most accurate with at least this compression ratio.
    ``max_bytes``       the most accurate whose packed file has at most so many bytes.
    ``max_latency_us``  the most accurate whose shared file takes at most so many microseconds
                        for one sample, on one thread of the machine that runs the job.
    ``front``           true: all points; the one that ``max_drop`` 0.01 would pick is served.
    """

    max_drop: float | None = None
    min_ratio: float | None = None
    max_bytes: int | None = None
    max_latency_us: float | None = None
    front: bool | None = None

    def __post_init__(self) -> None:
        _check_types(self, "target.")
        if self.front is False:
            raise RecipeError("must be true, or left out", where="target.front")
        asked = [item.name for item in fields(self) if getattr(self, item.name) is not None]
        if len(asked) != 1:
            names = ", ".join(item.name for item in fields(self))
            raise RecipeError(f"give exactly one of {names}", where="target")
        if self.max_drop is not None and not 0 <= self.max_drop < 1:
            raise RecipeError("must be at least 0 and below 1", where="target.max_drop")
        if self.min_ratio is not None and not self.min_ratio >= 1:
            raise RecipeError("must be at least 1", where="target.min_ratio")
        if self.max_bytes is not None and self.max_bytes < 1:
            raise RecipeError("must be at least 1", where="target.max_bytes")
        if self.max_latency_us is not None and not 0 < self.max_latency_us < math.inf:
            raise RecipeError("must be a finite number above 0", where="target.max_latency_us")

    @property
    def asked(self) -> tuple[str, float]:
        """The field that is set, and its value."""
        values = ((item.name, getattr(self, item.name)) for item in fields(self))
        return next((name, float(value)) for name, value in values if value is not None)


@dataclass(frozen=True)
class Augment:
    """How images are changed each time that they are trained on.

    ``shift``  moved by up to so many pixels, up or down and left or right.
    ``flip``   left and right exchanged, half the times.
    """

    shift: int = 0
    flip: bool = False

    def __post_init__(self) -> None:
        _check_types(self, "augment.")
        if self.shift < 0:
            raise RecipeError("must be at least 0", where="augment.shift")

    @property
    def any(self) -> bool:
        """Whether it changes anything."""
        return bool(self.shift) or self.flip


@dataclass(frozen=True)
class Recipe:
    """How to train, tie and choose.

    ``penalty``     what stage 1 adds to the loss; growl is piecewise linear decay, the paper's.
    ``penalties``   by layer, in the place of ``penalty``; "none" leaves a layer alone. Of layers
                    that read the same units, one name holds for all.
    ``l2``          weight decay beside it, per step and unit of learning rate.
    ``tie``         look for rows that can share one value; without it only zeros are found.
    ``tie_by``      affinity: rows that affinity propagation finds alike; path: rows that the
                    penalty has given one norm, if their directions are alike.
    ``preference``  how alike, from -1 to 1: higher gives more clusters.
    ``tie_groups``  parameters that stay equal by prior knowledge, bit for bit.
    ``bits``        of a value in the packed file; None: chosen by layer.
    ``device``      to train on; auto: a GPU where there is one.
    ``workers``     at most so many processes share each batch of stage 1, on a cluster that has
                    room for them.
    ``path_epochs``, ``retrain_epochs``, ``batch_size``  None: as ``plan`` says.
    ``learning_rate``  of stage 1, with batch norm at its beginning; None: half the largest that a
                    trial stands.
    ``distill``     weight of the uploaded model's outputs in the loss, the rest is the labels'.
    ``augment``     images are changed by it while training, as they were for the uploaded model.
    ``scale``       uint8 inputs are multiplied by it.
    ``task``        auto: integer targets are classes, float targets are regression.
    """

    target: Target = field(default_factory=lambda: Target(max_drop=0.01))
    penalty: PenaltyName = "growl"
    penalties: Mapping[str, LayerPenalty] = field(default_factory=dict)
    l2: float = 0.0
    tie: bool = True
    tie_by: TieBy = "affinity"
    preference: float = 0.6
    tie_groups: tuple[TieGroup, ...] = ()
    bits: Bits | None = None
    device: DeviceName = "auto"
    workers: int = 1
    path_epochs: int | None = None
    retrain_epochs: int | None = None
    batch_size: int | None = None
    learning_rate: float | None = None
    distill: float = 0.9
    temperature: float = 4.0
    augment: Augment = field(default_factory=Augment)
    scale: float = 1 / 255
    task: TaskName = "auto"
    seed: int = 0

    def __post_init__(self) -> None:
        _check_types(self)
        for name, allowed in _CHOICES.items():
            _check_choice(getattr(self, name), allowed, name)
        for layer, penalty in self.penalties.items():
            _check_choice(penalty, (*_CHOICES["penalty"], "none"), f"penalties.{layer}")
        check_apart(self.tie_groups)
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
        if self.workers < 1:
            raise RecipeError("must be at least 1", where="workers")
        if self.seed < 0:
            raise RecipeError("must be at least 0", where="seed")
        if not -1 <= self.preference <= 1:
            raise RecipeError("must be from -1 to 1", where="preference")

    def to_dict(self) -> dict[str, Any]:
        """Plain data, every default filled in."""
        plain: dict[str, Any] = _with_lists(asdict(self))
        return plain

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> "Recipe":
        """The way back; an unknown field is a RecipeError that names it."""
        _check_names(cls, data)
        values = dict(data)
        for name, kind in (("target", Target), ("augment", Augment)):
            if name in values:
                if not isinstance(values[name], dict):
                    raise RecipeError("must be an object", where=name)
                _check_names(kind, values[name], f"{name}.")
                values[name] = kind(**values[name])
        if "tie_groups" in values:
            values["tie_groups"] = read_tie_groups(values["tie_groups"])
        return cls(**values)


_Options = Target | Augment | Recipe

_CHOICES: Mapping[str, tuple[object, ...]] = {
    "penalty": get_args(PenaltyName),
    "tie_by": get_args(TieBy),
    "bits": (*get_args(Bits), None),
    "device": get_args(DeviceName),
    "task": get_args(TaskName),
}


def _check_choice(value: object, allowed: tuple[object, ...], where: str) -> None:
    if value not in allowed:
        raise RecipeError(f"must be one of {', '.join(map(str, allowed))}", where=where)


def _check_names(kind: "type[_Options]", data: dict[str, Any], prefix: str = "") -> None:
    known = {item.name for item in fields(kind)}
    for name in data:
        if name not in known:
            raise RecipeError(
                f"unknown field; known are {', '.join(sorted(known))}", where=prefix + name
            )


def _check_types(options: "_Options", prefix: str = "") -> None:
    """Every value has the type that its field declares; a whole number will do for a float."""
    declared = get_type_hints(type(options))
    for item in fields(options):
        value, wanted = getattr(options, item.name), declared[item.name]
        wanted = _plain(wanted)
        allowed = (wanted, int) if float in (wanted, *get_args(wanted)) else (wanted,)
        if not isinstance(value, allowed) or (
            isinstance(value, bool) and bool not in (wanted, *get_args(wanted))
        ):
            name = getattr(wanted, "__name__", str(wanted))
            raise RecipeError(f"must be of type {name}, not {value!r}", where=prefix + item.name)


def _plain(wanted: Any) -> Any:
    """The type that a value of a declared type has, whatever it holds."""
    origin, inner = get_origin(wanted), get_args(wanted)
    if origin is Literal:
        return type(inner[0])
    if origin in (Union, UnionType):
        return reduce(or_, map(_plain, inner))
    return origin or wanted


def _with_lists(value: Any) -> Any:
    """The same with lists for tuples, as JSON has them."""
    if isinstance(value, dict):
        return {name: _with_lists(item) for name, item in value.items()}
    return [_with_lists(item) for item in value] if isinstance(value, tuple) else value
