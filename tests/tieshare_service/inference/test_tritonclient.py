"""NVIDIA's own HTTP client: each call that is served, each datatype, both forms of a tensor."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import onnx
import onnxruntime
import pytest
import tritonclient.http as triton
from tritonclient.utils import InferenceServerException

from tieshare_service.inference.datatypes import BYTES, TABLE, Datatype

Publish = Callable[[str, int, onnx.ModelProto | bytes], Path]
Connect = Callable[[], Any]
Echo = Callable[[Datatype], onnx.ModelProto]

TWO = """
<ir_version: 9, opset_import: ["" : 17]>
two (float[n, 2] a, int64[n] b, string[n] c) => (float[n, 2] doubled, int64[n] same, string[n] text)
{ doubled = Add (a, a)
  same = Identity (b)
  text = Identity (c) }
"""


def _input(name: str, values: Any, datatype: str, binary: bool = True) -> Any:
    tensor = triton.InferInput(name, list(values.shape), datatype)
    return tensor.set_data_from_numpy(values, binary_data=binary)


@pytest.fixture
def connect(serve: Callable[..., str]) -> Iterator[Connect]:
    clients = []

    def start() -> Any:
        clients.append(triton.InferenceServerClient(serve().removeprefix("http://")))
        return clients[-1]

    yield start
    for client in clients:
        client.close()


def test_health_metadata_and_index(
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
    assert client.get_server_metadata()["name"] == "tieshare"
    assert client.get_model_metadata("digits", "1")["versions"] == ["1", "2"]
    assert client.get_model_metadata("digits")["inputs"] == [
        {"name": "x", "datatype": "FP32", "shape": [-1, 4]}
    ]
    assert [entry["version"] for entry in client.get_model_repository_index()] == ["1", "2"]


def test_every_datatype_in_both_forms(connect: Connect, publish: Publish, echo: Echo) -> None:
    for datatype in TABLE:
        publish(datatype.name, 1, echo(datatype))
    client = connect()
    for datatype in TABLE:
        for values in (np.zeros((0, 2)), np.array([[0, 1], [1, 1]])):
            x = values.astype(datatype.dtype)
            if datatype is BYTES:
                x = np.full(values.shape, "é\0", dtype=object)
            for binary in (True, False):
                result = client.infer(
                    datatype.name,
                    [_input("x", x, datatype.name, binary)],
                    outputs=[triton.InferRequestedOutput("y", binary_data=binary)],
                )
                y = result.as_numpy("y")
                if datatype is BYTES and binary:
                    y = np.array([text.decode() for text in y.ravel()], object).reshape(y.shape)
                assert y.dtype == x.dtype
                assert y.shape == x.shape
                assert y.tolist() == x.tolist()


def test_several_inputs_and_a_choice_of_outputs(connect: Connect, publish: Publish) -> None:
    publish("two", 7, onnx.parser.parse_model(TWO))
    a = np.array([[0.5, 1.5]], np.float32)
    inputs = [
        _input("c", np.array(["ü"], dtype=object), "BYTES"),
        _input("a", a, "FP32", binary=False),
        _input("b", np.array([-3]), "INT64"),
    ]
    client = connect()
    everything = client.infer("two", inputs, request_id="q7", parameters={"mine": 1})
    answer = everything.get_response()
    assert (answer["id"], answer["model_name"], answer["model_version"]) == ("q7", "two", "7")
    assert [output["name"] for output in answer["outputs"]] == ["doubled", "same", "text"]
    assert everything.as_numpy("doubled").tolist() == [[1.0, 3.0]]
    assert everything.as_numpy("same").tolist() == [-3]
    assert everything.as_numpy("text").tolist() == ["ü".encode()]
    wanted = [
        triton.InferRequestedOutput("same", binary_data=False),
        triton.InferRequestedOutput("doubled", binary_data=True),
    ]
    some = client.infer("two", inputs, "7", outputs=wanted)
    assert [output["name"] for output in some.get_response()["outputs"]] == ["same", "doubled"]
    assert some.as_numpy("text") is None
    assert some.as_numpy("doubled").tolist() == [[1.0, 3.0]]


@pytest.mark.parametrize("batch", [1, 2, 33, 500])
def test_outputs_are_onnx_runtimes_bit_for_bit(
    connect: Connect, publish: Publish, digits: onnx.ModelProto, batch: int
) -> None:
    path = publish("digits", 1, digits) / "model.onnx"
    x = np.random.default_rng(batch).standard_normal((batch, 4)).astype(np.float32)
    (expected,) = onnxruntime.InferenceSession(path).run(None, {"x": x})
    client = connect()
    for binary in (True, False):
        wanted = [triton.InferRequestedOutput("y", binary_data=binary)]
        result = client.infer("digits", [_input("x", x, "FP32", binary)], outputs=wanted)
        assert result.as_numpy("y").tobytes() == expected.tobytes()


def test_refusals_reach_the_client_with_their_reason(
    connect: Connect, publish: Publish, digits: onnx.ModelProto
) -> None:
    publish("digits", 1, digits)
    client = connect()
    x = _input("x", np.zeros((1, 5), np.float32), "FP32")
    with pytest.raises(InferenceServerException, match=r"input 'x' has shape \[-1, 4\]") as refused:
        client.infer("digits", [x])
    assert refused.value.status() == "400"
    with pytest.raises(InferenceServerException, match="no model 'other'") as unknown:
        client.infer("other", [x])
    assert unknown.value.status() == "404"


@pytest.mark.parametrize("binary", [True, False])
def test_classification(
    connect: Connect, publish: Publish, digits: onnx.ModelProto, binary: bool
) -> None:
    publish("digits", 1, digits)
    x = np.array([[1, 0, 0, 0], [0, 1, 0, 0]], np.float32)
    classes = triton.InferRequestedOutput("y", binary_data=binary, class_count=2)
    result = connect().infer("digits", [_input("x", x, "FP32")], outputs=[classes])
    found = [text if isinstance(text, str) else text.decode() for text in result.as_numpy("y").flat]
    assert found == ["0.600000:0", "-1.200000:1", "2.100000:0", "0.050000:1"]
    assert result.as_numpy("y").shape == (2, 2)


@pytest.mark.parametrize("there", ["gzip", "deflate", None])
@pytest.mark.parametrize("back", ["gzip", "deflate", None])
def test_compression_both_ways(
    connect: Connect,
    publish: Publish,
    digits: onnx.ModelProto,
    there: str | None,
    back: str | None,
) -> None:
    path = publish("digits", 1, digits) / "model.onnx"
    x = np.random.default_rng(0).standard_normal((400, 4)).astype(np.float32)
    (expected,) = onnxruntime.InferenceSession(path).run(None, {"x": x})
    result = connect().infer(
        "digits",
        [_input("x", x, "FP32")],
        request_compression_algorithm=there,
        response_compression_algorithm=back,
    )
    assert result.as_numpy("y").tobytes() == expected.tobytes()


def test_a_raw_body(serve: Callable[..., str], publish: Publish, digits: onnx.ModelProto) -> None:
    """Which the client has no call for."""
    path = publish("digits", 1, digits) / "model.onnx"
    x = np.random.default_rng(0).standard_normal((3, 4)).astype(np.float32)
    (expected,) = onnxruntime.InferenceSession(path).run(None, {"x": x})
    answer = httpx.post(
        f"{serve()}/v2/models/digits/infer",
        content=x.tobytes(),
        headers={
            "Content-Type": "application/octet-stream",
            "Inference-Header-Content-Length": "0",
        },
    )
    length = int(answer.headers["inference-header-content-length"])
    assert answer.content[length:] == expected.tobytes()


def test_configuration_and_statistics(
    connect: Connect, publish: Publish, digits: onnx.ModelProto
) -> None:
    publish("digits", 1, digits)
    publish("two", 3, onnx.parser.parse_model(TWO))
    client = connect()
    config = client.get_model_config("two")
    assert [(one["name"], one["data_type"], one["dims"]) for one in config["input"]] == [
        ("a", "TYPE_FP32", [-1, 2]),
        ("b", "TYPE_INT64", [-1]),
        ("c", "TYPE_STRING", [-1]),
    ]
    assert [one["name"] for one in config["output"]] == ["doubled", "same", "text"]
    assert config["max_batch_size"] == 0
    x = _input("x", np.zeros((5, 4), np.float32), "FP32")
    for _ in range(2):
        client.infer("digits", [x])
    with pytest.raises(InferenceServerException):
        client.infer("digits", [_input("x", np.zeros((1, 5), np.float32), "FP32")])
    (found,) = client.get_inference_statistics("digits", "1")["model_stats"]
    assert (found["inference_count"], found["execution_count"]) == (10, 2)
    stats = found["inference_stats"]
    assert (stats["success"]["count"], stats["fail"]["count"]) == (2, 1)
    parts = ("queue", "compute_input", "compute_infer", "compute_output")
    assert stats["success"]["ns"] == sum(stats[part]["ns"] for part in parts)
    assert all(stats[part]["ns"] > 0 for part in parts)
    assert [one["batch_size"] for one in found["batch_stats"]] == [5]
    everything = client.get_inference_statistics()["model_stats"]
    assert [(one["name"], one["version"]) for one in everything] == [("digits", "1"), ("two", "3")]
    with pytest.raises(InferenceServerException, match="no model 'other'"):
        client.get_inference_statistics("other")


def test_a_model_is_unloaded_and_loaded_again(
    connect: Connect, publish: Publish, digits: onnx.ModelProto
) -> None:
    publish("digits", 1, digits)
    publish("broken", 1, b"not onnx")
    client = connect()
    client.unload_model("digits")
    assert not client.is_model_ready("digits")
    publish("digits", 2, digits)
    x = _input("x", np.zeros((1, 4), np.float32), "FP32")
    with pytest.raises(InferenceServerException, match="model 'digits' is unloaded") as refused:
        client.infer("digits", [x])
    assert refused.value.status() == "503"
    client.load_model("digits")
    assert client.is_model_ready("digits", "1")
    assert client.infer("digits", [x]).get_response()["model_version"] == "2"
    with pytest.raises(InferenceServerException, match="model 'broken' can't be loaded"):
        client.load_model("broken")
    for change in (client.load_model, client.unload_model):
        with pytest.raises(InferenceServerException, match="no model 'other'"):
            change("other")


def test_nothing_is_uploaded_through_load(
    connect: Connect, publish: Publish, digits: onnx.ModelProto
) -> None:
    publish("digits", 1, digits)
    client = connect()
    for refused in (
        {"config": '{"max_batch_size": 8}'},
        {"config": "{}", "files": {"file:1/model.onnx": b"code"}},
    ):
        with pytest.raises(InferenceServerException, match="load takes no parameters"):
            client.load_model("digits", **refused)
    assert client.is_model_ready("digits")


def test_what_is_set_at_the_start_can_be_read_and_not_changed(connect: Connect) -> None:
    client = connect()
    assert client.get_trace_settings()["trace_level"] == ["OFF"]
    assert client.get_trace_settings("any")["trace_level"] == ["OFF"]
    assert client.get_log_settings()["log_verbose_level"] == 0
    assert client.update_log_settings({"log_verbose_level": 0})["log_errors"] is True
    with pytest.raises(InferenceServerException, match="log_file can't be changed"):
        client.update_log_settings({"log_file": "other.log"})
    with pytest.raises(InferenceServerException, match="trace_level can't be changed"):
        client.update_trace_settings(settings={"trace_level": ["TIMESTAMPS"]})


def test_there_is_no_shared_memory(connect: Connect) -> None:
    client = connect()
    assert client.get_system_shared_memory_status() == []
    assert client.get_cuda_shared_memory_status() == []
    client.unregister_system_shared_memory()
    client.unregister_cuda_shared_memory("any")
    with pytest.raises(InferenceServerException, match="no shared memory region 'any'"):
        client.register_system_shared_memory("any", "/key", 16)
    with pytest.raises(InferenceServerException, match="no shared memory region 'any'"):
        client.register_cuda_shared_memory("any", b"handle", 0, 16)
    with pytest.raises(InferenceServerException, match="no shared memory region 'any'"):
        client.get_system_shared_memory_status("any")
