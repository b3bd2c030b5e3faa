"""The messages of the protocol's gRPC form, made from one table.

A field is "TYPE NAME NUMBER", with * before the type where it repeats, and "map" where it is one
from strings to the type. Fields behind "one of" exclude each other. Names and numbers are those of
the Open Inference Protocol and of Triton's extensions; fields that nobody here reads or writes are
left out, as protobuf passes over what it does not know. The pool is our own: a client library may
have the same messages in the same process.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from google.protobuf.descriptor_pb2 import (
    DescriptorProto,
    FieldDescriptorProto,
    FileDescriptorProto,
)
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message_factory import GetMessageClass

PACKAGE = "inference"
_ONE_OF = "parameter_choice"


TABLE: Mapping[str, str] = {
    "ServerLiveRequest": "",
    "ServerLiveResponse": "bool live 1",
    "ServerReadyRequest": "",
    "ServerReadyResponse": "bool ready 1",
    "ModelReadyRequest": "string name 1, string version 2",
    "ModelReadyResponse": "bool ready 1",
    "ServerMetadataRequest": "",
    "ServerMetadataResponse": "string name 1, string version 2, *string extensions 3",
    "ModelMetadataRequest": "string name 1, string version 2",
    "TensorMetadata": "string name 1, string datatype 2, *int64 shape 3",
    "ModelMetadataResponse": "string name 1, *string versions 2, string platform 3, "
    "*TensorMetadata inputs 4, *TensorMetadata outputs 5",
    "InferParameter": "one of, bool bool_param 1, int64 int64_param 2, string string_param 3, "
    "double double_param 4, uint64 uint64_param 5",
    "InferTensorContents": "*bool bool_contents 1, *int32 int_contents 2, *int64 int64_contents 3, "
    "*uint32 uint_contents 4, *uint64 uint64_contents 5, *float fp32_contents 6, "
    "*double fp64_contents 7, *bytes bytes_contents 8",
    "InferInputTensor": "string name 1, string datatype 2, *int64 shape 3, "
    "map InferParameter parameters 4, InferTensorContents contents 5",
    "InferRequestedOutputTensor": "string name 1, map InferParameter parameters 2",
    "ModelInferRequest": "string model_name 1, string model_version 2, string id 3, "
    "map InferParameter parameters 4, *InferInputTensor inputs 5, "
    "*InferRequestedOutputTensor outputs 6, *bytes raw_input_contents 7",
    "InferOutputTensor": "string name 1, string datatype 2, *int64 shape 3, "
    "map InferParameter parameters 4",
    "ModelInferResponse": "string model_name 1, string model_version 2, string id 3, "
    "map InferParameter parameters 4, *InferOutputTensor outputs 5, *bytes raw_output_contents 6",
    "ModelStreamInferResponse": "string error_message 1, ModelInferResponse infer_response 2",
    "ModelConfigRequest": "string name 1, string version 2",
    "ModelInput": "string name 1, int32 data_type 2, int32 format 3, *int64 dims 4",
    "ModelOutput": "string name 1, int32 data_type 2, *int64 dims 3",
    "ModelInstanceGroup": "string name 1, int32 kind 4, int32 count 2",
    "ModelConfig": "string name 1, string platform 2, string backend 17, int32 max_batch_size 4, "
    "*ModelInput input 5, *ModelOutput output 6, *ModelInstanceGroup instance_group 7, "
    "string default_model_filename 8",
    "ModelConfigResponse": "ModelConfig config 1",
    "ModelStatisticsRequest": "string name 1, string version 2",
    "StatisticDuration": "uint64 count 1, uint64 ns 2",
    "InferStatistics": "StatisticDuration success 1, StatisticDuration fail 2, "
    "StatisticDuration queue 3, StatisticDuration compute_input 4, "
    "StatisticDuration compute_infer 5, StatisticDuration compute_output 6",
    "InferBatchStatistics": "uint64 batch_size 1, StatisticDuration compute_input 2, "
    "StatisticDuration compute_infer 3, StatisticDuration compute_output 4",
    "ModelStatistics": "string name 1, string version 2, uint64 last_inference 3, "
    "uint64 inference_count 4, uint64 execution_count 5, InferStatistics inference_stats 6, "
    "*InferBatchStatistics batch_stats 7",
    "ModelStatisticsResponse": "*ModelStatistics model_stats 1",
    "ModelRepositoryParameter": "one of, bool bool_param 1, int64 int64_param 2, "
    "string string_param 3, bytes bytes_param 4",
    "RepositoryIndexRequest": "string repository_name 1, bool ready 2",
    "ModelIndex": "string name 1, string version 2, string state 3, string reason 4",
    "RepositoryIndexResponse": "*ModelIndex models 1",
    "RepositoryModelLoadRequest": "string repository_name 1, string model_name 2, "
    "map ModelRepositoryParameter parameters 3",
    "RepositoryModelLoadResponse": "",
    "RepositoryModelUnloadRequest": "string repository_name 1, string model_name 2, "
    "map ModelRepositoryParameter parameters 3",
    "RepositoryModelUnloadResponse": "",
    "RegionStatus": "string name 1",
    "SystemSharedMemoryStatusRequest": "string name 1",
    "SystemSharedMemoryStatusResponse": "map RegionStatus regions 1",
    "SystemSharedMemoryRegisterRequest": "string name 1",
    "SystemSharedMemoryRegisterResponse": "",
    "SystemSharedMemoryUnregisterRequest": "string name 1",
    "SystemSharedMemoryUnregisterResponse": "",
    "CudaSharedMemoryStatusRequest": "string name 1",
    "CudaSharedMemoryStatusResponse": "map RegionStatus regions 1",
    "CudaSharedMemoryRegisterRequest": "string name 1",
    "CudaSharedMemoryRegisterResponse": "",
    "CudaSharedMemoryUnregisterRequest": "string name 1",
    "CudaSharedMemoryUnregisterResponse": "",
    "TraceSettingValue": "*string value 1",
    "TraceSettingRequest": "map TraceSettingValue settings 1, string model_name 2",
    "TraceSettingResponse": "map TraceSettingValue settings 1",
    "LogSettingValue": "one of, bool bool_param 1, uint32 uint32_param 2, string string_param 3",
    "LogSettingsRequest": "map LogSettingValue settings 1",
    "LogSettingsResponse": "map LogSettingValue settings 1",
}

_SCALARS = {
    name: getattr(FieldDescriptorProto, f"TYPE_{name.upper()}")
    for name in ("bool", "int32", "int64", "uint32", "uint64", "float", "double", "string", "bytes")
}


def _file() -> FileDescriptorProto:
    file = FileDescriptorProto(
        name="tieshare/open_inference.proto", package=PACKAGE, syntax="proto3"
    )
    for name, fields in TABLE.items():
        _fill(file.message_type.add(name=name), fields)
    return file


def _fill(message: DescriptorProto, fields: str) -> None:
    for text in filter(None, fields.split(", ")):
        if text == "one of":
            message.oneof_decl.add(name=_ONE_OF)
            continue
        *kind, name, number = text.split(" ")
        field = message.field.add(name=name, number=int(number))
        _set_type(field, kind[-1].lstrip("*"))
        field.label = FieldDescriptorProto.LABEL_OPTIONAL
        if kind[0].startswith("*"):
            field.label = FieldDescriptorProto.LABEL_REPEATED
        if kind[0] == "map":
            _make_map(message, field)
        if message.oneof_decl:
            field.oneof_index = 0


def _make_map(message: DescriptorProto, field: FieldDescriptorProto) -> None:
    """A map is a repeated message of keys and values."""
    entry = message.nested_type.add(name=f"{field.name.title()}Entry")
    entry.options.map_entry = True
    key, value = entry.field.add(name="key", number=1), entry.field.add(name="value", number=2)
    _set_type(key, "string")
    value.type, value.type_name = field.type, field.type_name
    key.label = value.label = FieldDescriptorProto.LABEL_OPTIONAL
    field.label = FieldDescriptorProto.LABEL_REPEATED
    field.type_name = f".{PACKAGE}.{message.name}.{entry.name}"


def _set_type(field: FieldDescriptorProto, kind: str) -> None:
    if kind in _SCALARS:
        field.type = _SCALARS[kind]
    else:
        field.type, field.type_name = FieldDescriptorProto.TYPE_MESSAGE, f".{PACKAGE}.{kind}"


def _classes() -> Iterator[tuple[str, Any]]:
    pool = DescriptorPool()
    pool.AddSerializedFile(_file().SerializeToString())
    for name in TABLE:
        yield name, GetMessageClass(pool.FindMessageTypeByName(f"{PACKAGE}.{name}"))


MESSAGES: Mapping[str, Any] = dict(_classes())
"""The class of each message, by name."""


def chosen(message: Any) -> Any:
    """The value of a message whose fields exclude each other; None where none is set."""
    name = message.WhichOneof(_ONE_OF)
    return None if name is None else getattr(message, name)
