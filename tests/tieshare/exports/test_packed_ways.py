import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from tieshare.exports.packed import floats, indices, whole
from tieshare.exports.packed.coded import Coded, Writer
from tieshare.exports.packed.floats import Weight
from tieshare.exports.packed.pool import pool
from tieshare.exports.packed.tensors import four_bit, in_pairs
from tieshare.measure import session
from tieshare.rounding import rounded

Array = np.ndarray


def decoded(coded: Coded, opset: int = 21, name: str = "v") -> Array:
    """The value that ONNX Runtime finds."""
    shaped = helper.make_tensor_value_info
    nodes = [*coded.nodes, helper.make_node("Identity", [name], ["out"])]
    kind = TensorProto.UNDEFINED
    graph = helper.make_graph(nodes, "g", [], [shaped("out", kind, None)], [*coded.tensors])
    graph.output[0].ClearField("type")
    opsets = [helper.make_opsetid("", opset)]
    return np.asarray(
        session(helper.make_model(graph, opset_imports=opsets, ir_version=10)).run(None, {})[0]
    )


def operators(coded: Coded) -> list[str]:
    return [node.op_type for node in coded.nodes]


def normal(*shape: int) -> Array:
    return np.random.default_rng(0).normal(size=shape).astype(np.float32)


def test_whole_numbers_of_four_bits_lie_two_in_a_byte_the_first_one_low() -> None:
    assert in_pairs(np.array([1, -1, 7])).tolist() == [0xF1, 0x07]
    tensor = four_bit(np.array([[1, -8, 7]], np.int8), "t")
    assert (tensor.data_type, list(tensor.dims)) == (TensorProto.INT4, [1, 3])
    assert onnx.numpy_helper.to_array(tensor).astype(int).tolist() == [[1, -8, 7]]
    assert four_bit(np.array([15], np.uint8), "t").data_type == TensorProto.UINT4


@pytest.mark.parametrize("dtype", [np.int8, np.uint8])
@pytest.mark.parametrize("way", whole.WAYS)
@pytest.mark.parametrize("target", [TensorProto.FLOAT, TensorProto.INT32])
def test_every_way_of_writing_whole_numbers_gives_them_back(
    way: whole.Way, dtype: type[np.integer], target: int
) -> None:
    low = -8 if dtype is np.int8 else 0
    q = np.random.default_rng(0).integers(low, low + 16, size=(6, 3)).astype(dtype)
    for opset in (10, 13, 21):
        writer = Writer("v", "s")
        if way(writer, q, target, opset) is not None:
            assert decoded(writer.coded(), opset).tolist() == q.tolist()


def test_four_bits_hold_no_more_than_they_hold() -> None:
    for q in (np.array([8, 0], np.int8), np.array([16, 0], np.uint8)):
        assert whole.four_bit(Writer("v", "s"), q, TensorProto.INT32, 21) is None
        assert whole.pairs(Writer("v", "s"), q, TensorProto.INT32, 21) is None
    odd = np.array([1, 2, 3], np.int8)
    assert whole.pairs(Writer("v", "s"), odd, TensorProto.INT32, 13) is None


@pytest.mark.parametrize("bits", [4, 8, 16])
@pytest.mark.parametrize(("shape", "axis"), [((40, 30), 1), ((40, 30), 0), ((6, 5, 3, 3), 0)])
@pytest.mark.parametrize("opset", [7, 13, 21])
def test_a_weight_is_decoded_bit_for_bit(
    bits: int, shape: tuple[int, ...], axis: int, opset: int
) -> None:
    values = rounded(normal(*shape), bits, axis)
    coded = floats.written(Weight(values, "v", "s", bits, axis, opset))
    assert decoded(coded, opset).tobytes() == values.tobytes()
    assert coded.bytes() < {4: 0.3, 8: 0.45, 16: 0.6}[bits] * values.nbytes + 60


