"""The HTTP body: every length is checked, every part that is missing or wrong is named."""

import json
from typing import Any

import numpy as np
import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tieshare_service.inference import wire
from tieshare_service.inference.datatypes import BY_NAME, TABLE
from tieshare_service.inference.errors import BadBody, BadTensor, InferenceError
from tieshare_service.inference.tensors import to_array
from tieshare_service.inference.types import (
    Array,
    InferHeader,
    InferRequest,
    InferResponse,
    OutputTensor,
    Ran,
    RequestedOutput,
    TensorSpec,
)

RAN = Ran((), 0, 0, 1, True)


def _input(**changes: Any) -> dict[str, Any]:
    return {"name": "x", "datatype": "FP32", "shape": [2], "data": [1.0, 2.0]} | changes


def _binary(size: Any, name: str = "x") -> dict[str, Any]:
    parameters = {"binary_data_size": size}
    return {"name": name, "datatype": "FP32", "shape": [2], "parameters": parameters}


def _body(document: Any, tail: bytes = b"") -> tuple[bytes, int]:
    head = orjson.dumps(document)
    return head + tail, len(head)


def test_a_json_request_is_read_whole() -> None:
    document = {"id": "7", "inputs": [_input()], "outputs": [{"name": "y"}], "more": 1}
    request = wire.parse(orjson.dumps(document))
    (tensor,), (data,) = request.header.inputs, request.data
    assert (tensor.name, tensor.datatype.name, tensor.shape) == ("x", "FP32", (2,))
    assert list(data) == [1.0, 2.0]
    assert request.header.id == "7"
    assert [(output.name, output.binary) for output in request.header.outputs] == [("y", False)]


def test_binary_inputs_take_their_bytes_in_order() -> None:
    body, length = _body({"inputs": [_binary(3, "a"), _input(), _binary(2, "b")]}, b"abcde")
    first, middle, last = wire.parse(body, length).data
    assert bytes(first) == b"abc"
    assert middle == [1.0, 2.0]
    assert bytes(last) == b"de"


def test_an_output_says_for_itself_whether_it_is_binary() -> None:
    outputs = [{"name": "a"}, {"name": "b", "parameters": {"binary_data": False}}]
    document = {
        "inputs": [],
        "outputs": outputs,
        "parameters": {"binary_data_output": True},
    }
    request = wire.parse(orjson.dumps(document)).header
    assert request.binary
    assert [output.binary for output in request.outputs] == [True, False]


@pytest.mark.parametrize(
    ("document", "reason"),
    [
        ([], "not a JSON object"),
        ({}, "inputs is not a list"),
        ({"inputs": {}}, "inputs is not a list"),
        ({"inputs": [1]}, "an input has no name"),
        ({"inputs": [_input(name=3)]}, "an input has no name"),
        ({"inputs": [], "outputs": 1}, "outputs is not a list"),
        ({"inputs": [], "outputs": [{}]}, "an output has no name"),
        ({"inputs": [], "id": 1}, "id is not a string"),
        ({"inputs": [], "parameters": 1}, "parameters of the request are not an object"),
        (
            {"inputs": [], "parameters": {"binary_data_output": "yes"}},
            "binary_data_output is neither true nor false",
        ),
    ],
)
def test_a_request_of_the_wrong_form_is_refused(document: Any, reason: str) -> None:
    with pytest.raises(BadBody, match=reason):
        wire.parse(orjson.dumps(document))


@pytest.mark.parametrize(
    ("item", "reason"),
    [
        (_input(datatype="FP8"), "datatype 'FP8' is none of BOOL, UINT8"),
        (_input(datatype=None), "datatype None is none of"),
        (_input(shape=2), "shape is not a list"),
        (_input(shape=[-1]), "integers from 0 up"),
        (_input(shape=[True]), "integers from 0 up"),
        (_input(shape=[1.0]), "integers from 0 up"),
        (_input(data=3), "neither a list as data nor binary_data_size"),
        (_input(parameters={"binary_data_size": 8}), "both data and binary_data_size"),
        (_binary(9), "binary_data_size is 9, but 0 bytes are left"),
        (_binary(-1), "binary_data_size is -1"),
        (_binary("8"), "binary_data_size is '8'"),
        (_input(parameters={"shared_memory_region": "r"}), "shared_memory_region is not supported"),
    ],
)
def test_an_input_of_the_wrong_form_is_refused_by_name(item: Any, reason: str) -> None:
    with pytest.raises(BadTensor, match=reason) as refused:
        wire.parse(orjson.dumps({"inputs": [item]}))
    assert "input 'x'" in refused.value.message


