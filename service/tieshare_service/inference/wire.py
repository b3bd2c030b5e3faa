"""The HTTP body: a JSON document, and behind it the bytes of its binary tensors if it has any."""

from collections.abc import Mapping
from math import prod
from typing import Any

import numpy as np
import orjson

from tieshare_service.inference import fast_json
from tieshare_service.inference.checks import (
    classes_of,
    datatype_of,
    refuse_regions,
    shape_of,
    timeout_of,
)
from tieshare_service.inference.datatypes import BYTES
from tieshare_service.inference.errors import BadBody, BadTensor
from tieshare_service.inference.tensors import to_bytes, to_json
from tieshare_service.inference.types import (
    Data,
    InferHeader,
    InferRequest,
    InferResponse,
    OutputTensor,
    RequestedOutput,
    TensorSpec,
)

_NO_BYTES = memoryview(b"")

# Headers that were read, by themselves and by how many bytes are behind them.
_Sources = list[list[Any] | int]
_HEADERS: dict[tuple[bytes, int], tuple[InferHeader, _Sources]] = {}
_MOST_KEPT, _LONGEST_KEPT = 256, 4096


def parse(body: bytes, header_length: int | None = None) -> InferRequest:
    """Read a request; ``header_length`` bytes of JSON, or all of the body if None.

    Raises BadBody or, naming the input or output, BadTensor.
    """
    if header_length is None:
        return _with_lists(body) or _whole(body, _NO_BYTES)
    if header_length > len(body):
        raise BadBody(
            f"Inference-Header-Content-Length is {header_length}, "
            f"but the body has {len(body)} bytes"
        )
    return _whole(body[:header_length], memoryview(body)[header_length:])


def _with_lists(body: bytes) -> InferRequest | None:
    """Of a request whose inputs all are flat lists of numbers; of any other one None."""
    apart = fast_json.apart(body)
    if apart is None:
        return None
    head, lists = apart
    try:
        header, sources = _header_of(head, 0)
    except (BadBody, BadTensor):  # said better of the body as it came
        return None
    if sources != [[]] * len(lists):
        return None
    found = fast_json.numbers(lists, header.inputs)
    return None if found is None else InferRequest(header, found)


def _whole(head: bytes, tail: memoryview) -> InferRequest:
    """Of a header with lists in it or bytes behind it."""
    header, sources = _header_of(head, len(tail))
    data: list[Data] = []
    used = 0
    for source in sources:
        if isinstance(source, int):
            data.append(tail[used : used + source])
            used += source
        else:
            data.append(source)
    return InferRequest(header, data)


def _header_of(head: bytes, behind: int) -> tuple[InferHeader, _Sources]:
    """The header, and of each input its list or how many of the bytes ``behind`` it are its."""
    key = head, behind
    known = _HEADERS.get(key)
    if known is None:
        known = _read(_object(head), behind)
        if len(head) <= _LONGEST_KEPT and not any(isinstance(it, list) and it for it in known[1]):
            if len(_HEADERS) == _MOST_KEPT:
                _HEADERS.clear()
            _HEADERS[key] = known
    return known


def _read(document: dict[str, Any], behind: int) -> tuple[InferHeader, _Sources]:
    parameters = _parameters(document, "the request")
    binary = _flag(parameters, "binary_data_output", "the request", False)
    inputs, sources, used = [], [], 0
    for item in _items(document, "inputs"):
        tensor, source = _input(item, behind - used)
        inputs.append(tensor)
        sources.append(source)
        used += source if isinstance(source, int) else 0
    if used != behind:
        raise BadBody(f"{behind} bytes follow the JSON, but the inputs declare {used}")
    outputs = [_output(item, binary) for item in _items(document, "outputs", optional=True)]
    identity = document.get("id", "")
    if not isinstance(identity, str):
        raise BadBody("id is not a string")
    timeout = timeout_of(parameters)
    return InferHeader(identity, tuple(inputs), tuple(outputs), binary, timeout), sources


def parse_raw(body: bytes, inputs: Mapping[str, TensorSpec]) -> InferRequest:
    """Read a body that is the bytes of a model's only input; all outputs go out as bytes.

    The shape is the input's; one free size follows from how many bytes there are, and a first one,
    the batch, is 1 where another one is free too. A BYTES input is one element without its length.
    Raises BadTensor where that does not give a shape.
    """
    if len(inputs) != 1:
        raise BadTensor(f"a body without JSON is for models with one input, not {len(inputs)}")
    (spec,) = inputs.values()
    data = memoryview(body)
    if spec.datatype is BYTES:
        data = memoryview(len(body).to_bytes(4, "little") + body)
        shape = tuple(1 if size == -1 else size for size in spec.shape)
    else:
        shape = _shape_of(spec, len(body))
    tensor = TensorSpec(spec.name, spec.datatype, shape)
    return InferRequest(InferHeader("", (tensor,), (), binary=True), (data,))


