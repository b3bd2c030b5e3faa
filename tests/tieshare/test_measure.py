from collections.abc import Callable
from itertools import pairwise

import numpy as np
import onnx
import pytest
from onnx import ModelProto, helper, numpy_helper, parser

from tieshare.errors import UnsupportedModel
from tieshare.measure import (
    batches_of,
    check_runs,
    feed,
    fixed_batch,
    interleaved,
    latencies,
    predict,
    predictions,
)

Make = Callable[[str], ModelProto]


def model_of(text: str, **arrays: np.ndarray) -> ModelProto:
    model = parser.parse_model(f'<ir_version: 8, opset_import: ["" : 17]> {text}')
    for name, array in arrays.items():
        model.graph.initializer.append(numpy_helper.from_array(array, name))
    onnx.checker.check_model(model, full_check=True)
    return model


def double(batch: str = "N") -> ModelProto:
    return model_of(
        f"g (float[{batch},3] x) => (float[{batch},3] y, float[{batch},3] z)"
        "{ y = Mul(x, two) z = Neg(x) }",
        two=np.array([2], dtype=np.float32),
    )


X = np.arange(30, dtype=np.float32).reshape(10, 3)


@pytest.mark.parametrize("batch", ["N", "4", "16"])
@pytest.mark.parametrize("size", [1, 3, 256])
def test_every_sample_is_predicted_once_and_in_order(batch: str, size: int) -> None:
    assert predict(double(batch), "y", [X], batch=size).tolist() == (2 * X).tolist()
    assert predict(double(batch), "z", [X], batch=size).tolist() == (-X).tolist()


@pytest.mark.parametrize("batch", ["N", "4"])
def test_several_outputs_come_together_chunk_by_chunk(batch: str) -> None:
    chunks = list(predictions(double(batch), ["z", "y"], [X], batch=4))
    assert [[len(output) for output in outputs] for outputs in chunks] == [[4, 4], [4, 4], [2, 2]]
    z, y = (np.concatenate(parts) for parts in zip(*chunks, strict=True))
    assert (z.tolist(), y.tolist()) == ((-X).tolist(), (2 * X).tolist())


def test_inputs_are_fed_in_the_order_of_the_graph() -> None:
    model = model_of("g (float[N,3] a, float[N,3] b) => (float[N,3] y) { y = Sub(a, b) }")
    assert predict(model, "y", [X, 2 * X], batch=4).tolist() == (-X).tolist()


def test_a_batch_is_fixed_where_the_first_axis_is_a_number() -> None:
    assert fixed_batch(double("N")) is None
    assert fixed_batch(double("4")) == 4
    assert list(batches_of(double("N"), (1, 32))) == [1, 32]
    assert list(batches_of(double("4"), (1, 32))) == [4]


def test_a_stored_tensor_among_the_inputs_is_not_fed() -> None:
    model = double()
    model.graph.input.insert(0, helper.make_tensor_value_info("two", 1, [1]))
    assert list(feed(model, 2)) == ["x"]


def test_random_inputs_have_the_shape_and_type_of_the_graph() -> None:
    fed = feed(model_of("g (float[N,T,3] x, int64[N] i) => (float[N,T,3] y) { y = Neg(x) }"), 5)
    assert fed["x"].shape == (5, 32, 3)
    assert fed["x"].dtype == np.float32
    assert 0.8 < fed["x"].std() < 1.2
    assert fed["i"].tolist() == [0] * 5
    assert fed["i"].dtype == np.int64


def test_samples_are_repeated_to_the_batch() -> None:
    assert feed(double(), 5, [X[:2]])["x"][:, 0].tolist() == [0, 3, 0, 3, 0]


def test_a_call_takes_as_long_as_it_takes_and_all_take_turns() -> None:
    order: list[str] = []

    def call(name: str, work: int) -> Callable[[], object]:
        def run() -> None:
            order.append(name)
            sum(range(work))

        return run

    times = interleaved({"short": call("short", 20_000), "long": call("long", 400_000)})
    assert 2 < times["long"] / times["short"] < 100
    assert 50 < times["short"] < 50_000
    assert sum(one != other for one, other in pairwise(order)) >= 10


def test_a_small_budget_still_gives_five_rounds() -> None:
    calls = 0

    def call() -> None:
        nonlocal calls
        calls += 1
        sum(range(100_000))

    interleaved({"only": call}, budget_s=0)
    assert 3 + 5 <= calls <= 3 + 5 * 4


def test_latencies_are_by_model_and_batch() -> None:
    wide = model_of(
        "g (float[N,3] x) => (float[N,9000] y) { y = MatMul(x, w) }",
        w=np.ones((3, 9000), dtype=np.float32),
    )
    found = latencies({"small": double(), "wide": wide}, batches=(1, 64))
    assert {name: list(by_batch) for name, by_batch in found.items()} == {
        "small": [1, 64],
        "wide": [1, 64],
    }
    assert all(0.5 < us < 1e5 for by_batch in found.values() for us in by_batch.values())
    assert found["wide"][64] > found["small"][64]


def test_a_fixed_batch_is_the_one_that_is_measured() -> None:
    assert list(latencies({"fixed": double("4")})["fixed"]) == [4]


def test_a_model_that_onnx_runtime_can_t_load_is_refused_with_its_reason(from_text: Make) -> None:
    model = from_text("""<ir_version: 9, opset_import: ["" : 20]>
    g (float[N, 4] x) => (float[N, 4] y) <float[4, 4] w> { y = MatMul (x, w) }""")
    check_runs(model)
    model.graph.node[0].op_type = "Nonsense"
    with pytest.raises(UnsupportedModel, match="Nonsense"):
        check_runs(model)


def test_that_a_made_sample_does_not_fit_says_nothing(from_text: Make) -> None:
    model = from_text("""<ir_version: 9, opset_import: ["" : 20]>
    g (float[N, K] x) => (float[N, 4] y) <float[7, 4] w> { y = MatMul (x, w) }""")
    check_runs(model)


def test_a_run_that_takes_too_much_memory_is_told_from_others(from_text: Make) -> None:
    model = from_text("""<ir_version: 9, opset_import: ["" : 20]>
    g (float[N, 4] x, int64[2] size) => (float[A, B] y) <float[1, 1] w> { y = Expand (w, size) }""")
    del model.graph.input[1]
    model.graph.initializer.append(
        numpy_helper.from_array(np.array([1 << 30, 1 << 30], np.int64), "size")
    )
    with pytest.raises(MemoryError):
        check_runs(model)
