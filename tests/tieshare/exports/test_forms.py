import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import ModelProto, helper, numpy_helper

from tieshare.exports.forms import FORMS, Form, Formed, TiedLayer
from tieshare.exports.rows import read_rows
from tieshare.measure import session

Array = NDArray[np.generic]
Floats = NDArray[np.float32]
BY_NAME = {form.name: form for form in FORMS}
CLUSTERS = np.array([0, -1, 1, 0, 2, -1, 1, 1])  # of the eight inputs
UNIQUE = np.random.default_rng(1).normal(size=(3, 5)).astype(np.float32)


def weight_of(clusters: NDArray[np.int64]) -> Floats:
    """(rows, units)"""
    padded = np.vstack([UNIQUE, np.zeros((1, 5), dtype=np.float32)])
    return np.ascontiguousarray(padded[clusters])


def linear(operator: str, W: Floats, opset: int = 17) -> TiedLayer:
    """Gemm keeps its weight transposed, MatMul does not."""
    rows = read_rows(W)
    if operator == "MatMul":
        return TiedLayer(helper.make_node("MatMul", ["x", "W"], ["y"]), "W", "W", W, 0, rows, opset)
    node = helper.make_node("Gemm", ["x", "W", "b"], ["y"], transB=1)
    return TiedLayer(node, "W", "W", np.ascontiguousarray(W.T), 1, rows, opset)


def conv(W: Floats, opset: int = 17) -> TiedLayer:
    """A 3x3 kernel whose entries are multiples of one number."""
    kernel = np.arange(1, 10, dtype=np.float32).reshape(3, 3)
    weight = np.einsum("io,hw->oihw", W, kernel).astype(np.float32)
    node = helper.make_node("Conv", ["x", "W", "b"], ["y"], pads=[1, 1, 1, 1], strides=[2, 2])
    return TiedLayer(node, "W", "W", weight, 1, read_rows(W), opset)


def outcome(layer: TiedLayer, formed: Formed, x: Floats) -> Floats:
    tensors = dict(formed.tensors)
    if len(layer.node.input) > 2:
        tensors["b"] = np.arange(5, dtype=np.float32)
    return np.asarray(session(alone(layer, formed, tensors)).run(None, {"x": x})[0])


def alone(layer: TiedLayer, formed: Formed, tensors: dict[str, Array]) -> ModelProto:
    rank = layer.weight.ndim
    graph = helper.make_graph(
        [*formed.before, *formed.nodes],
        "layer",
        [helper.make_tensor_value_info("x", 1, [None] * rank)],
        [helper.make_tensor_value_info("y", 1, [None] * rank)],
        [numpy_helper.from_array(array, name) for name, array in tensors.items()],
    )
    opsets = [helper.make_opsetid("", layer.opset)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=8)
    onnx.checker.check_model(model, full_check=True)
    return model


@pytest.mark.parametrize("form", FORMS, ids=lambda form: form.name)
@pytest.mark.parametrize("opset", [9, 10, 11, 13, 17, 21])
@pytest.mark.parametrize("operator", ["Gemm", "MatMul", "Conv"])
def test_every_form_computes_what_the_plain_weight_does(
    form: Form, operator: str, opset: int
) -> None:
    W = weight_of(CLUSTERS)
    layer = conv(W, opset) if operator == "Conv" else linear(operator, W, opset)
    shape = (3, 8, 6, 6) if operator == "Conv" else (3, 8)
    x = np.random.default_rng(2).normal(size=shape).astype(np.float32)
    formed, plain = form.build(layer), BY_NAME["plain"].build(layer)
    assert formed is not None
    assert plain is not None
    np.testing.assert_allclose(outcome(layer, formed, x), outcome(layer, plain, x), atol=1e-4)


@pytest.mark.parametrize("name", ["table", "alive", "sums"])
def test_each_unique_row_is_stored_once(name: str) -> None:
    formed = BY_NAME[name].build(linear("Gemm", weight_of(CLUSTERS)))
    assert formed is not None
    floats = [a for a in formed.tensors.values() if a.dtype == np.float32 and a.ndim == 2]
    assert [array.shape for array in floats] == [(5, 3)]


