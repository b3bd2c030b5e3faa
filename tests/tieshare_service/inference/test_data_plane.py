"""A request against its model: what fits runs, what does not is named, nobody waits for it."""

import asyncio
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from tieshare_service.inference.batching import INLINE_S, Limits
from tieshare_service.inference.data_plane import DataPlane
from tieshare_service.inference.datatypes import BY_NAME
from tieshare_service.inference.errors import BadTensor
from tieshare_service.inference.model import Model, load
from tieshare_service.inference.pace import Pace
from tieshare_service.inference.session import Session
from tieshare_service.inference.types import (
    Data,
    InferHeader,
    InferRequest,
    InferResponse,
    RequestedOutput,
    TensorSpec,
)

TWO = """
<ir_version: 9, opset_import: ["" : 17]>
two (float[n] a, int64[n] b) => (float[n] doubled, int64[n] same)
{ doubled = Add (a, a)
  same = Identity (b) }
"""


@pytest.fixture
def plane() -> Iterator[DataPlane]:
    with closing(DataPlane(Limits())) as one:
        yield one


@pytest.fixture
def two(tmp_path: Path) -> Model:
    path = tmp_path / "model.onnx"
    path.write_bytes(onnx.parser.parse_model(TWO).SerializeToString())
    return load(path, "two", 4, 1)


Input = tuple[TensorSpec, Data]


def _input(name: str, datatype: str, data: list[Any], *shape: int) -> Input:
    return TensorSpec(name, BY_NAME[datatype], shape or (len(data),)), data


def _request(identity: str, inputs: list[Input], *outputs: RequestedOutput) -> InferRequest:
    tensors, data = [one for one, _ in inputs], [data for _, data in inputs]
    return InferRequest(InferHeader(identity, tuple(tensors), outputs, binary=True), data)


A = _input("a", "FP32", [1.0, 2.0])
B = _input("b", "INT64", [3, 4])


def _infer(
    plane: DataPlane, model: Model, inputs: list[Input], *outputs: RequestedOutput
) -> InferResponse:
    return asyncio.run(plane.infer(model, _request("7", inputs, *outputs), None))


def test_all_outputs_come_in_the_models_order_unless_some_are_asked_for(
    plane: DataPlane, two: Model
) -> None:
    response = _infer(plane, two, [B, A])
    assert (response.model, response.version, response.id) == ("two", 4, "7")
    assert [output.spec.name for output in response.outputs] == ["doubled", "same"]
    assert [output.array.tolist() for output in response.outputs] == [[2.0, 4.0], [3, 4]]
    assert [output.binary for output in response.outputs] == [True, True]


def test_the_outputs_asked_for_come_in_the_order_asked_for(plane: DataPlane, two: Model) -> None:
    wanted = RequestedOutput("same", False), RequestedOutput("doubled", True)
    response = _infer(plane, two, [A, B], *wanted)
    assert [(output.spec.name, output.binary) for output in response.outputs] == [
        ("same", False),
        ("doubled", True),
    ]


@pytest.mark.parametrize(
    ("inputs", "reason"),
    [
        ([A], "model 'two' needs input 'b' too"),
        ([], "model 'two' needs input 'a', 'b' too"),
        ([A, B, A], "input 'a' comes twice"),
        ([A, B, _input("c", "FP32", [])], "model 'two' has no input 'c'; it takes 'a', 'b'"),
        ([_input("a", "FP64", [1.0])], "input 'a' is FP32, not FP64"),
        ([_input("a", "FP32", [1.0], 1, 1)], "has 1 dimensions"),
    ],
)
def test_inputs_that_do_not_fit_the_model_are_named(
    plane: DataPlane, two: Model, inputs: list[Input], reason: str
) -> None:
    with pytest.raises(BadTensor, match=reason):
        _infer(plane, two, inputs)


def test_a_fixed_dimension_must_match(
    plane: DataPlane, tmp_path: Path, digits: onnx.ModelProto
) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(digits.SerializeToString())
    x = _input("x", "FP32", [0.0] * 5, 1, 5)
    with pytest.raises(BadTensor, match=r"input 'x' has shape \[-1, 4\], not \[1, 5\]"):
        _infer(plane, load(path, "digits", 1, 1), [x])


def test_outputs_that_the_model_does_not_have_are_named(plane: DataPlane, two: Model) -> None:
    with pytest.raises(BadTensor, match="no output 'z'; it gives 'doubled', 'same'"):
        _infer(plane, two, [A, B], RequestedOutput("z", True))
    same = RequestedOutput("same", True)
    with pytest.raises(BadTensor, match="output 'same' is asked for twice"):
        _infer(plane, two, [A, B], same, same)


class _Session(Session):
    """Stands in for a session whose run ends when it is let."""

    loaded = True

    def __init__(self, during: Callable[[], object]) -> None:
        self._during = during

    def up(self) -> "_Session":
        return self

    def run(self, outputs: list[str], feeds: dict[str, Any]) -> list[Any]:
        self._during()
        return [feeds["x"]]


def _fake(seconds: float, during: Callable[[], object]) -> Model:
    spec = TensorSpec("x", BY_NAME["FP32"], (-1,))
    pace = Pace()
    pace.observe(1, seconds)
    return Model("fake", 1, {"x": spec}, {"x": spec}, False, pace, _Session(during))


def test_a_long_run_leaves_the_event_loop_free(plane: DataPlane) -> None:
    let_go = threading.Event()
    model = _fake(INLINE_S * 2, lambda: let_go.wait(10))
    request = _request("", [_input("x", "FP32", [1.0])])

    async def both() -> InferResponse:
        running = asyncio.create_task(plane.infer(model, request, None))
        while not running.done() and not let_go.is_set():
            await asyncio.sleep(0)
            let_go.set()
        return await running

    (output,) = asyncio.run(both()).outputs
    assert np.array_equal(output.array, [1.0])


def test_a_short_run_stays_on_the_event_loops_thread(plane: DataPlane) -> None:
    threads: list[int] = []
    model = _fake(INLINE_S / 2, lambda: threads.append(threading.get_ident()))
    _infer(plane, model, [_input("x", "FP32", [1.0])])
    assert threads == [threading.get_ident()]
