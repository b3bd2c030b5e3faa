"""Inference requests and responses as messages."""

from collections.abc import Mapping
from typing import Any

from tieshare_service.inference.checks import (
    classes_of,
    datatype_of,
    refuse_regions,
    shape_of,
    timeout_of,
)
from tieshare_service.inference.datatypes import BYTES
from tieshare_service.inference.errors import BadBody, BadTensor
from tieshare_service.inference.rpc.messages import MESSAGES, chosen
from tieshare_service.inference.tensors import to_bytes
from tieshare_service.inference.types import (
    Data,
    InferHeader,
    InferRequest,
    InferResponse,
    RequestedOutput,
    TensorSpec,
)

_CONTENTS: Mapping[str, str] = {
    "BOOL": "bool_contents",
    "INT8": "int_contents",
    "INT16": "int_contents",
    "INT32": "int_contents",
    "INT64": "int64_contents",
    "UINT8": "uint_contents",
    "UINT16": "uint_contents",
    "UINT32": "uint_contents",
    "UINT64": "uint64_contents",
    "FP32": "fp32_contents",
    "FP64": "fp64_contents",
    "BYTES": "bytes_contents",
}


def parse(message: Any) -> InferRequest:
    """Read a ModelInferRequest; raises BadBody or, naming the input or output, BadTensor."""
    raw = message.raw_input_contents
    if raw and len(raw) != len(message.inputs):
        raise BadBody(f"{len(raw)} raw_input_contents come with {len(message.inputs)} inputs")
    inputs = tuple(map(_input, message.inputs))
    data: list[Data] = (
        [memoryview(part) for part in raw] if raw else list(map(_listed, message.inputs, inputs))
    )
    outputs = tuple(map(_output, message.outputs))
    timeout = timeout_of(_plain(message.parameters))
    return InferRequest(InferHeader(message.id, inputs, outputs, True, timeout), data)


def encode(response: InferResponse) -> Any:
    """A ModelInferResponse; every output is in raw_output_contents."""
    message = MESSAGES["ModelInferResponse"](
        model_name=response.model, model_version=str(response.version), id=response.id
    )
    for output in response.outputs:
        datatype = output.spec.datatype
        message.outputs.add(name=output.spec.name, datatype=datatype.name, shape=output.array.shape)
        message.raw_output_contents.append(to_bytes(output.array, datatype))
    return message


def _input(item: Any) -> TensorSpec:
    of = f"input {item.name!r}"
    datatype, shape = datatype_of(of, item.datatype), shape_of(of, list(item.shape))
    refuse_regions(of, item.parameters)
    return TensorSpec(item.name, datatype, shape)


def _listed(item: Any, tensor: TensorSpec) -> list[Any]:
    of, datatype = f"input {tensor.name!r}", tensor.datatype
    field = _CONTENTS.get(datatype.name)
    if field is None:
        raise BadTensor(f"{of}: {datatype.name} comes in raw_input_contents alone")
    values = list(getattr(item.contents, field))
    if datatype is not BYTES:
        return values
    try:
        return [value.decode() for value in values]
    except UnicodeDecodeError:
        raise BadTensor(f"{of}: an element is not UTF-8") from None


def _output(item: Any) -> RequestedOutput:
    of = f"output {item.name!r}"
    refuse_regions(of, item.parameters)
    return RequestedOutput(item.name, True, classes_of(of, _plain(item.parameters)))


def _plain(parameters: Mapping[str, Any]) -> dict[str, Any]:
    return {name: chosen(value) for name, value in parameters.items()}