def _shape_of(spec: TensorSpec, size: int) -> tuple[int, ...]:
    shape = list(spec.shape)
    if shape.count(-1) > 1 and shape[0] == -1:
        shape[0] = 1
    if shape.count(-1) > 1:
        raise BadTensor(f"input {spec.name!r} has more than one free size: send its shape in JSON")
    if -1 in shape:
        of_one = prod(known for known in shape if known != -1) * spec.datatype.dtype.itemsize
        if not of_one or size % of_one:
            raise BadTensor(
                f"input {spec.name!r} has shape {list(spec.shape)} of {spec.datatype.name}, "
                f"a multiple of {of_one} bytes, not {size}"
            )
        shape[shape.index(-1)] = size // of_one
    return tuple(shape)


def parse_index(body: bytes) -> bool:
    """Whether the request for an index asks for the ready versions only; raises BadBody."""
    return bool(body) and _flag(_object(body), "ready", "the request", False)


def parse_object(body: bytes) -> dict[str, Any]:
    """A JSON object, which may be left out; raises BadBody."""
    return _object(body) if body else {}


def parse_parameters(body: bytes) -> dict[str, Any]:
    """Of a request that has nothing else; raises BadBody."""
    return _parameters(parse_object(body), "the request")


def encode(response: InferResponse) -> tuple[bytes, int | None]:
    """The body, and the length of its JSON if bytes follow.

    Raises BadTensor where an output to be written as JSON holds NaN or infinity.
    """
    outputs, tail = [], []
    for output in response.outputs:
        item: dict[str, Any] = {
            "name": output.spec.name,
            "datatype": output.spec.datatype.name,
            "shape": output.array.shape,
        }
        if output.binary:
            data = to_bytes(output.array, output.spec.datatype)
            item["parameters"] = {"binary_data_size": len(data)}
            tail.append(data)
        else:
            item["data"] = to_json(output.array, output.spec.datatype)
        outputs.append(item)
    document: dict[str, Any] = {
        "model_name": response.model,
        "model_version": str(response.version),
        "outputs": outputs,
    }
    if response.id:
        document["id"] = response.id
    head = orjson.dumps(document, option=orjson.OPT_SERIALIZE_NUMPY)
    # orjson writes NaN and infinity as null
    if b"null" in head:
        _check_finite(response.outputs)
    return (b"".join((head, *tail)), len(head)) if tail else (head, None)


def _check_finite(outputs: tuple[OutputTensor, ...]) -> None:
    for output in outputs:
        is_float = output.spec.datatype.dtype.kind == "f"
        if not output.binary and is_float and not np.isfinite(output.array).all():
            raise BadTensor(
                f"output {output.spec.name!r} holds NaN or infinity, "
                "which JSON can't: ask for it with binary_data"
            )


def _object(head: bytes) -> dict[str, Any]:
    try:
        document = orjson.loads(head)
    except orjson.JSONDecodeError as error:
        raise BadBody(f"the request is not JSON: {error}") from None
    if not isinstance(document, dict):
        raise BadBody("the request is not a JSON object")
    return document


def _items(document: dict[str, Any], key: str, *, optional: bool = False) -> list[Any]:
    items = document.get(key, [] if optional else None)
    if not isinstance(items, list):
        raise BadBody(f"{key} is not a list")
    return items


def _name(item: Any, kind: str) -> str:
    name = item.get("name") if isinstance(item, dict) else None
    if not isinstance(name, str):
        raise BadBody(f"an {kind} has no name")
    return name


def _parameters(item: dict[str, Any], of: str) -> dict[str, Any]:
    parameters = item.get("parameters", {})
    if not isinstance(parameters, dict):
        raise BadBody(f"the parameters of {of} are not an object")
    refuse_regions(of, parameters)
    return parameters


def _flag(parameters: dict[str, Any], key: str, of: str, default: bool) -> bool:
    flag = parameters.get(key, default)
    if not isinstance(flag, bool):
        raise BadBody(f"{of}: {key} is neither true nor false")
    return flag


def _input(item: Any, left: int) -> tuple[TensorSpec, list[Any] | int]:
    """The tensor, and its list or how many of the bytes that are ``left`` it takes."""
    name = _name(item, "input")
    of = f"input {name!r}"
    datatype, shape = datatype_of(of, item.get("datatype")), shape_of(of, item.get("shape"))
    parameters = _parameters(item, of)
    if "binary_data_size" not in parameters:
        data = item.get("data")
        if not isinstance(data, list):
            raise BadTensor(f"{of} has neither a list as data nor binary_data_size")
        return TensorSpec(name, datatype, shape), data
    size = parameters["binary_data_size"]
    if "data" in item:
        raise BadTensor(f"{of} has both data and binary_data_size")
    if type(size) is not int or not 0 <= size <= left:
        raise BadTensor(f"{of}: binary_data_size is {size!r}, but {left} bytes are left")
    return TensorSpec(name, datatype, shape), size


def _output(item: Any, binary: bool) -> RequestedOutput:
    name = _name(item, "output")
    of = f"output {name!r}"
    parameters = _parameters(item, of)
    binary = _flag(parameters, "binary_data", of, binary)
    return RequestedOutput(name, binary, classes_of(of, parameters))