@pytest.mark.parametrize("name", ["table", "alive"])
def test_below_opset_nine_there_is_a_form_without_one_hot(name: str) -> None:
    layer = linear("Gemm", weight_of(CLUSTERS), opset=7)
    x = np.random.default_rng(2).normal(size=(3, 8)).astype(np.float32)
    formed, plain = BY_NAME[name].build(layer), BY_NAME["plain"].build(layer)
    assert formed is not None
    assert plain is not None
    np.testing.assert_allclose(outcome(layer, formed, x), outcome(layer, plain, x), atol=1e-5)
    assert BY_NAME["sums"].build(layer) is None


def test_rows_that_are_all_different_have_the_plain_form_alone() -> None:
    layer = linear("Gemm", weight_of(np.array([0, 1, 2])))
    assert [form.name for form in FORMS if form.build(layer)] == ["plain"]


def test_a_weight_without_alive_rows_has_the_plain_form_alone() -> None:
    layer = linear("Gemm", np.zeros((4, 5), dtype=np.float32))
    assert [form.name for form in FORMS if form.build(layer)] == ["plain"]


def test_without_dead_rows_no_input_can_be_left_out() -> None:
    layer = linear("Gemm", weight_of(np.array([0, 1, 2, 1, 1])))
    assert [form.name for form in FORMS if form.build(layer)] == ["plain", "table", "sums"]


def test_one_cluster_of_all_rows_is_summed_by_a_column_of_ones() -> None:
    layer = linear("MatMul", weight_of(np.zeros(6, dtype=np.int64)))
    formed = BY_NAME["sums"].build(layer)
    assert formed is not None
    x = np.arange(12, dtype=np.float32).reshape(2, 6)
    expected = x.sum(axis=1, keepdims=True) * UNIQUE[:1]
    np.testing.assert_allclose(outcome(layer, formed, x), expected, rtol=1e-5)


@pytest.mark.parametrize(
    ("clusters", "dtype"), [(256, np.uint8), (257, np.uint16), (65537, np.int32)]
)
def test_cluster_numbers_take_the_fewest_bytes_that_hold_them(
    clusters: int, dtype: type[np.integer]
) -> None:
    numbers = np.r_[np.arange(clusters), 0]  # the first and the last row are tied
    W = (numbers[:, None] + 1).astype(np.float32)
    formed = BY_NAME["table"].build(linear("MatMul", W))
    assert formed is not None
    assert formed.tensors["W.numbers"].dtype == dtype


def test_only_forms_in_place_leave_the_node_as_it_is() -> None:
    layer = linear("Gemm", weight_of(CLUSTERS))
    for form in FORMS:
        formed = form.build(layer)
        assert formed is not None
        assert (formed.nodes == (layer.node,)) == form.in_place


@pytest.mark.parametrize(
    ("shape", "row_axis"),
    [((8, 5), 0), ((5, 8), 1), ((2, 12, 8), 2), ((8, 3, 2, 2), 0), ((6, 8, 3), 1), ((2, 8, 3), 1)],
    ids=["table", "turned", "recurrent", "upwards", "grouped", "one matrix a head"],
)
@pytest.mark.parametrize("opset", [9, 13])
def test_the_table_gives_back_the_weight_bit_for_bit_along_any_axis(
    shape: tuple[int, ...], row_axis: int, opset: int
) -> None:
    W = np.random.default_rng(3).normal(size=(8, np.prod(shape) // 8)).astype(np.float32)
    tied = np.vstack([W, np.zeros_like(W[:1])])[CLUSTERS]
    others = [length for axis, length in enumerate(shape) if axis != row_axis]
    weight = np.ascontiguousarray(np.moveaxis(tied.reshape(8, *others), 0, row_axis))
    node = helper.make_node("Add", ["x", "W"], ["y"])
    layer = TiedLayer(node, "W", "W", weight, row_axis, read_rows(tied), opset)
    formed = BY_NAME["table"].build(layer)
    assert formed is not None
    assert formed.tensors["W.rows"].size == weight.size * 3 // 8
    model = alone(layer, formed, dict(formed.tensors))
    (made,) = session(model).run(None, {"x": np.zeros(shape, dtype=np.float32)})
    assert np.asarray(made).tobytes() == weight.tobytes()
