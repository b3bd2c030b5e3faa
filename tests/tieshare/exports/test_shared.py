from collections.abc import Callable

import numpy as np
import onnx
import pytest
from onnx import ModelProto

from tieshare.exports import shared as module
from tieshare.exports.choose import FormChoice
from tieshare.exports.shared import Shared, shared
from tieshare.exports.verify import differences
from tieshare.graph.structure import structure_of
from tieshare.graph.tensors import tensors
from tieshare.measure import inputs_of

Build = Callable[..., ModelProto]
Run = Callable[..., np.ndarray]
Tensors = dict[str, np.ndarray]

MLP = (
    "g (float[N,60] x) => (float[N,10] y)"
    "{ h = Gemm<transB = 1>(x, w1, b1) r = Relu(h) z = MatMul(r, w2) a = Add(z, b2)"
    "  y = Softmax(a) }"
)


def clustered(rng: np.random.Generator, rows: int, columns: int, clusters: int) -> np.ndarray:
    """(rows, columns) float32: every third row is dead, the others are of so many clusters."""
    W = rng.normal(size=(clusters, columns)).astype(np.float32)[np.arange(rows) % clusters]
    W[::3] = 0
    return W


def mlp(rng: np.random.Generator) -> Tensors:
    return {
        "w1": np.ascontiguousarray(clustered(rng, 60, 90, 7).T),
        "b1": rng.normal(size=90).astype(np.float32),
        "w2": clustered(rng, 90, 10, 8),
        "b2": rng.normal(size=10).astype(np.float32),
    }


def checked(model: ModelProto) -> Shared:
    """The shared export, once it has been found sound, equal, and the same from outside."""
    made = shared(model)
    onnx.checker.check_model(made.model, full_check=True)
    assert inputs_of(made.model) == inputs_of(model)
    assert made.model.graph.output == model.graph.output
    assert made.model.opset_import == model.opset_import
    assert made.model.ir_version == model.ir_version
    assert max(differences(model, made.model).values()) <= 1e-4
    assert made.model.ByteSize() < model.ByteSize()
    return made


def forms_of(choices: tuple[FormChoice, ...]) -> dict[str, str]:
    return {choice.layer: choice.form for choice in choices}


def test_a_tied_network_becomes_a_fraction_of_its_size(
    build: Build, rng: np.random.Generator
) -> None:
    model = build(MLP, **mlp(rng))
    made = checked(model)
    assert model.ByteSize() > 25_000
    assert made.model.ByteSize() < 5_500
    assert [choice.layer for choice in made.choices] == [
        layer.name for layer in structure_of(model).layers
    ]


def test_the_model_that_was_given_stays_as_it_is(build: Build, rng: np.random.Generator) -> None:
    model = build(MLP, **mlp(rng))
    before = model.SerializeToString()
    shared(model)
    assert model.SerializeToString() == before


@pytest.mark.parametrize("opset", [8, 9, 11, 13, 18, 22])
def test_it_works_at_every_opset(build: Build, rng: np.random.Generator, opset: int) -> None:
    checked(build(MLP, opset=opset, **mlp(rng)))


def test_it_works_at_opset_seven_and_ir_version_three(
    build: Build, rng: np.random.Generator
) -> None:
    made = checked(build(MLP, opset=7, ir_version=3, **mlp(rng)))
    assert "OneHot" not in {node.op_type for node in made.model.graph.node}


LENET = (
    "g (float[%s,1,12,12] x) => (float[%s,5] y)"
    "{ h = Conv(x, w1) n = BatchNormalization(h, gamma, beta, mean, variance) r = Relu(n)"
    "  p = MaxPool<kernel_shape = [2,2], strides = [2,2]>(r) i = Conv(p, w2, b2) s = Relu(i)"
    "  f = Reshape(s, shape) y = Gemm(f, w3, b3) }"
)


def lenet(rng: np.random.Generator, batch: int) -> Tensors:
    """Ten of fifteen channels, then eight of twelve channels of nine pixels are read."""

    def f32(*shape: int) -> np.ndarray:
        return rng.normal(size=shape).astype(np.float32)

    w2 = clustered(rng, 15, 12 * 9, 4).reshape(15, 12, 3, 3).swapaxes(0, 1)
    w3 = f32(12 * 9, 5)
    w3[: 4 * 9] = 0
    w3[40:60] = w3[70]
    per_channel = {name: f32(15) for name in ("gamma", "beta", "mean")}
    stored = {"w1": f32(15, 1, 3, 3), "w2": w2, "b2": f32(12), "w3": w3, "b3": f32(5)}
    variance, shape = np.ones(15, dtype=np.float32), np.array([batch, 12 * 9])
    return {**stored, **per_channel, "variance": variance, "shape": shape}


@pytest.mark.parametrize(("batch", "dim"), [(-1, "N"), (4, "4")])
def test_a_convolutional_network_loses_channels_and_batch_norm(
    build: Build,
    rng: np.random.Generator,
    monkeypatch: pytest.MonkeyPatch,
    batch: int,
    dim: str,
) -> None:
    monkeypatch.setattr(module, "BLOCKS", ())
    made = checked(build(LENET % (dim, dim), **lenet(rng, batch)))
    stored = tensors(made.model)
    assert stored["w1"].shape == (10, 1, 3, 3)
    nodes = {node.op_type: node for node in made.model.graph.node}
    assert "BatchNormalization" not in nodes
    assert stored[nodes["Reshape"].input[1]].tolist() == [batch, 8 * 9]
    batches = {1, 32} if batch == -1 else {batch}
    second = made.choices[1]
    assert set(second.latency_us["sums"]) == batches


