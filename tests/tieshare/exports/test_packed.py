from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import ModelProto, TensorProto, helper

from tieshare.exports.packed import packed
from tieshare.exports.packed.strip import stripped
from tieshare.exports.shared import Shared, shared, simple
from tieshare.exports.verify import differences
from tieshare.graph.tensors import tensors
from tieshare.measure import inputs_of
from tieshare.rounding import rounded

Array = np.ndarray
Build = Callable[..., ModelProto]
Tensors = dict[str, Array]

MLP = (
    "g (float[N,784] x) => (float[N,10] y)"
    "{ h = Gemm<transB = 1>(x, w1, b1) r = Relu(h) y = Gemm<transB = 1>(r, w2, b2) }"
)
LENET = (
    "g (float[N,1,28,28] x) => (float[N,10] y)"
    "{ c = Conv<kernel_shape = [5, 5], strides = [1, 1], pads = [0, 0, 0, 0]>(x, k1, c1)"
    "  r = Relu(c) p = MaxPool<kernel_shape = [2, 2], strides = [2, 2]>(r)"
    "  d = Conv<kernel_shape = [5, 5]>(p, k2, c2) s = Relu(d)"
    "  q = MaxPool<kernel_shape = [2, 2], strides = [2, 2]>(s)"
    "  f = Flatten(q) h = Gemm<transB = 1>(f, w1, b1) t = Relu(h)"
    "  y = Gemm<transB = 1>(t, w2, b2) }"
)
STRIPPED = "tieshare.exports.packed.pack.stripped"
DECODERS = {"BitwiseAnd", "Cast", "CumSum", "DequantizeLinear", "Div", "MatMulNBits", "Mod", "Mul"}
DECODERS |= {"NonZero", "OneHot", "Pad", "Sign", "Split", "Squeeze", "Sub"}


def normal(rng: np.random.Generator, *shape: int) -> Array:
    return rng.normal(size=shape).astype(np.float32)


def of_16_values(rng: np.random.Generator, *shape: int) -> Array:
    values = rng.normal(size=16).astype(np.float16).astype(np.float32)
    return np.asarray(rng.choice(values, size=shape))


def spread(table: Array, alive: int, rows: int, rng: np.random.Generator) -> Array:
    """(units, rows) of which so many are alive and equal to columns of the table."""
    clusters = table.shape[1]
    numbers = np.append(np.arange(clusters), rng.integers(clusters, size=alive - clusters))
    W = np.zeros((len(table), rows), np.float32)
    W[:, np.sort(rng.permutation(rows)[:alive])] = table[:, rng.permutation(numbers)]
    return W


def mlp(rng: np.random.Generator, draw: Callable[..., Array] = of_16_values) -> Tensors:
    """784-30-10: 330 alive inputs in 190 clusters."""
    return {
        "w1": spread(draw(rng, 30, 190), 330, 784, rng),
        "b1": normal(rng, 30),
        "w2": draw(rng, 10, 30),
        "b2": normal(rng, 10),
    }


def lenet(rng: np.random.Generator, draw: Callable[..., Array] = of_16_values) -> Tensors:
    """6 and 15 channels, 99 alive inputs in 62 clusters, 11 hidden units: 3,234 numbers."""
    return {
        "k1": draw(rng, 6, 1, 5, 5),
        "c1": normal(rng, 6),
        "k2": draw(rng, 15, 6, 5, 5),
        "c2": normal(rng, 15),
        "w1": spread(draw(rng, 11, 62), 99, 240, rng),
        "b1": normal(rng, 11),
        "w2": draw(rng, 10, 11),
        "b2": normal(rng, 10),
    }


def all_in(bits: int, small: Shared) -> dict[str, int]:
    return {choice.layer: bits for choice in small.choices}


def operators(model: ModelProto, folder: Path) -> Counter[str]:
    """Of the graph that ONNX Runtime runs."""
    path = folder / "optimised.onnx"
    options = ort.SessionOptions()
    options.log_severity_level = 3
    options.optimized_model_filepath = str(path)
    ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return Counter(node.op_type for node in onnx.load(path).graph.node)


@pytest.mark.parametrize(("text", "make", "most"), [(MLP, mlp, 4200), (LENET, lenet, 2800)])
def test_small_networks_in_four_bits_have_few_bytes_beside_their_numbers(
    build: Build, rng: np.random.Generator, text: str, make: Callable[..., Tensors], most: int
) -> None:
    small = shared(build(text, opset=20, **make(rng)))
    made = packed(small, all_in(4, small))
    onnx.checker.check_model(made, full_check=True)
    assert made.ByteSize() <= most
    assert made.opset_import[0].version == 21
    assert max(differences(small.model, made).values()) < 1e-3