def test_a_weight_of_few_values_is_written_by_which_of_them_it_is() -> None:
    values = np.random.default_rng(0).choice(normal(16), size=(50, 40))
    coded = floats.written(Weight(values, "v", "s", 4, 1, 21))
    assert operators(coded) == ["Cast", "Gather"]
    assert coded.bytes() < 1000 + 16 * 4 + 80
    assert decoded(coded).tobytes() == values.tobytes()
    more = np.random.default_rng(0).choice(normal(200), size=(50, 40))
    coded = floats.written(Weight(more, "v", "s", 16, 1, 21))
    assert operators(coded) == ["Cast", "Gather"]
    assert decoded(coded).tobytes() == more.tobytes()


def test_a_small_weight_stays_as_it_is() -> None:
    values = rounded(normal(3, 4), 8, 1)
    assert not floats.written(Weight(values, "v", "s", 8, 1, 21)).nodes


def indices_of(values: Array, opset: int = 21) -> Coded:
    coded = indices.written(values, "v", "s", opset)
    found = decoded(coded, opset)
    assert found.dtype == np.int64
    assert found.shape == values.shape
    assert found.tolist() == values.tolist()
    return coded


def test_numbers_below_128_need_no_node() -> None:
    coded = indices_of(np.random.default_rng(0).integers(128, size=300))
    assert not coded.nodes
    assert coded.bytes() < 320


def test_numbers_up_to_15_are_four_bits_each_and_large_ones_two_bytes() -> None:
    rng = np.random.default_rng(0)
    coded = indices_of(rng.integers(16, size=300))
    assert operators(coded) == ["Cast"]
    assert coded.bytes() < 200
    coded = indices_of(rng.integers(60_000, size=300))
    assert operators(coded) == ["Cast"]
    assert coded.bytes() < 650


def test_rising_places_are_bits() -> None:
    places = np.sort(np.random.default_rng(0).permutation(784)[:300])
    coded = indices_of(places)
    assert operators(coded) == ["BitwiseAnd", "Reshape", "NonZero", "Squeeze"]
    assert coded.bytes() < 98 + 150
    assert "NonZero" not in operators(indices_of(places, opset=17))


@pytest.mark.parametrize("shape", [(-1,), (-1, 1, 1)])
@pytest.mark.parametrize("most", [100, 190, 5000])
def test_numbers_that_are_mostly_one_are_bits_and_the_others(
    shape: tuple[int, ...], most: int
) -> None:
    rng = np.random.default_rng(0)
    values = np.full(2000, most)
    values[rng.permutation(2000)[:400]] = rng.integers(most, size=400)
    coded = indices_of(values.reshape(shape))
    assert "CumSum" in operators(coded)
    assert coded.bytes() < 250 + 400 * (1 if most < 256 else 2) + 260


def test_numbers_that_are_no_places_stay_whole() -> None:
    for values in (np.array([-1, 2**40]), np.arange(-9, 90), np.array([2**40] * 20)):
        assert not indices_of(values).nodes


@pytest.mark.parametrize("opset", [12, 13, 18])
def test_small_vectors_are_one_tensor_of_float16(opset: int) -> None:
    rng = np.random.default_rng(0)
    arrays = {
        name: rng.normal(size=n).astype(np.float16).astype(np.float32)
        for name, n in (("a", 30), ("b", 10), ("c", 5))
    }
    arrays |= {"table": normal(3, 2), "exact": normal(4)}
    made = pool(arrays, iter(f"s.{n}" for n in range(9)), opset)
    tensors = [tensor for one in made for tensor in one.tensors]
    nodes = [node for one in made for node in one.nodes]
    whole_ = Coded(tuple(tensors), tuple(nodes))
    assert [node.op_type for node in nodes] == ["Cast", "Split"]
    for name, array in arrays.items():
        assert decoded(whole_, opset, name).tobytes() == array.tobytes()


def test_a_vector_alone_is_float16_only_where_the_cast_pays() -> None:
    for size, nodes in ((8, 0), (100, 1)):
        array = normal(size).astype(np.float16).astype(np.float32)
        (coded,) = pool({"v": array}, iter(["s"]), 21)
        assert len(coded.nodes) == nodes
        assert decoded(coded).tobytes() == array.tobytes()