def test_classification_is_a_number_of_classes() -> None:
    def asked(count: Any) -> RequestedOutput:
        output = {"name": "y", "parameters": {"classification": count}}
        document = {"inputs": [_input()], "outputs": [output]}
        (found,) = wire.parse(orjson.dumps(document)).header.outputs
        return found

    assert asked(3) == RequestedOutput("y", binary=False, classes=3)
    for wrong in (-1, 1.5, "2", True):
        with pytest.raises(BadTensor, match="output 'y': classification is"):
            asked(wrong)


def _array(request: InferRequest) -> Array:
    (tensor,), (data,) = request.header.inputs, request.data
    return to_array(tensor, data)


def _raw(body: bytes, datatype: str, *shape: int) -> InferRequest:
    return wire.parse_raw(body, {"x": TensorSpec("x", BY_NAME[datatype], shape)})


@pytest.mark.parametrize(
    ("size", "shape", "found"),
    [
        (16, (4,), (4,)),
        (16, (-1,), (4,)),
        (48, (-1, 3, 2), (2, 3, 2)),
        (24, (2, -1), (2, 3)),
        (24, (-1, 2, -1), (1, 2, 3)),
        (0, (-1, 5), (0, 5)),
    ],
)
def test_the_shape_of_a_raw_body_follows_from_its_length(
    size: int, shape: tuple[int, ...], found: tuple[int, ...]
) -> None:
    request = _raw(bytes(size), "FP32", *shape)
    (tensor,), (data,) = request.header.inputs, request.data
    assert (tensor.shape, bytes(data)) == (found, bytes(size))


def test_a_raw_string_is_one_element_without_its_length() -> None:
    assert _array(_raw("é".encode(), "BYTES", -1, 1)).tolist() == [["é"]]


@pytest.mark.parametrize(
    ("size", "shape", "message"),
    [
        (10, (-1, 2), "a multiple of 8 bytes, not 10"),
        (8, (3, -1, -1), "more than one free size"),
        (8, (-1, 0), "a multiple of 0 bytes"),
    ],
)
def test_a_raw_body_that_gives_no_shape_is_refused(
    size: int, shape: tuple[int, ...], message: str
) -> None:
    with pytest.raises(BadTensor, match=message):
        _raw(bytes(size), "FP32", *shape)


def test_a_raw_body_is_for_models_with_one_input() -> None:
    specs = {name: TensorSpec(name, BY_NAME["FP32"], (-1,)) for name in "ab"}
    with pytest.raises(BadTensor, match="one input, not 2"):
        wire.parse_raw(b"", specs)


@pytest.mark.parametrize(
    ("tail", "length", "reason"),
    [
        (b"\0" * 7, None, "binary_data_size is 8, but 7 bytes are left"),
        (b"\0" * 9, None, "9 bytes follow the JSON, but the inputs declare 8"),
        (b"\0" * 8, 10_000, "is 10000, but the body has"),
        (b"\0" * 8, 0, "not JSON"),
        (b"\0" * 8, 10, "not JSON"),
    ],
)
def test_lengths_that_disagree_are_refused(tail: bytes, length: int | None, reason: str) -> None:
    body, true_length = _body({"inputs": [_binary(8)]}, tail)
    with pytest.raises(InferenceError, match=reason):
        wire.parse(body, true_length if length is None else length)


@pytest.mark.parametrize(
    "body",
    [b"", b"{", b"\xff\xfe", b'{"id": "\xff"}', b'{"id": "\\ud800"}', b"[" * 100_000, b"NaN"],
)
def test_what_is_not_json_is_refused(body: bytes) -> None:
    with pytest.raises(BadBody, match="not JSON"):
        wire.parse(body)


_json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats()
    | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=8,
)


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=60), st.none() | st.integers(0, 80))
def test_garbage_raises_nothing_else_than_a_refusal(body: bytes, length: int | None) -> None:
    with pytest.raises(InferenceError):
        wire.parse(body, length)


