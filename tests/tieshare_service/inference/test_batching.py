"""Requests that wait for one model: who runs with whom, who is dropped, and who gets what."""

import asyncio
import gc
import threading
import weakref
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from tieshare_service.inference.batching import INLINE_S, PIECE_S, Lane, Limits, kind_of
from tieshare_service.inference.data_plane import DataPlane
from tieshare_service.inference.datatypes import BY_NAME
from tieshare_service.inference.errors import (
    ClientGone,
    Expired,
    LoadFailed,
    ModelNotReady,
    Overloaded,
    RunFailed,
)
from tieshare_service.inference.model import Model, load
from tieshare_service.inference.pace import Pace
from tieshare_service.inference.session import Session
from tieshare_service.inference.types import Array, InferHeader, InferRequest, Ran, TensorSpec

Made = Callable[..., Any]


class _Session(Session):
    """Doubles its input, and notes the rows of each run; fails where it holds a NaN."""

    def __init__(self, during: Callable[[], object]) -> None:
        self.runs: list[int] = []
        self.awake = True
        self.fails = False
        self._during = during

    @property
    def loaded(self) -> bool:
        return self.awake

    def up(self) -> "_Session":
        if self.fails:
            raise LoadFailed("it is broken")
        self.awake = True
        return self

    def run(self, outputs: list[str], feeds: dict[str, Array]) -> list[Array]:
        x = feeds["x"]
        self.runs.append(len(x))
        self._during()
        if np.isnan(x).any():
            raise ValueError("NaN")
        return [2 * x]


def _model(
    seconds: float = 0.0, *, separate: bool = True, during: Callable[[], object] = lambda: None
) -> tuple[Model, list[int]]:
    """One that is expected to take so long for up to 8 numbers, and the rows of its runs."""
    spec, pace, session = TensorSpec("x", BY_NAME["FP32"], (-1, -1)), Pace(), _Session(during)
    for elements in (1, 2, 4, 8):
        pace.observe(elements, seconds)
    return Model("m", 1, {"x": spec}, {"x": spec}, separate, pace, session), session.runs


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(1) as made:
        yield made


def _x(*rows: float, columns: int = 1) -> dict[str, Array]:
    return {"x": np.repeat(np.array(rows, np.float32)[:, None], columns, axis=1)}


def _put(
    lane: Lane, model: Model, feeds: dict[str, Array], timeout_s: float = 60.0
) -> "asyncio.Future[Ran]":
    shapes = {name: feed.shape for name, feed in feeds.items()}
    return lane.run(feeds, kind_of(model, shapes, ("x",)), timeout_s)


def _together(
    model: Model, pool: ThreadPoolExecutor, *feeds: dict[str, Array], limits: Limits | None = None
) -> list[Ran | BaseException]:
    """What each gets, put in one turn of the event loop."""

    async def run() -> list[Ran | BaseException]:
        lane = Lane(model, pool, limits or Limits())
        futures = [_put(lane, model, one) for one in feeds]
        return await asyncio.gather(*futures, return_exceptions=True)

    return asyncio.run(run())


def _values(results: list[Ran | BaseException]) -> list[Any]:
    return [one.arrays[0][:, 0].tolist() if isinstance(one, Ran) else type(one) for one in results]


@pytest.mark.parametrize("seconds", [0.0, 2 * INLINE_S])
def test_requests_of_one_turn_run_together_and_get_their_own_rows(
    pool: ThreadPoolExecutor, seconds: float
) -> None:
    model, runs = _model(seconds)
    results = _together(model, pool, _x(1), _x(2, 3), _x(4))
    assert _values(results) == [[2.0], [4.0, 6.0], [8.0]]
    assert runs == [4]
    seen = [(one.rows, one.first) for one in results if isinstance(one, Ran)]
    assert seen == [(4, True), (4, False), (4, False)]


def test_an_answer_that_can_not_be_given_is_no_matter_of_the_others(
    pool: ThreadPoolExecutor, caplog: pytest.LogCaptureFixture
) -> None:
    model, _ = _model()

    class Broken:
        def done(self) -> bool:
            return False

        def set_result(self, _: Ran) -> None:
            raise RuntimeError("the wire is cut")

        def set_exception(self, _: BaseException) -> None:
            raise AssertionError

    async def run() -> Ran:
        lane = Lane(model, pool, Limits())
        lane.put(_x(1), kind_of(model, {"x": (1, 1)}, ("x",)), 60.0, Broken())
        return await _put(lane, model, _x(2))

    assert asyncio.run(run()).arrays[0].tolist() == [[4.0]]
    assert "could not be given" in caplog.text


