"""How samples travel in a request and scores in its answer."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import orjson
from benchmarks.serving_models import Array

Headers = tuple[tuple[str, str], ...]
_JSON = (("Content-Type", "application/json"),)


@dataclass(frozen=True)
class Encoding:
    """``encode`` takes the input's name and samples; ``decode`` an answer and how many numbers."""

    name: str
    encode: Callable[[str, Array], tuple[Headers, bytes]]
    decode: Callable[[bytes, int], Array]


def _tensor(name: str, x: Array, **rest: Any) -> dict[str, Any]:
    return {"name": name, "datatype": "FP32", "shape": x.shape, **rest}


def _json(name: str, x: Array) -> tuple[Headers, bytes]:
    inputs = [_tensor(name, x, data=x.ravel())]
    return _JSON, orjson.dumps({"inputs": inputs}, option=orjson.OPT_SERIALIZE_NUMPY)


def _from_json(answer: bytes, _count: int) -> Array:
    values = orjson.loads(answer)["outputs"][0]["data"]
    return np.asarray(values, dtype=np.float32).ravel()


def _binary(name: str, x: Array) -> tuple[Headers, bytes]:
    inputs = [_tensor(name, x, parameters={"binary_data_size": x.nbytes})]
    head = orjson.dumps({"inputs": inputs, "parameters": {"binary_data_output": True}})
    headers = (
        ("Content-Type", "application/octet-stream"),
        ("Inference-Header-Content-Length", str(len(head))),
    )
    return headers, head + x.tobytes()


def _from_binary(answer: bytes, count: int) -> Array:
    return np.frombuffer(answer[-4 * count :], dtype=np.float32)


def _plain(name: str, x: Array) -> tuple[Headers, bytes]:
    return _JSON, orjson.dumps({name: x}, option=orjson.OPT_SERIALIZE_NUMPY)


def _from_plain(answer: bytes, _count: int) -> Array:
    document = orjson.loads(answer)
    values = document["y"] if isinstance(document, dict) else document
    return np.asarray(values, dtype=np.float32).ravel()


JSON = Encoding("JSON", _json, _from_json)
"""Of the Open Inference Protocol, with flat numbers."""

BINARY = Encoding("binary", _binary, _from_binary)
"""Its binary tensors, both ways."""

PLAIN = Encoding("JSON", _plain, _from_plain)
"""Nested lists under the input's name, and under ``y`` or bare in the answer."""
