"""Uploaded files as the API describes them. Fields that a newer service adds are ignored."""

from dataclasses import dataclass
from datetime import datetime

from tieshare_service.client.records import Json


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
            **_upload(data),
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
            **_upload(data),
            samples=data["samples"],
            arrays=tuple(map(Tensor.from_json, data["arrays"])),
        )


def _upload(data: Json) -> Json:
    """The fields that models and data sets share."""
    plain = {name: data[name] for name in ("id", "name", "sha256", "bytes")}
    return plain | {"created_at": datetime.fromisoformat(data["created_at"])}