def test_a_run_holds_as_many_rows_as_the_limit_says(pool: ThreadPoolExecutor) -> None:
    model, runs = _model()
    results = _together(model, pool, *map(_x, range(7)), limits=Limits(rows=3))
    assert _values(results) == [[2.0 * value] for value in range(7)]
    assert runs == [3, 3, 1]


def test_what_is_larger_than_the_limit_runs_alone(pool: ThreadPoolExecutor) -> None:
    model, runs = _model()
    _together(model, pool, _x(1), _x(*range(9)), _x(2), limits=Limits(rows=4))
    assert runs == [1, 9, 1]


def test_other_shapes_run_by_themselves(pool: ThreadPoolExecutor) -> None:
    model, runs = _model()
    _together(model, pool, _x(1), _x(2), _x(3, columns=2), _x(4))
    assert runs == [2, 1, 1]


def test_where_rows_depend_on_each_other_each_request_runs_alone(pool: ThreadPoolExecutor) -> None:
    model, runs = _model(separate=False)
    assert _values(_together(model, pool, _x(1), _x(2))) == [[2.0], [4.0]]
    assert runs == [1, 1]


def test_a_request_that_fails_fails_alone(pool: ThreadPoolExecutor) -> None:
    model, _ = _model()
    results = _together(model, pool, _x(1), _x(np.nan), _x(3))
    assert _values(results) == [[2.0], RunFailed, [6.0]]


def test_what_comes_during_a_long_run_runs_together_after_it(pool: ThreadPoolExecutor) -> None:
    began, go_on = threading.Event(), threading.Event()

    def wait() -> None:
        began.set()
        assert go_on.wait(10)

    model, runs = _model(2 * INLINE_S, during=wait)

    async def run() -> list[Ran]:
        lane = Lane(model, pool, Limits())
        first = _put(lane, model, _x(1))
        await asyncio.to_thread(began.wait, 10)
        others = [_put(lane, model, _x(value)) for value in (2, 3, 4)]
        await asyncio.sleep(0)
        go_on.set()
        return await asyncio.gather(first, *others)

    assert _values(list(asyncio.run(run()))) == [[2.0], [4.0], [6.0], [8.0]]
    assert runs == [1, 3]


def test_a_delay_lets_others_come(pool: ThreadPoolExecutor) -> None:
    model, runs = _model()

    async def run() -> None:
        lane = Lane(model, pool, Limits(delay_us=100_000))
        first = _put(lane, model, _x(1))
        await asyncio.sleep(0.001)
        await asyncio.gather(first, _put(lane, model, _x(2)))

    asyncio.run(run())
    assert runs == [2]


def test_no_more_wait_than_may(pool: ThreadPoolExecutor) -> None:
    model, _ = _model()

    async def run() -> None:
        lane = Lane(model, pool, Limits(requests=2))
        waiting = [_put(lane, model, _x(value)) for value in (1, 2)]
        with pytest.raises(Overloaded, match="2 requests wait for model 'm' already"):
            _put(lane, model, _x(3))
        await asyncio.gather(*waiting)
        await _put(lane, model, _x(4))

    asyncio.run(run())


def test_what_waited_too_long_or_is_not_wanted_any_more_does_not_run(
    pool: ThreadPoolExecutor,
) -> None:
    model, runs = _model()

    async def run() -> None:
        lane = Lane(model, pool, Limits())
        late = _put(lane, model, _x(1), -1.0)
        dropped = _put(lane, model, _x(2))
        dropped.cancel()
        kept = _put(lane, model, _x(3))
        with pytest.raises(Expired):
            await late
        assert (await kept).rows == 1

    asyncio.run(run())
    assert runs == [1]


def _request(*rows: float, timeout_s: float = 60.0) -> InferRequest:
    x = TensorSpec("x", BY_NAME["FP32"], (len(rows), 1))
    return InferRequest(InferHeader("", (x,), (), True, timeout_s), [list(rows)])


@pytest.fixture
def plane() -> Iterator[DataPlane]:
    made = DataPlane(Limits(rows=2))
    yield made
    made.close()


