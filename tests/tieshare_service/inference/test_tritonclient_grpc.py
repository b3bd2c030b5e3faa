"""NVIDIA's own gRPC client: each call that is served, each datatype, streams."""

import queue
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import tritonclient.grpc as triton
from tritonclient.grpc import service_pb2
from tritonclient.utils import InferenceServerException

from tieshare_service.inference import errors
from tieshare_service.inference.datatypes import BYTES, FP16, TABLE, Datatype
from tieshare_service.inference.rpc.messages import MESSAGES
from tieshare_service.inference.rpc.service import CODES

Publish = Callable[[str, int, onnx.ModelProto | bytes], Path]
Connect = Callable[[], Any]
Echo = Callable[[Datatype], onnx.ModelProto]

TWO = """
<ir_version: 9, opset_import: ["" : 17]>
two (float[n, 2] a, string[n] c) => (float[n, 2] doubled, string[n] text)
{ doubled = Add (a, a)
  text = Identity (c) }
"""


def _input(name: str, values: Any, datatype: str) -> Any:
    return triton.InferInput(name, list(values.shape), datatype).set_data_from_numpy(values)


@pytest.fixture
def connect(serve: Callable[..., str], rpc_address: str) -> Iterator[Connect]:
    clients = []

    def start() -> Any:
        serve(rpc_address=rpc_address)
        clients.append(triton.InferenceServerClient(rpc_address))
        return clients[-1]

    yield start
    for client in clients:
        client.close()


def test_the_messages_are_those_of_the_client() -> None:
    """Each field that is here has the name, number and kind that it has there."""
    theirs = service_pb2.DESCRIPTOR.message_types_by_name
    compared = 0
    for name, ours in MESSAGES.items():
        if name not in theirs:
            continue
        known = {field.name: field for field in theirs[name].fields}
        for field in ours.DESCRIPTOR.fields:
            other = known[field.name]
            assert (field.number, field.is_repeated) == (other.number, other.is_repeated)
            enum = other.type == other.TYPE_ENUM and field.type == field.TYPE_INT32
            assert enum or field.type == other.type, (name, field.name)
            compared += 1
    assert compared > 80


def test_every_refusal_has_a_code(refusals: set[type[errors.InferenceError]]) -> None:
    assert set(CODES) == refusals


def test_health_metadata_index_and_configuration(
    connect: Connect, publish: Publish, digits: onnx.ModelProto
) -> None:
    publish("digits", 1, digits)
    publish("digits", 2, digits)
    client = connect()
    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.is_model_ready("digits")
    assert client.is_model_ready("digits", "1")
    assert not client.is_model_ready("digits", "3")
    assert not client.is_model_ready("other")
    assert client.get_server_metadata().name == "tieshare"
    metadata = client.get_model_metadata("digits", "1")
    assert list(metadata.versions) == ["1", "2"]
    assert [(one.name, one.datatype, list(one.shape)) for one in metadata.inputs] == [
        ("x", "FP32", [-1, 4])
    ]
    index = client.get_model_repository_index().models
    assert [(one.version, one.state) for one in index] == [("1", "READY"), ("2", "READY")]
    config = client.get_model_config("digits").config
    assert (config.backend, config.max_batch_size) == ("onnxruntime", 0)
    kinds = triton.model_config_pb2
    assert [(one.data_type, list(one.dims)) for one in config.output] == [
        (kinds.DataType.Value("TYPE_FP32"), [-1, 2])
    ]
    assert config.instance_group[0].kind == kinds.ModelInstanceGroup.Kind.Value("KIND_CPU")


def test_every_datatype(connect: Connect, publish: Publish, echo: Echo) -> None:
    for datatype in TABLE:
        publish(datatype.name, 1, echo(datatype))
    client = connect()
    for number, datatype in enumerate(TABLE, start=1):
        for values in (np.zeros((0, 2)), np.array([[0, 1], [1, 1]])):
            x = values.astype(datatype.dtype)
            if datatype is BYTES:
                x = np.full(values.shape, "é\0", dtype=object)
            result = client.infer(datatype.name, [_input("x", x, datatype.name)])
            y = result.as_numpy("y")
            if datatype is BYTES:
                y = np.array([text.decode() for text in y.ravel()], object).reshape(y.shape)
            assert (y.dtype, y.shape, y.tolist()) == (x.dtype, x.shape, x.tolist())
        config = client.get_model_config(datatype.name).config
        assert config.input[0].data_type == number


def test_tensors_may_come_as_lists(connect: Connect, publish: Publish, echo: Echo) -> None:
    """Which the client does not send, and others do."""
    for datatype in TABLE:
        publish(datatype.name, 1, echo(datatype))
    client = connect()
    fields = {"BOOL": "bool", "FP32": "fp32", "FP64": "fp64", "INT64": "int64", "UINT64": "uint64"}
    for datatype in TABLE:
        usual = "uint" if datatype.name.startswith("UINT") else "int"
        field = fields.get(datatype.name, "bytes" if datatype is BYTES else usual)
        request = service_pb2.ModelInferRequest(model_name=datatype.name)
        tensor = request.inputs.add(name="x", datatype=datatype.name, shape=[1, 2])
        values = [b"a", b"b"] if datatype is BYTES else [0, 1]
        getattr(tensor.contents, f"{field}_contents").extend(values)
        if datatype is FP16:
            with pytest.raises(Exception, match="FP16 comes in raw_input_contents alone"):
                client._client_stub.ModelInfer(request)
            continue
        answer = client._client_stub.ModelInfer(request)
        y = triton.InferResult(answer).as_numpy("y")
        assert y.tolist() == [values]