@settings(max_examples=200, deadline=None)
@given(
    st.sampled_from(["name", "datatype", "shape", "data", "parameters"]), _json_values, st.binary()
)
def test_any_value_in_any_field_is_read_or_refused(field: str, value: Any, tail: bytes) -> None:
    body, length = _body({"inputs": [_input() | {field: value}]}, tail)
    try:
        request = wire.parse(body, length)
    except InferenceError:
        return
    assert len(request.header.inputs) == len(request.data) == 1


def _response(*outputs: OutputTensor) -> InferResponse:
    return InferResponse("m", 3, "7", outputs, RAN)


def _output(values: Any, datatype: str, binary: bool = False) -> OutputTensor:
    kind = BY_NAME[datatype]
    return OutputTensor(TensorSpec("y", kind, (-1,)), np.array(values, dtype=kind.dtype), binary)


def test_a_json_response_is_flat_and_says_its_shape() -> None:
    body, length = wire.encode(_response(_output([[1.5, 2.0]], "FP32")))
    assert length is None
    assert orjson.loads(body) == {
        "model_name": "m",
        "model_version": "3",
        "id": "7",
        "outputs": [{"name": "y", "datatype": "FP32", "shape": [1, 2], "data": [1.5, 2.0]}],
    }


def test_binary_outputs_follow_the_json_in_order() -> None:
    outputs = _output([1, 2], "INT16", True), _output(["é"], "BYTES", True), _output([3], "INT8")
    body, length = wire.encode(_response(*outputs))
    assert length is not None
    first, second, third = orjson.loads(body[:length])["outputs"]
    assert first["parameters"] == {"binary_data_size": 4}
    assert second["parameters"] == {"binary_data_size": 6}
    assert third["data"] == [3]
    assert body[length:] == b"\1\0\2\0" + b"\2\0\0\0" + "é".encode()


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_what_json_has_no_number_for_is_refused_and_goes_as_bytes(value: float) -> None:
    with pytest.raises(BadTensor, match="output 'y' holds NaN or infinity"):
        wire.encode(_response(_output([1.0, value], "FP32")))
    body, _ = wire.encode(_response(_output([1.0, value], "FP32", True)))
    assert body.endswith(np.array([1.0, value], np.float32).tobytes())


def test_the_word_null_in_a_name_is_no_missing_number() -> None:
    body, _ = wire.encode(InferResponse("null", 1, "", (_output([1.0], "FP32"),), RAN))
    assert orjson.loads(body)["outputs"][0]["data"] == [1.0]


@pytest.mark.parametrize(
    ("body", "ready"), [(b"", False), (b"{}", False), (b'{"ready":true}', True)]
)
def test_the_index_request_may_be_empty(body: bytes, ready: bool) -> None:
    assert wire.parse_index(body) is ready


@pytest.mark.parametrize("body", [b"[]", b"{", b'{"ready":1}'])
def test_a_wrong_index_request_is_refused(body: bytes) -> None:
    with pytest.raises(BadBody):
        wire.parse_index(body)


NUMBERS = [one.name for one in TABLE if one.name not in ("BOOL", "BYTES")]


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """Whether the numbers of each request were taken apart."""
    seen: list[bool] = []

    def with_lists(body: bytes) -> InferRequest | None:
        request = WITH_LISTS(body)
        seen.append(request is not None)
        return request

    monkeypatch.setattr(wire, "_with_lists", with_lists)
    return seen


WITH_LISTS = wire._with_lists


@pytest.mark.parametrize("datatype", NUMBERS)
def test_numbers_are_taken_apart_and_are_the_same(quick: list[bool], datatype: str) -> None:
    item = _input(datatype=datatype, shape=[3], data=[1, 0, 2])
    request = wire.parse(orjson.dumps({"inputs": [item]}))
    assert quick == [True]
    array = _array(request)
    assert array.dtype == BY_NAME[datatype].dtype
    assert array.tolist() == [1, 0, 2]


def test_each_input_gets_its_own_numbers(quick: list[bool]) -> None:
    items = [_input(name=name, data=[place, place]) for place, name in enumerate("abc")]
    request = wire.parse(json.dumps({"id": "data", "inputs": items}).encode())
    assert quick == [True]
    assert [tensor.name for tensor in request.header.inputs] == ["a", "b", "c"]
    assert [list(data) for data in request.data] == [[0, 0], [1, 1], [2, 2]]