@pytest.mark.parametrize(("bits", "most"), [(16, 14_400), (8, 8_000), (4, 4_600)])
def test_weights_that_are_on_no_grid_are_rounded_to_one(
    build: Build, rng: np.random.Generator, bits: int, most: int
) -> None:
    small = simple(build(MLP, opset=20, **mlp(rng, normal)))
    made = packed(small, all_in(bits, small))
    values = tensors(small.model)
    table = next(choice for choice in small.choices if choice.form == "table")
    values[table.table] = rounded(values[table.table], bits, table.unit_axis)
    assert made.ByteSize() <= most
    worst = max(differences(small.model, made).values())
    assert worst < {16: 1e-3, 8: 0.02, 4: 0.3}[bits]


@pytest.mark.parametrize(("text", "make"), [(MLP, mlp), (LENET, lenet)])
@pytest.mark.parametrize("draw", [normal, of_16_values])
@pytest.mark.parametrize("bits", [4, 8, 16])
def test_onnx_runtime_runs_the_shared_graph_once_it_has_loaded_the_packed_one(
    build: Build,
    rng: np.random.Generator,
    tmp_path: Path,
    text: str,
    make: Callable[..., Tensors],
    draw: Callable[..., Array],
    bits: int,
) -> None:
    small = shared(build(text, opset=20, **make(rng, draw)))
    found = operators(packed(small, all_in(bits, small)), tmp_path)
    assert found == operators(small.model, tmp_path)
    assert not found.keys() & (DECODERS - {"Split"})


def test_inputs_and_outputs_keep_names_types_and_free_batch(
    build: Build, rng: np.random.Generator
) -> None:
    small = simple(build(MLP, **mlp(rng)))
    made = packed(small, all_in(4, small))
    assert inputs_of(made) == inputs_of(small.model)
    assert made.graph.output == small.model.graph.output


@pytest.mark.parametrize("opset", [7, 8, 9, 10, 11, 12, 13, 15, 17, 18, 20, 21, 22, 24])
@pytest.mark.parametrize("bits", [4, 8])
def test_it_works_at_every_opset(
    build: Build, rng: np.random.Generator, opset: int, bits: int
) -> None:
    text = MLP.replace("y =", "z =").replace(" }", " y = Softmax(z) }")
    small = simple(build(text, opset=opset, ir_version=3 if opset < 9 else 8, **mlp(rng)))
    made = packed(small, all_in(bits, small))
    onnx.checker.check_model(made, full_check=True)
    assert made.ByteSize() < 0.36 * small.model.ByteSize()
    assert max(differences(small.model, made).values()) < 0.02
    assert made.opset_import[0].version in (opset, 21)


def test_softmax_means_something_else_later_so_its_opset_is_not_raised(
    build: Build, rng: np.random.Generator
) -> None:
    text = MLP.replace("y =", "z =").replace(" }", " y = Softmax(z) }")
    small = simple(build(text, opset=12, **mlp(rng)))
    made = packed(small, all_in(4, small))
    assert made.opset_import[0].version == 12
    assert made.ByteSize() < 4900
    assert any(node.op_type == "Mod" for node in made.graph.node)


def test_layers_may_have_different_bits_and_those_without_keep_their_weights(
    build: Build, rng: np.random.Generator
) -> None:
    small = simple(build(MLP, **mlp(rng, normal)))
    first, last = (choice.layer for choice in small.choices)
    sizes = [packed(small, bits).ByteSize() for bits in ({first: 4, last: 4}, {first: 4, last: 8})]
    assert 120 <= sizes[1] - sizes[0] <= 180
    made = packed(small, {last: 8})
    kept = next(choice for choice in small.choices if choice.layer == first)
    stored = {array.tobytes() for array in tensors(made).values()}
    table = tensors(small.model)[kept.table]
    assert {table.tobytes(), np.ascontiguousarray(table.T).tobytes()} & stored


def test_with_no_bits_at_all_nothing_is_rounded(build: Build, rng: np.random.Generator) -> None:
    small = simple(build(MLP, **mlp(rng, normal)))
    made = packed(small, {})
    assert made.ByteSize() < small.model.ByteSize()
    assert max(differences(small.model, made).values()) == 0


def test_biases_that_float16_has_no_room_for_stay(build: Build, rng: np.random.Generator) -> None:
    arrays = mlp(rng)
    arrays["b1"][3] = 1e6
    arrays["b2"][:] = np.linspace(1e-9, 5e-9, 10)
    small = simple(build(MLP, opset=20, **arrays))
    made = tensors(packed(small, all_in(4, small)))
    kept = {array.tobytes() for array in made.values()}
    assert {arrays["b1"].tobytes(), arrays["b2"].tobytes()} <= kept