@pytest.mark.parametrize("batch", [1, 2, 33, 500])
def test_outputs_are_onnx_runtimes_bit_for_bit(
    connect: Connect, publish: Publish, digits: onnx.ModelProto, batch: int
) -> None:
    path = publish("digits", 1, digits) / "model.onnx"
    x = np.random.default_rng(batch).standard_normal((batch, 4)).astype(np.float32)
    (expected,) = onnxruntime.InferenceSession(path).run(None, {"x": x})
    client, tensor = connect(), _input("x", x, "FP32")
    for compression in (None, "gzip", "deflate"):
        result = client.infer("digits", [tensor], compression_algorithm=compression)
        assert result.as_numpy("y").tobytes() == expected.tobytes()


def test_several_inputs_a_choice_of_outputs_and_classification(
    connect: Connect, publish: Publish
) -> None:
    publish("two", 7, onnx.parser.parse_model(TWO))
    inputs = [
        _input("c", np.array(["ü"], dtype=object), "BYTES"),
        _input("a", np.array([[0.5, 1.5]], np.float32), "FP32"),
    ]
    client = connect()
    everything = client.infer("two", inputs, request_id="q7", parameters={"mine": 1})
    answer = everything.get_response()
    assert (answer.id, answer.model_name, answer.model_version) == ("q7", "two", "7")
    assert [output.name for output in answer.outputs] == ["doubled", "text"]
    assert everything.as_numpy("text").tolist() == ["ü".encode()]
    wanted = [triton.InferRequestedOutput("doubled", class_count=1)]
    some = client.infer("two", inputs, "7", outputs=wanted)
    assert some.as_numpy("doubled").tolist() == [[b"3.000000:1"]]


def test_refusals_have_their_code_and_reason(
    connect: Connect, publish: Publish, digits: onnx.ModelProto
) -> None:
    publish("digits", 1, digits)
    publish("broken", 1, b"not onnx")
    client = connect()
    x = _input("x", np.zeros((1, 5), np.float32), "FP32")
    for model, status, message in (
        ("digits", "INVALID_ARGUMENT", r"input 'x' has shape \[-1, 4\]"),
        ("other", "NOT_FOUND", "no model 'other'"),
        ("broken", "UNAVAILABLE", "model 'broken' failed"),
    ):
        with pytest.raises(InferenceServerException, match=message) as refused:
            client.infer(model, [x])
        assert refused.value.status() == f"StatusCode.{status}"
    request = service_pb2.ModelInferRequest(model_name="digits", raw_input_contents=[b""])
    with pytest.raises(Exception, match="1 raw_input_contents come with 0 inputs"):
        client._client_stub.ModelInfer(request)


def test_statistics(connect: Connect, publish: Publish, digits: onnx.ModelProto) -> None:
    publish("digits", 1, digits)
    client = connect()
    for _ in range(2):
        client.infer("digits", [_input("x", np.zeros((5, 4), np.float32), "FP32")])
    (found,) = client.get_inference_statistics("digits").model_stats
    assert (found.inference_count, found.execution_count) == (10, 2)
    assert found.inference_stats.success.count == 2
    assert found.inference_stats.compute_infer.ns > 0
    assert [one.batch_size for one in found.batch_stats] == [5]
    assert len(client.get_inference_statistics().model_stats) == 1


def test_a_model_is_unloaded_and_loaded_again(
    connect: Connect, publish: Publish, digits: onnx.ModelProto
) -> None:
    publish("digits", 1, digits)
    client = connect()
    client.unload_model("digits")
    assert not client.is_model_ready("digits")
    client.load_model("digits")
    assert client.is_model_ready("digits")
    with pytest.raises(InferenceServerException, match="load takes no parameters"):
        client.load_model("digits", config="{}", files={"file:1/model.onnx": b"code"})


def test_what_is_set_at_the_start_can_be_read_and_not_changed(connect: Connect) -> None:
    client = connect()
    assert list(client.get_trace_settings().settings["trace_level"].value) == ["OFF"]
    assert client.get_log_settings().settings["log_errors"].bool_param
    with pytest.raises(InferenceServerException, match="log_file can't be changed"):
        client.update_log_settings({"log_file": "other.log"})
    with pytest.raises(InferenceServerException, match="trace_level can't be changed"):
        client.update_trace_settings(settings={"trace_level": ["TIMESTAMPS"]})


def test_there_is_no_shared_memory(connect: Connect) -> None:
    client = connect()
    assert not client.get_system_shared_memory_status().regions
    assert not client.get_cuda_shared_memory_status().regions
    client.unregister_system_shared_memory()
    client.unregister_cuda_shared_memory("any")
    with pytest.raises(InferenceServerException, match="no shared memory region 'any'"):
        client.register_system_shared_memory("any", "/key", 16)


def test_a_stream_answers_in_order_and_goes_on_after_an_error(
    connect: Connect, publish: Publish, digits: onnx.ModelProto
) -> None:
    publish("digits", 1, digits)
    client = connect()
    heard: queue.Queue[tuple[Any, Any]] = queue.Queue()
    client.start_stream(lambda result, error: heard.put((result, error)))
    rows = [1, 2, 0, 3]
    for place, count in enumerate(rows):
        x = np.zeros((count or 1, 4 if count else 5), np.float32)
        client.async_stream_infer("digits", [_input("x", x, "FP32")], request_id=str(place))
    answers = [heard.get(timeout=20) for _ in rows]
    client.stop_stream()
    for place, (count, (result, error)) in enumerate(zip(rows, answers, strict=True)):
        if count:
            assert error is None
            assert result.get_response().id == str(place)
            assert result.as_numpy("y").shape == (count, 2)
        else:
            assert "input 'x' has shape [-1, 4]" in error.message()
