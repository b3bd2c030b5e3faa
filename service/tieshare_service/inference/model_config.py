"""A model's configuration as Triton's clients read it."""

from typing import Any

from tieshare_service.inference.datatypes import BYTES, Datatype
from tieshare_service.inference.model import Model
from tieshare_service.inference.types import TensorSpec


def config_of(model: Model) -> dict[str, Any]:
    """The ModelConfig message in JSON.

    ``max_batch_size`` is 0: the dimensions of inputs and outputs are whole, a free first one
    included, as in the metadata.
    """
    return {
        "name": model.name,
        "platform": "onnxruntime_onnx",
        "backend": "onnxruntime",
        "version_policy": {"all": {}},
        "max_batch_size": 0,
        "input": [_tensor(spec) | {"format": "FORMAT_NONE"} for spec in model.inputs.values()],
        "output": [_tensor(spec) for spec in model.outputs.values()],
        "instance_group": [{"name": model.name, "kind": "KIND_CPU", "count": 1}],
        "default_model_filename": "model.onnx",
        "parameters": {},
    }


def type_name(datatype: Datatype) -> str:
    """Of the DataType that a configuration has for it."""
    return "TYPE_STRING" if datatype is BYTES else f"TYPE_{datatype.name}"


def _tensor(spec: TensorSpec) -> dict[str, Any]:
    return {
        "name": spec.name,
        "data_type": type_name(spec.datatype),
        "dims": list(spec.shape),
    }