def test_tables_that_several_layers_read_and_recurrent_weights_are_packed(
    build: Build, rng: np.random.Generator
) -> None:
    text = (
        "g (float[N,T,6] x, int64[N] i) => (float[N,12] y) { v = Transpose<perm = [1, 0, 2]>(x)"
        '  o, h, c = LSTM<hidden_size = 8, direction = "bidirectional">(v, w, r, b)'
        "  t = Transpose<perm = [1, 0, 2]>(h) f = Reshape(t, shape) e = Gather(table, i)"
        "  d = MatMul(f, k) a = Add(d, e) s = MatMul(a, turned) y = Tanh(s) }"
    )
    table = normal(rng, 50, 12)
    arrays = {
        "w": 0.3 * normal(rng, 2, 32, 6),
        "r": 0.3 * normal(rng, 2, 32, 8),
        "b": normal(rng, 2, 64),
        "shape": np.array([-1, 16]),
        "table": table,
        "k": normal(rng, 16, 12),
        "turned": normal(rng, 12, 12),
    }
    small = simple(build(text, opset=20, **arrays))
    made = packed(small, all_in(8, small))
    onnx.checker.check_model(made, full_check=True)
    assert made.ByteSize() < 0.39 * small.model.ByteSize()
    assert max(differences(small.model, made).values()) < 0.1


@pytest.mark.parametrize("bits", [4, 8])
def test_values_stay_on_their_grid_when_batch_norm_is_folded_into_them(
    build: Build, rng: np.random.Generator, bits: int
) -> None:
    text = (
        "g (float[N,3,8,8] x) => (float[N,40,6,6] y)"
        "{ c = Conv(x, k, b) n = BatchNormalization(c, scale, shift, mean, var) y = Relu(n) }"
    )
    norm = {name: normal(rng, 40) for name in ("b", "scale", "shift", "mean")}
    norm["var"] = np.abs(normal(rng, 40)) + 0.1
    small = simple(build(text, k=rounded(normal(rng, 40, 3, 3, 3), bits, 0), **norm))
    assert [node.op_type for node in small.model.graph.node] == ["Conv", "Relu"]
    made = packed(small, all_in(bits, small))
    assert max(differences(small.model, made).values()) < 1e-3


def test_a_network_of_doubles_is_returned_without_what_nobody_needs(build: Build) -> None:
    rng = np.random.default_rng(0)
    text = "g (double[N,6] x) => (double[N,4] y) { y = MatMul(x, w) }"
    small = simple(build(text, w=rng.normal(size=(6, 4))))
    made = packed(small, all_in(4, small))
    assert made.ByteSize() < small.model.ByteSize()
    assert max(differences(small.model, made).values()) == 0


def test_a_file_that_computes_something_else_is_never_returned(
    build: Build, rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    small = simple(build(MLP, opset=20, **mlp(rng)))

    def wrong(model: ModelProto) -> ModelProto:
        made = stripped(model)
        for tensor in made.graph.initializer:
            if tensor.data_type == TensorProto.UINT4:
                tensor.raw_data = bytes(len(tensor.raw_data))
        return made

    monkeypatch.setattr(STRIPPED, wrong)
    made = packed(small, all_in(4, small))
    assert 4300 < made.ByteSize() < small.model.ByteSize()
    assert max(differences(small.model, made).values()) < 1e-3
    monkeypatch.setattr(STRIPPED, lambda model: helper.make_model(model.graph))
    assert packed(small, all_in(4, small)).ByteSize() <= small.model.ByteSize() + 40


def test_the_shared_model_stays_as_it_is(build: Build, rng: np.random.Generator) -> None:
    small = simple(build(MLP, **mlp(rng)))
    before = small.model.SerializeToString()
    packed(small, all_in(4, small))
    assert small.model.SerializeToString() == before


@pytest.mark.parametrize("name", ["gpt-script-free", "resnet18-script-free"])
def test_networks_of_the_zoo_are_packed_and_load_as_the_shared_graph(
    zoo: Callable[[str], ModelProto], tmp_path: Path, name: str
) -> None:
    small = simple(zoo(name))
    made = packed(small, all_in(8, small))
    onnx.checker.check_model(made, full_check=True)
    assert made.ByteSize() < 0.3 * small.model.ByteSize()
    assert operators(made, tmp_path) == operators(small.model, tmp_path)
    assert max(differences(small.model, made).values()) < 0.1