def test_others_have_their_turn_between_the_pieces_of_a_long_request(plane: DataPlane) -> None:
    model, runs = _model(4 * PIECE_S)

    async def run() -> tuple[list[Any], list[Any]]:
        long = asyncio.create_task(plane.infer(model, _request(*range(8)), None))
        await asyncio.sleep(0)
        short = asyncio.create_task(plane.infer(model, _request(100), None))
        done = [one.outputs[0].array[:, 0].tolist() for one in (await short, await long)]
        return done[0], done[1]

    short, long = asyncio.run(run())
    assert (short, long) == ([200.0], [2.0 * value for value in range(8)])
    assert runs[:2] == [2, 1]
    assert sum(runs) == 9


@pytest.mark.parametrize("leaves", [True, False])
def test_a_client_that_goes_is_not_waited_for(plane: DataPlane, leaves: bool) -> None:
    busy, go_on = threading.Event(), threading.Event()

    def wait() -> None:
        busy.set()
        assert go_on.wait(10)

    model, runs = _model(2 * INLINE_S, during=wait)

    async def gone() -> None:
        if not leaves:
            await asyncio.sleep(3600)

    async def run() -> None:
        first = asyncio.create_task(plane.infer(model, _request(1), None))
        await asyncio.to_thread(busy.wait, 10)
        second: Awaitable[Any] = asyncio.create_task(plane.infer(model, _request(2), gone))
        if leaves:
            with pytest.raises(ClientGone):
                await second
            go_on.set()
        else:
            await asyncio.sleep(0.01)
            go_on.set()
            await second
        await first

    asyncio.run(run())
    assert runs == ([1] if leaves else [1, 1])


def test_a_model_that_went_is_not_kept(plane: DataPlane) -> None:
    model, _ = _model()
    asyncio.run(plane.infer(model, _request(1), None))
    gone = weakref.ref(model)
    del model
    gc.collect()
    assert gone() is None


def test_a_model_without_inputs_runs(plane: DataPlane, tmp_path: Path) -> None:
    text = "m () => (float[1] y) { y = Constant <value = float[1] {7}> () }"
    path = tmp_path / "model.onnx"
    path.write_bytes(onnx.parser.parse_model(OPSET + text).SerializeToString())
    request = InferRequest(InferHeader("", (), (), True), [])
    response = asyncio.run(plane.infer(load(path, "m", 1, 1), request, None))
    assert response.outputs[0].array.tolist() == [7.0]


OPSET = '<ir_version: 9, opset_import: ["" : 17]>'


@pytest.mark.parametrize(
    ("graph", "separate"),
    [
        ("m (float[n, 2] x) => (float[n, 2] y) { y = Softmax <axis = 1> (x) }", True),
        ("m (float[n, 2] x) => (float[n, 2] y) { y = Softmax <axis = 0> (x) }", False),
        ("m (float[1, 2] x) => (float[1, 2] y) { y = Softmax <axis = 1> (x) }", False),
        ("m (float[n, 2] x) => (float[2] y) { y = ReduceSum <keepdims = 0> (x, a) }", False),
        ("m (float[n, h] x, int64[n] i) => (float[n, h] y, int64[n] j) "
         "{ y = Relu (x) j = Neg (i) }", True),
        ("m (float[n] x) => (float[n] y) { y = CumSum (x, a) }", False),
        ("m (string[n] x) => (string[n] y) { y = Identity (x) }", True),
    ],
)  # fmt: skip
def test_whether_rows_are_separate_is_tried(tmp_path: Path, graph: str, separate: bool) -> None:
    head, brace, body = graph.partition("{")
    axis = "<int64[1] a = {0}> " if "(x, a)" in body else ""
    model = onnx.parser.parse_model(OPSET + head + axis + brace + body)
    path = tmp_path / "model.onnx"
    path.write_bytes(model.SerializeToString())
    assert load(path, "m", 1, 1).separate == separate


def _resting(*, fails: bool) -> Model:
    model, _ = _model()
    session = model.session
    assert isinstance(session, _Session)
    session.awake, session.fails = False, fails
    return model


def test_a_model_that_rests_is_woken_for_all_that_wait(pool: ThreadPoolExecutor) -> None:
    model = _resting(fails=False)
    assert _values(_together(model, pool, _x(1), _x(2), _x(3))) == [[2.0], [4.0], [6.0]]
    assert model.session.loaded


def test_where_it_can_not_be_woken_all_that_wait_are_told(pool: ThreadPoolExecutor) -> None:
    results = _together(_resting(fails=True), pool, _x(1), _x(2))
    assert _values(results) == [ModelNotReady, ModelNotReady]
    assert "it is broken" in str(results[0])
