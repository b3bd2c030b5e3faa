"""NVIDIA's own HTTP client: each call that is served, each datatype, both forms of a tensor."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import tritonclient.http as triton
from tritonclient.utils import InferenceServerException

from tieshare_service.inference.datatypes import BYTES, TABLE, Datatype

Publish = Callable[[str, int, onnx.ModelProto | bytes], Path]
Connect = Callable[[], Any]

TWO = """
<ir_version: 9, opset_import: ["" : 17]>
two (float[n, 2] a, int64[n] b, string[n] c) => (float[n, 2] doubled, int64[n] same, string[n] text)
{ doubled = Add (a, a)
  same = Identity (b)
  text = Identity (c) }
"""


def _echo(datatype: Datatype) -> onnx.ModelProto:
    kind = onnx.helper.np_dtype_to_tensor_dtype(datatype.dtype)
    ends = [onnx.helper.make_tensor_value_info(name, kind, ["n", 2]) for name in ("x", "y")]
    node = onnx.helper.make_node("Identity", ["x"], ["y"])
    graph = onnx.helper.make_graph([node], "echo", ends[:1], ends[1:])
    opset = [onnx.helper.make_opsetid("", 17)]
    return onnx.helper.make_model(graph, opset_imports=opset, ir_version=9)


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


def test_every_datatype_in_both_forms(connect: Connect, publish: Publish) -> None:
    for datatype in TABLE:
        publish(datatype.name, 1, _echo(datatype))
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
    classes = triton.InferRequestedOutput("y", class_count=2)
    with pytest.raises(InferenceServerException, match="classification is not supported"):
        client.infer("digits", [x], outputs=[classes])
