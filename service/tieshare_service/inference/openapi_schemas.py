"""The schemas of the OpenAPI document and their examples, which the tests execute.

The examples speak to a model ``digits`` with one input, ``x``: FP32 [-1, 4], and one output,
``y``: FP32 [-1, 2].
"""

from typing import Any

from tieshare_service.inference.datatypes import TABLE

_TEXT: dict[str, Any] = {"type": "string"}
_BOOLEAN: dict[str, Any] = {"type": "boolean"}
_SIZE: dict[str, Any] = {"type": "integer", "minimum": 0}
_SHAPE: dict[str, Any] = {"type": "array", "items": _SIZE}
_DATATYPE: dict[str, Any] = {"type": "string", "enum": [datatype.name for datatype in TABLE]}
_DATA: dict[str, Any] = {"type": "array", "items": {}}


def _object(required: dict[str, Any], optional: dict[str, Any] | None = None) -> dict[str, Any]:
    return {
        "type": "object",
        "required": list(required),
        "properties": required | (optional or {}),
    }


def _list(name: str) -> dict[str, Any]:
    return {"type": "array", "items": {"$ref": f"#/components/schemas/{name}"}}


SCHEMAS: dict[str, dict[str, Any]] = {
    "Error": _object({"error": _TEXT}),
    "AnyObject": {"type": "object"},
    "Server": _object(
        {"name": _TEXT, "version": _TEXT, "extensions": {"type": "array", "items": _TEXT}}
    ),
    "Live": _object({"live": _BOOLEAN}),
    "Ready": _object({"ready": _BOOLEAN}),
    "ModelReady": _object({"name": _TEXT, "ready": _BOOLEAN}),
    "TensorSpec": _object(
        {
            "name": _TEXT,
            "datatype": _DATATYPE,
            "shape": {"type": "array", "items": {"type": "integer", "minimum": -1}},
        }
    ),
    "Model": _object(
        {
            "name": _TEXT,
            "versions": {"type": "array", "items": _TEXT},
            "platform": _TEXT,
            "inputs": _list("TensorSpec"),
            "outputs": _list("TensorSpec"),
        }
    ),
    "Config": _object({"name": _TEXT, "platform": _TEXT, "max_batch_size": _SIZE}),
    "Duration": _object({"count": _SIZE, "ns": _SIZE}),
    "Statistics": _object({"model_stats": _list("ModelStatistics")}),
    "ModelStatistics": _object(
        {
            "name": _TEXT,
            "version": _TEXT,
            "last_inference": _SIZE,
            "inference_count": _SIZE,
            "execution_count": _SIZE,
            "inference_stats": {
                "type": "object",
                "additionalProperties": {"$ref": "#/components/schemas/Duration"},
            },
            "batch_stats": {"type": "array", "items": _object({"batch_size": _SIZE})},
        }
    ),
    "Regions": {"type": "array", "items": {}},
    "IndexRequest": _object({}, {"ready": _BOOLEAN}),
    "Index": {
        "type": "array",
        "items": _object(
            {
                "name": _TEXT,
                "version": _TEXT,
                "state": {"type": "string", "enum": ["READY", "LOADING", "UNAVAILABLE"]},
                "reason": _TEXT,
            }
        ),
    },
    "InferInput": _object(
        {"name": _TEXT, "datatype": _DATATYPE, "shape": _SHAPE},
        {"data": _DATA, "parameters": _object({}, {"binary_data_size": _SIZE})},
    ),
    "RequestedOutput": _object(
        {"name": _TEXT},
        {"parameters": _object({}, {"binary_data": _BOOLEAN, "classification": _SIZE})},
    ),
    "InferRequest": _object(
        {"inputs": _list("InferInput")},
        {
            "id": _TEXT,
            "outputs": _list("RequestedOutput"),
            "parameters": _object({}, {"binary_data_output": _BOOLEAN}),
        },
    ),
    "InferOutput": _object(
        {"name": _TEXT, "datatype": _DATATYPE, "shape": _SHAPE},
        {"data": _DATA, "parameters": _object({}, {"binary_data_size": _SIZE})},
    ),
    "InferResponse": _object(
        {"model_name": _TEXT, "model_version": _TEXT, "outputs": _list("InferOutput")},
        {"id": _TEXT},
    ),
}

EXAMPLES: dict[str, Any] = {
    "IndexRequest": {"ready": True},
    "InferRequest": {
        "id": "one",
        "inputs": [
            {"name": "x", "datatype": "FP32", "shape": [1, 4], "data": [0.5, -1.0, 2.0, 0.25]}
        ],
        "outputs": [{"name": "y"}],
    },
    "Model": {
        "name": "digits",
        "versions": ["1"],
        "platform": "onnxruntime_onnx",
        "inputs": [{"name": "x", "datatype": "FP32", "shape": [-1, 4]}],
        "outputs": [{"name": "y", "datatype": "FP32", "shape": [-1, 2]}],
    },
    "ModelReady": {"name": "digits", "ready": True},
    "Live": {"live": True},
    "Ready": {"ready": True},
    "Error": {"error": "input 'x' is FP32, not INT64"},
}
