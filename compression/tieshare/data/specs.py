"""What a model takes and gives, as far as its data set must know."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

Axes = tuple[int | str | None, ...]
"""A length for each axis of a sample; a name or None where the model leaves it free."""

_FLOATS = ("float16", "float32", "float64")


@dataclass(frozen=True)
class InputSpec:
    """``dtype`` is numpy's name. ``axes``: None where the model knows no axis of samples.

    ``table``: length of the table that the input's integers are looked up in, None for others.
    """

    name: str
    dtype: str
    axes: Axes | None
    table: int | None


@dataclass(frozen=True)
class OutputSpec:
    """``axes``: None where the shape is not known. ``axis``: of one sample, the classes' if known.

    Only outputs of floats have one: a target can be put on nothing else.
    """

    name: str
    axes: Axes | None
    axis: int | None


@dataclass(frozen=True)
class ModelSpec:
    """Inputs and outputs in the model's order."""

    inputs: tuple[InputSpec, ...]
    outputs: tuple[OutputSpec, ...]

    @classmethod
    def from_card(cls, card: Mapping[str, Any]) -> "ModelSpec":
        """From the plain form of a model's card, as ``dataclasses.asdict`` and JSON leave it.

        A card shows a shape that is not known as one without axes. Of several outputs only those
        of known shape count.
        """
        tables, axes = card.get("tables", {}), card.get("axes", {})
        outputs = []
        for item in card["outputs"]:
            if item["dtype"] in _FLOATS:
                axis = axes.get(item["name"])
                of_sample = None if axis is None else axis - 1
                outputs.append(OutputSpec(item["name"], _of_sample(item["shape"]), of_sample))
        known = tuple(item for item in outputs if item.axes is not None)
        return cls(
            tuple(
                InputSpec(i["name"], i["dtype"], _of_sample(i["shape"]), tables.get(i["name"]))
                for i in card["inputs"]
            ),
            tuple(outputs) if len(outputs) == 1 else known,
        )


def _of_sample(shape: tuple[int | str | None, ...]) -> Axes | None:
    return tuple(shape[1:]) if shape else None
