"""Long JSON requests read with their numbers straight into buffers.

The document that comes out is what any JSON parser gives, but for ``data``: a flat list of numbers
is an array. What does not fit that is left to the usual parser, whose refusals say what is wrong.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import simdjson

from tieshare_service.inference.datatypes import BY_NAME
from tieshare_service.inference.types import Array

# below this it is not faster
LEAST = 2048

_KINDS: Mapping[str, tuple[str, np.dtype[Any]]] = {
    "f": ("d", np.dtype(np.float64)),
    "i": ("i", np.dtype(np.int64)),
    "u": ("u", np.dtype(np.uint64)),
}


def read(head: bytes) -> dict[str, Any] | None:
    """The document; None where the usual parser has to read it."""
    try:
        # a parser can't be used again while anything that it found is alive; a new one costs little
        return _document(simdjson.Parser().parse(head), head)
    except (AttributeError, KeyError, RuntimeError, TypeError, ValueError):
        return None


def _document(root: Any, head: bytes) -> dict[str, Any] | None:
    document = {key: _plain(root[key]) for key in root.keys() if key != "inputs"}  # noqa: SIM118
    inputs = [_input(item) for item in root["inputs"]]
    # one for the inputs, two for each, one for the outputs: with more of them, lists are nested
    lists = 1 + 2 * len(inputs) + ("outputs" in document)
    return document | {"inputs": inputs} if _has_at_most(head, lists) else None


def _has_at_most(head: bytes, most: int) -> bool:
    """Whether no more than so many lists begin; searching is much faster than counting."""
    place = -1
    for _ in range(most):
        place = head.find(b"[", place + 1)
        if place < 0:
            return True
    return head.find(b"[", place + 1) < 0


def _input(item: Any) -> dict[str, Any]:
    keys = list(item.keys())
    found = {key: _plain(item[key]) for key in keys if key != "data"}
    if "data" in keys:
        found["data"] = _numbers(item["data"], found["datatype"])
    return found


def _numbers(data: Any, datatype: str) -> Array:
    """Raises TypeError, ValueError or KeyError where it is no list of such numbers."""
    kind, dtype = _KINDS[BY_NAME[datatype].dtype.kind]
    return np.frombuffer(data.as_buffer(of_type=kind), dtype=dtype)


def _plain(value: Any) -> Any:
    if isinstance(value, simdjson.Object):
        return value.as_dict()
    return value.as_list() if isinstance(value, simdjson.Array) else value