def test_a_header_is_read_once_for_all_requests_that_have_it() -> None:
    def header(data: list[float], **more: Any) -> InferHeader:
        return wire.parse(orjson.dumps({"inputs": [_input(data=data)]} | more)).header

    assert header([1.0, 2.0]) is header([3.0, 4.5])
    assert header([1.0, 2.0]) is not header([1.0, 2.0], id="7")

    def binary(tail: bytes) -> InferHeader:
        return wire.parse(*_body({"inputs": [_binary(8)]}, tail)).header

    assert binary(bytes(8)) is binary(b"12345678")


def test_headers_that_are_kept_do_not_grow_for_ever() -> None:
    for place in range(3 * wire._MOST_KEPT):
        wire.parse(*_body({"id": str(place), "inputs": [_binary(8)]}, bytes(8)))
        wire.parse(orjson.dumps({"id": str(place), "inputs": [_input()]}))
        wire.parse(orjson.dumps({"id": str(place), "inputs": [_input(data=[[1.0], 2.0])]}))
    wire.parse(*_body({"id": 5000 * "x", "inputs": [_binary(8)]}, bytes(8)))
    kept = wire._HEADERS
    assert len(kept) <= wire._MOST_KEPT
    assert all(len(head) <= wire._LONGEST_KEPT for head, _ in kept)
    assert all(isinstance(one, int) or not one for _, sources in kept.values() for one in sources)


@pytest.mark.parametrize(
    "text",
    [
        '{"inputs": [%s], "parameters": {"data": [1]}}',
        '{"inputs": [%s], "id": "\\"data\\": [7, 8]"}',
        '{"a\\"data": [7, 8], "inputs": [%s]}',
        '{"inputs": [%s], "data": [7, 8]}',
        '{"x": [{"data": []}], "inputs": [%s]}',
    ],
)
def test_other_lists_of_that_name_are_not_an_inputs(text: str) -> None:
    request = wire.parse((text % json.dumps(_input())).encode())
    assert _array(request).tolist() == [1.0, 2.0]


@pytest.mark.parametrize(
    ("datatype", "data", "shape"),
    [
        ("FP32", [[1.5, 2.0]], [1, 2]),
        ("FP32", [1.0, [2.0]], [2]),
        ("FP32", [True, 2.0], [2]),
        ("FP32", [None, 2.0], [2]),
        ("FP32", ["1", 2.0], [2]),
        ("FP32", [{"data": [1.0]}, 2.0], [2]),
        ("FP32", [1e39, 2.0], [2]),
        ("FP32", [1.0], [2]),
        ("FP16", [65504.0, 1e5], [2]),
        ("INT32", [1.5, 2], [2]),
        ("INT32", [2**31, 2], [2]),
        ("INT64", [-(2**63), 2**63 - 1], [2]),
        ("UINT64", [2**64 - 1, 0], [2]),
        ("UINT8", [-1, 2], [2]),
        ("UINT8", [255, 256], [2]),
        ("INT8", [], [0]),
        ("BOOL", [True, False], [2]),
        ("BYTES", ["a", "[b"], [2]),
        ("BYTES", ["a]", "b"], [2]),
        ("FP64", [1.0, 2.0], [2]),
        ("FP99", [1.0, 2.0], [2]),
    ],
)
def test_both_ways_to_read_give_the_same_or_refuse_alike(
    monkeypatch: pytest.MonkeyPatch, datatype: str, data: Any, shape: list[int]
) -> None:
    body = orjson.dumps({"inputs": [_input(datatype=datatype, shape=shape, data=data)]})

    def read() -> Any:
        try:
            array = _array(wire.parse(body))
        except InferenceError as error:
            return type(error), error.message
        return array.dtype, array.shape, array.tolist()

    taken_apart = read()
    monkeypatch.setattr(wire, "_with_lists", lambda _body: None)
    assert taken_apart == read()


@given(
    st.recursive(st.none() | st.booleans() | st.floats() | st.integers() | st.text(), st.lists),
    st.text(),
)
def test_any_data_is_read_alike(data: Any, name: str) -> None:
    body = json.dumps({"inputs": [_input(data=data, name=name)], "id": "7"}).encode()
    request = WITH_LISTS(body)
    if request is not None:
        (tensor,), (found,) = request.header.inputs, request.data
        assert (tensor.name, list(found)) == (name, data)
