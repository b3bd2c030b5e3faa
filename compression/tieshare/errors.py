"""Everything that can be wrong with what a caller hands in, and one root for all of it.

    TieshareError
    ├── ModelError                  the ONNX file
    │   ├── NotOnnx                   not a readable ONNX model
    │   ├── ExternalData              weights in other files
    │   ├── UnsupportedOperator       a node that can't be trained
    │   └── UnsupportedModel          nothing to compress, or no output to train
    ├── DataError                   the data set
    │   ├── NotNpz                    not a readable npz archive
    │   ├── BadArray                  one array of it
    │   └── DataMismatch              the data set does not fit the model
    ├── RecipeError                 an option
    ├── MissingExtra                a package that only an extra of tieshare brings
    ├── TwinMismatch                the twin and ONNX Runtime disagree on this model
    └── ExportMismatch              an exported file disagrees with the one it was made from

``type`` is stable: clients may branch on it. ``where`` names the node, array, field or byte.
"""

from typing import ClassVar


class TieshareError(Exception):
    """Something about a model, a data set or a recipe that its owner can mend."""

    type: ClassVar[str] = "error"

    def __init__(self, message: str, *, where: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.where = where


class ModelError(TieshareError):
    """The ONNX file."""

    type = "model-invalid"


class NotOnnx(ModelError):
    """The bytes are not an ONNX model that the ONNX checker accepts."""

    type = "model-not-onnx"


class ExternalData(ModelError):
    """A tensor's values lie in another file."""

    type = "model-external-data"


class UnsupportedOperator(ModelError):
    """A node whose operator, at this opset, can't be trained."""

    type = "model-unsupported-operator"

    def __init__(self, *, node: str, operator: str, opset: int, reason: str) -> None:
        super().__init__(
            f"node {node!r}: operator {operator} at opset {opset} can't be trained: {reason}",
            where=node,
        )
        self.node = node
        self.operator = operator
        self.opset = opset


class UnsupportedModel(ModelError):
    """The graph as a whole: nothing to compress, or no output that a loss can be put on."""

    type = "model-unsupported"


class DataError(TieshareError):
    """The data set."""

    type = "dataset-invalid"


class NotNpz(DataError):
    """The bytes are not an npz archive of plain arrays."""

    type = "dataset-not-npz"


class BadArray(DataError):
    """One array: its dtype, its shape, its values."""

    type = "dataset-bad-array"


class DataMismatch(DataError):
    """Sound by itself, but it does not fit the model."""

    type = "dataset-does-not-fit"


class RecipeError(TieshareError):
    """An option of the recipe or the target."""

    type = "recipe-invalid"


class MissingExtra(TieshareError):
    """What was asked for takes packages that are not installed."""

    type = "extra-missing"

    def __init__(self, feature: str, *, extra: str) -> None:
        super().__init__(f"{feature} takes: pip install 'tieshare[{extra}]'", where=extra)
        self.extra = extra


class TwinMismatch(TieshareError):
    """The twin's outputs differ from ONNX Runtime's: training it would compress another network."""

    type = "twin-mismatch"


class ExportMismatch(TieshareError):
    """An exported file does not compute what the model it was made from computes."""

    type = "export-mismatch"