@pytest.mark.parametrize(
    ("of_four", "of_eight", "widths"),
    [
        ((8.0, 80.0), (8.0, 80.0), (12, 4)),
        ((8.0, 80.0), (4.0, 40.0), (15, 8)),
        ((8.0, 106.0), (9.9, 99.0), (10, 1)),
        ((9.8, 98.0), (9.8, 98.0), (10, 1)),
    ],
    ids=["faster", "faster still", "slower at one batch size", "as fast"],
)
def test_dead_channels_stay_where_convolutions_are_faster_with_them(
    build: Build,
    rng: np.random.Generator,
    monkeypatch: pytest.MonkeyPatch,
    of_four: tuple[float, float],
    of_eight: tuple[float, float],
    widths: tuple[int, int],
) -> None:
    """Ten of fifteen channels, and eight of twelve, are read."""
    measured = {"1": (10.0, 100.0), "4": of_four, "8": of_eight, "16": (10.0, 100.0)}
    us = {name: dict(zip((1, 32), times, strict=True)) for name, times in measured.items()}
    # Other files are compared, too, where forms of layers are: those are all as fast.
    fake = lambda files, *_: {name: us.get(name, us["1"]) for name in files}  # noqa: E731
    monkeypatch.setattr(module, "latencies", fake)
    made = checked(build(LENET % ("N", "N"), **lenet(rng, -1)))
    channels, multiple = widths
    assert tensors(made.model)["w1"].shape == (channels, 1, 3, 3)
    assert made.multiple == multiple


def test_tensors_that_happen_to_be_equal_are_cut_apart_and_stored_once(
    build: Build, rng: np.random.Generator
) -> None:
    """One bias for two layers, of which only the first loses units."""
    w2 = rng.normal(size=(30, 30)).astype(np.float32)
    w2[10:] = 0
    made = checked(
        build(
            "g (float[N,30] x) => (float[N,30] y)"
            "{ h = Gemm(x, w1, b) r = Relu(h) y = Gemm(r, w2, b) }",
            w1=rng.normal(size=(30, 30)).astype(np.float32),
            w2=w2,
            b=rng.normal(size=30).astype(np.float32),
        )
    )
    assert sorted(tensors(made.model)[n.input[2]].size for n in made.model.graph.node[::2]) == [
        10,
        30,
    ]


def test_a_dense_network_stays_what_it_is(build: Build, run: Run, rng: np.random.Generator) -> None:
    stored = mlp(rng)
    stored["w1"] = rng.normal(size=(90, 60)).astype(np.float32)
    stored["w2"] = rng.normal(size=(90, 10)).astype(np.float32)
    model = build(MLP, **stored)
    made = shared(model)
    assert set(forms_of(made.choices).values()) == {"plain"}
    assert made.model.ByteSize() <= model.ByteSize()
    x = rng.normal(size=(3, 60)).astype(np.float32)
    assert run(made.model, x).tobytes() == run(model, x).tobytes()


@pytest.mark.parametrize("alive", [0, 1], ids=["no alive row", "one alive row"])
def test_a_layer_may_be_almost_dead(build: Build, rng: np.random.Generator, alive: int) -> None:
    stored = mlp(rng)
    stored["w2"][alive:] = 0
    stored["w2"][:alive] = 1
    made = checked(build(MLP, **stored))
    floats = {name: a.shape for name, a in tensors(made.model).items() if a.dtype == np.float32}
    assert floats["w2"] == (1, 10)
    assert floats["b1"] == (1,)


def test_rows_of_a_layer_may_all_be_equal(build: Build, rng: np.random.Generator) -> None:
    stored = mlp(rng)
    stored["w1"] = np.tile(rng.normal(size=(90, 1)).astype(np.float32), (1, 60))
    made = checked(build(MLP, **stored))
    assert made.choices[0].form in ("table", "sums")
    assert made.model.ByteSize() < 4_000


def test_names_that_the_export_would_give_may_be_taken(
    build: Build, rng: np.random.Generator
) -> None:
    model = build(
        "g (float[N,60] x) => (float[N,40] y)"
        "{ w_rows = Relu(x) w_wide = Neg(w_rows) h = MatMul(w_wide, w) y = Add(h, w_numbers) }",
        w=clustered(rng, 60, 40, 5),
        w_numbers=np.ones(40, dtype=np.float32),
    )
    model.graph.initializer[1].name = "w.numbers"
    for node in model.graph.node:
        for names in (node.input, node.output):
            names[:] = [name.replace("w_", "w.") for name in names]
    checked(model)


def test_labels_beside_the_probabilities_stay(build: Build, rng: np.random.Generator) -> None:
    text = MLP.replace("=> (", "=> (int64[N] label, ").replace(
        "y = Softmax(a)", "y = Softmax(a) label = ArgMax<axis = 1, keepdims = 0>(y)"
    )
    checked(build(text, **mlp(rng)))


def test_double_precision_is_kept(build: Build, rng: np.random.Generator) -> None:
    stored = {name: array.astype(np.float64) for name, array in mlp(rng).items()}
    made = checked(build(MLP.replace("float[", "double["), **stored))
    assert {a.dtype for a in tensors(made.model).values() if a.dtype.kind == "f"} == {
        np.dtype(np.float64)
    }
