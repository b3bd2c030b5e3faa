"""JSON requests with their numbers taken apart, which go straight into buffers.

Without its numbers a request is its header: the same for many requests, so that it need not be
read again. What does not fit this is left to a usual parser, whose refusals say what is wrong.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
import simdjson

from tieshare_service.inference.types import Array, TensorSpec

_DATA = b'"data"'
_PARSER = simdjson.Parser()  # of one thread, the event loop's
_KEPT = 1 << 20  # of a longer list it would keep the memory
_KINDS: Mapping[str, tuple[Literal["d", "i", "u"], np.dtype[Any]]] = {
    "f": ("d", np.dtype(np.float64)),
    "i": ("i", np.dtype(np.int64)),
    "u": ("u", np.dtype(np.uint64)),
}


def apart(body: bytes) -> tuple[bytes, list[bytes]] | None:
    """The request with empty lists as ``data``, and those lists; None where that is not certain.

    Without a backslash no string holds a quote: then the name of a list is what it looks like. A
    list ends at the first bracket that closes; that it holds nothing but numbers shows as it is
    read.
    """
    rest, lists, start, at = [], [], 0, 0
    while (at := body.find(_DATA, at)) >= 0:
        at += len(_DATA)
        begin = body.find(b"[", at)
        end = body.find(b"]", begin)
        if begin < 0 or end < 0:
            return None
        between = body[at:begin].strip()
        if between == b":":
            rest.append(body[start : begin + 1])
            lists.append(body[begin : end + 1])
            start = at = end
        elif between.startswith(b":"):
            return None
    header = b"".join((*rest, body[start:]))
    return None if not lists or b"\\" in header else (header, lists)


def numbers(lists: Sequence[bytes], inputs: Sequence[TensorSpec]) -> list[Array] | None:
    """What each list holds; None where it is not of numbers such as the input's."""
    try:
        return [_numbers(*pair) for pair in zip(lists, inputs, strict=True)]
    except (KeyError, RuntimeError, TypeError, ValueError):
        return None


def _numbers(data: bytes, tensor: TensorSpec) -> Array:
    kind, dtype = _KINDS[tensor.datatype.dtype.kind]
    parser = _PARSER if len(data) <= _KEPT else simdjson.Parser()
    found = parser.parse(data)
    if not isinstance(found, simdjson.Array):
        raise TypeError("not a list")
    return np.frombuffer(found.as_buffer(of_type=kind), dtype=dtype)
