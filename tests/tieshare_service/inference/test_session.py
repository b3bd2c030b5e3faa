"""Sessions within a budget: who rests, who stays, and what an answer is worth after a rest."""

import asyncio
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest

from tieshare_service.inference.batching import Limits
from tieshare_service.inference.data_plane import DataPlane
from tieshare_service.inference.datatypes import BY_NAME
from tieshare_service.inference.errors import LoadFailed, ModelNotReady
from tieshare_service.inference.model import Model, load
from tieshare_service.inference.session import Memory, Session, resident_bytes
from tieshare_service.inference.types import InferHeader, InferRequest, TensorSpec

Publish = Callable[[str, int, onnx.ModelProto | bytes], Path]
X = np.ones((2, 4), np.float32)
RESTING = """
import sys
from pathlib import Path
from tieshare_service.inference.model import load
from tieshare_service.inference.session import give_back, resident_bytes
before = resident_bytes()
model = load(Path(sys.argv[1]), "wide", 1, 1)
loaded, size = resident_bytes(), model.session.size
model.session.rest()
give_back()
print(size, before, loaded, resident_bytes())
"""


@pytest.fixture
def served(
    publish: Publish, digits: onnx.ModelProto, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., list[Model]]:
    """Models of these names, loaded one after another; each counts as the bytes of its file."""
    monkeypatch.setattr("tieshare_service.inference.model.resident_bytes", lambda: 0)

    def make(memory: Memory, *names: str) -> list[Model]:
        files = [publish(name, 1, digits) / "model.onnx" for name in names]
        return [load(f, name, 1, 1, memory) for f, name in zip(files, names, strict=True)]

    return make


@pytest.fixture
def size(digits: onnx.ModelProto) -> int:
    """Of one of these."""
    return digits.ByteSize()


def awake(models: list[Model]) -> list[bool]:
    return [model.session.loaded for model in models]


def test_without_a_budget_all_stay_loaded(served: Callable[..., list[Model]], size: int) -> None:
    memory = Memory()
    models = served(memory, *"abcd")
    assert awake(models) == [True] * 4
    assert (memory.loaded, memory.used) == (4, 4 * size)


def test_the_least_recently_used_rests(served: Callable[..., list[Model]], size: int) -> None:
    memory = Memory(3.5 * size)
    a, b, c = served(memory, *"abc")
    a.run(["y"], {"x": X})
    (d,) = served(memory, "d")
    assert awake([a, b, c, d]) == [True, False, True, True]
    assert (memory.loaded, memory.used) == (3, 3 * size)


def test_a_pinned_model_never_rests(served: Callable[..., list[Model]], size: int) -> None:
    models = served(Memory(2.5 * size, pinned=["a"]), *"abc")
    assert awake(models) == [True, False, True]


def test_one_that_is_larger_than_the_budget_is_loaded_nevertheless(
    served: Callable[..., list[Model]], size: int
) -> None:
    assert awake(served(Memory(size / 2), *"ab")) == [False, True]


def test_after_a_rest_it_answers_as_before(served: Callable[..., list[Model]]) -> None:
    (model,) = served(Memory(), "a")
    (before,) = model.run(["y"], {"x": X})
    model.session.rest()
    assert not model.session.loaded
    (after,) = model.run(["y"], {"x": X})
    assert model.session.loaded
    assert after.tobytes() == before.tobytes()


def test_what_is_gone_is_no_more_counted(served: Callable[..., list[Model]]) -> None:
    memory = Memory()
    served(memory, *"ab")
    assert memory.loaded == 0


def test_several_threads_that_wake_one_model_load_it_once(
    served: Callable[..., list[Model]], monkeypatch: pytest.MonkeyPatch
) -> None:
    (model,) = served(Memory(), "a")
    model.session.rest()
    loads: list[int] = []
    plain = Session._load

    def slowly(session: Session) -> object:
        loads.append(1)
        time.sleep(0.05)
        return plain(session)

    monkeypatch.setattr(Session, "_load", slowly)
    threads = [threading.Thread(target=model.run, args=(["y"], {"x": X})) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert loads == [1]


@pytest.mark.parametrize("replaced", [True, False])
def test_a_file_that_is_another_one_after_the_rest_does_not_answer_for_it(
    publish: Publish, digits: onnx.ModelProto, replaced: bool
) -> None:
    path = publish("a", 1, digits) / "model.onnx"
    model = load(path, "a", 1, 1)
    model.session.rest()
    path.unlink()
    if replaced:
        path.write_bytes(digits.SerializeToString())
        os.utime(path, ns=(1, 1))
    with pytest.raises(ModelNotReady, match="has changed" if replaced else "can't be read"):
        model.run(["y"], {"x": X})
    with pytest.raises(LoadFailed):
        model.session.up()


def test_the_event_loop_is_free_while_a_model_is_woken(
    served: Callable[..., list[Model]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (model,) = served(Memory(), "a")
    model.session.rest()
    let_go = threading.Event()
    plain = Session._load

    def held(session: Session) -> object:
        assert let_go.wait(10)
        return plain(session)

    monkeypatch.setattr(Session, "_load", held)

    async def run() -> float:
        plane = DataPlane(Limits())
        x = TensorSpec("x", BY_NAME["FP32"], X.shape)
        header = InferHeader("", (x,), (), binary=True)
        request = InferRequest(header, [memoryview(X.tobytes())])
        running = asyncio.ensure_future(plane.infer(model, request, None))
        await asyncio.sleep(0.05)
        let_go.set()
        response = await running
        plane.close()
        return float(response.outputs[0].array[0, 0])

    assert asyncio.run(run()) == pytest.approx(model.run(["y"], {"x": X})[0][0, 0])


def test_memory_that_rests_is_given_back_to_the_system(publish: Publish) -> None:
    if not resident_bytes():
        pytest.skip("the system does not tell how large a process is")
    w = np.random.default_rng(0).random((2000, 4000), np.float32)
    ends = [
        onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, ["n", size])
        for name, size in (("x", 2000), ("y", 4000))
    ]
    node = onnx.helper.make_node("MatMul", ["x", "w"], ["y"])
    weight = onnx.numpy_helper.from_array(w, "w")
    graph = onnx.helper.make_graph([node], "wide", ends[:1], ends[1:], [weight])
    opset = [onnx.helper.make_opsetid("", 17)]
    wide = onnx.helper.make_model(graph, opset_imports=opset, ir_version=9)
    file = publish("wide", 1, wide) / "model.onnx"
    # In a process of its own: one that has run thousands of tests has memory to spare.
    command = [sys.executable, "-c", RESTING, str(file)]
    told = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    size, before, loaded, after = map(int, told.split())
    assert size > 30_000_000
    assert after - before < 0.6 * (loaded - before)
