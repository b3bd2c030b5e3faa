from collections.abc import Callable

import numpy as np
import onnx
import pytest
from onnx import ModelProto

from tieshare.exports.fold import fold_batch_norms
from tieshare.exports.rows import read_rows
from tieshare.exports.tied import tied
from tieshare.exports.unfold import Norm, folded_back, identity, norms_for, with_norms
from tieshare.exports.verify import differences
from tieshare.graph import structure_of, to_rows
from tieshare.graph.tensors import tensors, with_tensors
from tieshare.graph.view import view
from tieshare.measure import session

Build = Callable[..., ModelProto]
Array = np.ndarray

IMAGE = "g (float[N,4,6,6] x) => (float[N,3] y)"
HEAD = "p = GlobalAveragePool(r) f = Flatten(p) y = Gemm(f, v, c)"
CONV = "h = Conv<pads = [1,1,1,1]>(x, w, b)"

# Text, the shapes of what it stores, and the outputs that get a norm.
Case = tuple[str, dict[str, tuple[int, ...]], list[str]]
KERNEL = {"w": (4, 4, 3, 3), "b": (4,), "v": (4, 3), "c": (3,)}
PLACES: dict[str, Case] = {
    "conv and activation": (f"{IMAGE} {{ {CONV} r = Relu(h) {HEAD} }}", KERNEL, ["h"]),
    "an activation that reads twice": (
        f"{IMAGE} {{ {CONV} s = Sigmoid(h) r = Mul(h, s) {HEAD} }}",
        KERNEL,
        ["h"],
    ),
    "pooling before the activation": (
        f"{IMAGE} {{ {CONV} m = MaxPool<kernel_shape = [2,2]>(h) r = Relu(m) {HEAD} }}",
        KERNEL,
        ["h"],
    ),
    "residual": (
        f"{IMAGE} {{ {CONV} q = Relu(h) k = Conv<pads = [1,1,1,1]>(q, u, d)"
        f" o = Add(k, x) r = Relu(o) {HEAD} }}",
        {**KERNEL, "u": (4, 4, 3, 3), "d": (4,)},
        ["h", "k"],
    ),
    "projected shortcut": (
        f"{IMAGE} {{ {CONV} k = Conv(x, u, d) o = Add(h, k) r = Relu(o) {HEAD} }}",
        {**KERNEL, "u": (4, 4, 1, 1), "d": (4,)},
        ["h", "k"],
    ),
    "concat": (
        f"{IMAGE} {{ {CONV} k = Conv(x, u, d) o = Concat<axis = 1>(h, k, x) r = Relu(o) {HEAD} }}",
        {**KERNEL, "u": (2, 4, 1, 1), "d": (2,), "v": (10, 3)},
        ["h", "k"],
    ),
    "grouped": (
        f"{IMAGE} {{ h = Conv<group = 2, pads = [1,1,1,1]>(x, w, b) r = Relu(h) {HEAD} }}",
        {**KERNEL, "w": (4, 2, 3, 3)},
        ["h"],
    ),
    "depthwise": (
        f"{IMAGE} {{ h = Conv<group = 4>(x, w, b) r = Clip(h) {HEAD} }}",
        {**KERNEL, "w": (4, 1, 3, 3)},
        ["h"],
    ),
    "conv upwards": (
        f"{IMAGE} {{ h = ConvTranspose<strides = [2,2]>(x, w, b) r = Relu(h) {HEAD} }}",
        {**KERNEL, "w": (4, 4, 2, 2)},
        ["h"],
    ),
    "one dimension": (
        "g (float[N,4,9] x) => (float[N,3] y) { h = Conv(x, w, b) r = Relu(h) "
        "p = GlobalAveragePool(r) f = Flatten(p) y = Gemm(f, v, c) }",
        {**KERNEL, "w": (4, 4, 3)},
        ["h"],
    ),
    "dense": (
        "g (float[N,5] x) => (float[N,3] y)"
        "{ h = Gemm<transB = 1>(x, w, b) r = Relu(h) y = Gemm(r, v, c) }",
        {**KERNEL, "w": (4, 5)},
        ["h"],
    ),
    "product and sum": (
        "g (float[N,5] x) => (float[N,3] y)"
        "{ m = MatMul(x, w) h = Add(m, b) r = Tanh(h) y = MatMul(r, v) }",
        {"w": (5, 4), "b": (1, 4), "v": (4, 3)},
        ["h"],
    ),
    "two ends": (
        "g (float[N,5] x) => (float[N,3] y, float[N,3] z) { h = Gemm(x, w, b) r = Relu(h)"
        " y = Gemm(r, v, c) k = Gemm(x, u, d) q = Relu(k) z = Gemm(q, v2, c2) }",
        {
            **KERNEL,
            "w": (5, 4),
            "u": (5, 2),
            "d": (2,),
            "v2": (2, 3),
            "c2": (3,),
        },
        ["h", "k"],
    ),
}

NOWHERE: dict[str, Case] = {
    "no bias": (f"{IMAGE} {{ h = Conv(x, w) r = Relu(h) {HEAD} }}", {**KERNEL, "b": ()}, []),
    "a bias that others read": (
        f"{IMAGE} {{ {CONV} k = Conv(x, u, b) o = Add(h, h) t = Relu(k) s = GlobalMaxPool(t)"
        f" r = Mul(o, s) {HEAD} }}",
        {**KERNEL, "u": (4, 4, 1, 1)},
        [],
    ),
    "a weight that others read": (
        f"{IMAGE} {{ {CONV} q = Relu(h) r = Conv(q, w, d) {HEAD} }}",
        {**KERNEL, "d": (4,)},
        [],
    ),
    "a weight that is made": (
        f"{IMAGE} {{ t = Transpose<perm = [1,0,2,3]>(w) h = Conv(x, t, b) r = Relu(h) {HEAD} }}",
        KERNEL,
        [],
    ),
    "the last layer": (
        "g (float[N,4,6,6] x) => (float[N,4,1,1] y)"
        "{ h = Conv<pads = [1,1,1,1]>(x, w, b) r = Relu(h) y = GlobalAveragePool(r) }",
        {"w": (4, 4, 3, 3), "b": (4,)},
        [],
    ),
    "an output of the network": (
        "g (float[N,4,6,6] x) => (float[N,4,4,4] h, float[N,3] y)"
        f"{{ h = Conv(x, w, b) r = Relu(h) {HEAD} }}",
        KERNEL,
        [],
    ),
    "batch norm is there": (
        f"{IMAGE} {{ {CONV} n = BatchNormalization(h, s, s, s, s) r = Relu(n) {HEAD} }}",
        {**KERNEL, "s": (4,)},
        [],
    ),
    "a norm behind a sum": (
        f"{IMAGE} {{ {CONV} o = Add(h, x) r = InstanceNormalization(o, s, t) {HEAD} }}",
        {**KERNEL, "s": (4,), "t": (4,)},
        [],
    ),
    "a gate of single places": (
        f"{IMAGE} {{ a = GlobalAveragePool(x) h = Conv(a, w, b) s = Sigmoid(h) r = Mul(x, s)"
        f" {HEAD} }}",
        {**KERNEL, "w": (4, 4, 1, 1)},
        [],
    ),
    "groups upwards": (
        f"{IMAGE} {{ h = ConvTranspose<group = 2>(x, w, b) r = Relu(h) {HEAD} }}",
        {**KERNEL, "w": (4, 2, 2, 2)},
        [],
    ),
    "units on the last of three axes": (
        "g (float[N,7,5] x) => (float[N,7,3] y)"
        "{ m = MatMul(x, w) h = Add(m, b) r = Relu(h) y = MatMul(r, v) }",
        {"w": (5, 4), "b": (4,), "v": (4, 3)},
        [],
    ),
    "recurrent": (
        "g (float[N,7,5] x) => (float[N,3] y) { s = Transpose<perm = [1,0,2]>(x)"
        " o, l = GRU<hidden_size = 4>(s, w, u, b) h = Squeeze(l) y = Gemm(h, v, c) }",
        {"w": (1, 12, 5), "u": (1, 12, 4), "b": (1, 24), "v": (4, 3), "c": (3,)},
        [],
    ),
}


def made(build: Build, case: Case) -> ModelProto:
    text, shapes, _ = case
    rng = np.random.default_rng(0)
    drawn = {name: rng.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}
    return build(text, 18, **{name: array for name, array in drawn.items() if array.ndim})


def samples(model: ModelProto, n: int = 300) -> list[Array]:
    (item,) = model.graph.input
    shape = [dim.dim_value for dim in item.type.tensor_type.shape.dim][1:]
    rng = np.random.default_rng(1)
    return [rng.normal(1, 2, size=(n, *shape)).astype(np.float32)]


def ends(model: ModelProto) -> list[str]:
    return [item.name for item in model.graph.output]


def unfolded(model: ModelProto) -> tuple[ModelProto, tuple[Norm, ...]]:
    norms = norms_for(model, ends(model))
    return with_norms(model, norms, identity(model, norms, samples(model))), norms


@pytest.mark.parametrize("case", [*PLACES, *NOWHERE])
def test_norms_have_a_place_behind_these_layers(build: Build, case: str) -> None:
    given = (PLACES | NOWHERE)[case]
    model = made(build, given)
    assert [norm.layer.output for norm in norms_for(model, ends(model))] == given[2]


@pytest.mark.parametrize("case", PLACES)
def test_norms_change_nothing_until_they_are_trained(build: Build, case: str) -> None:
    model = made(build, PLACES[case])
    network, norms = unfolded(model)
    onnx.checker.check_model(network, full_check=True)
    added = [node for node in network.graph.node if node.op_type == "BatchNormalization"]
    assert [node.output[0] for node in added] == PLACES[case][2]
    found = differences(model, network, samples(model))
    assert len(added) == len(norms)
    assert max(found.values()) < 1e-5


@pytest.mark.parametrize("case", PLACES)
def test_what_is_folded_back_unchanged_is_the_model(build: Build, case: str) -> None:
    model = made(build, PLACES[case])
    network, norms = unfolded(model)
    before, after = tensors(model), folded_back(network, norms)
    assert list(after) == list(before)
    for name, array in before.items():
        assert after[name].dtype == array.dtype
        np.testing.assert_allclose(after[name], array, rtol=1e-5, atol=1e-6)


def trained(network: ModelProto, norms: tuple[Norm, ...]) -> ModelProto:
    """With norms that change something."""
    rng = np.random.default_rng(2)
    values = tensors(network)
    for norm in norms:
        scale, shift, mean, variance = norm.tensors
        for name in (scale, shift, mean):
            values[name] = rng.normal(size=values[name].shape)
        values[variance] = rng.uniform(0.5, 4, size=values[variance].shape)
    return with_tensors(network, values)


@pytest.mark.parametrize("case", PLACES)
def test_what_was_trained_is_the_same_function_in_the_uploaded_graph(
    build: Build, case: str
) -> None:
    model = made(build, PLACES[case])
    network, norms = unfolded(model)
    network = trained(network, norms)
    back = with_tensors(model, folded_back(network, norms))
    assert max(differences(network, back, samples(model)).values()) < 1e-5
    assert list(back.graph.node) == list(model.graph.node)
    assert [(t.name, t.dims) for t in back.graph.initializer] == [
        (t.name, t.dims) for t in model.graph.initializer
    ]
    assert list(back.graph.input) == list(model.graph.input)
    assert list(back.graph.output) == list(model.graph.output)


@pytest.mark.parametrize("case", ["residual", "grouped", "dense", "product and sum"])
def test_tied_rows_stay_bitwise_equal_and_dead_rows_zero(build: Build, case: str) -> None:
    model = made(build, PLACES[case])
    network, norms = unfolded(model)
    layer = norms[-1].layer
    W = to_rows(layer, tensors(network)[layer.weight]).copy()
    W[1] = W[0]
    if layer.rows > 2:
        W[2] = 0
    shape = tensors(network)[layer.weight].shape
    weight = np.moveaxis(
        W.reshape(layer.rows, layer.units, *layer.kernel), (0, 1), (layer.row_axis, layer.unit_axis)
    )
    network = trained(with_tensors(network, {layer.weight: weight.reshape(shape)}), norms)
    rows = to_rows(layer, folded_back(network, norms)[layer.weight])
    assert rows[0].tobytes() == rows[1].tobytes()
    assert rows[0].any()
    if layer.rows > 2:
        assert rows[2].tobytes() == bytes(rows[2].nbytes)  # no -0 either
    assert read_rows(rows).clusters == read_rows(W).clusters


def test_units_that_nobody_reads_stay_dead(build: Build) -> None:
    model = made(build, PLACES["conv and activation"])
    network, norms = unfolded(model)
    v = tensors(network)["v"].copy()
    v[1] = 0
    network = tied(trained(network, norms), {"v": v}, structure_of(network))
    back = folded_back(network, norms)
    assert not back["w"][1].any()
    assert back["b"][1] == 0
    assert back["w"][[0, 2, 3]].any(axis=(1, 2, 3)).all()


def test_names_of_layers_are_those_of_the_model_also_where_nodes_have_none(build: Build) -> None:
    model = made(build, PLACES["residual"])
    for node in model.graph.node:
        node.name = ""
    network, _ = unfolded(model)
    layers = [layer.name for layer in structure_of(network).layers]
    assert layers == [layer.name for layer in structure_of(model).layers]
    names = [node.name for node in view(network).nodes]
    assert len(set(names)) == len(names)


def test_the_values_of_the_model_keep_their_names_and_numbers(build: Build) -> None:
    model = made(build, PLACES["concat"])
    network, _ = unfolded(model)
    probes = []
    for graph in (model, network):
        probe = ModelProto()
        probe.CopyFrom(graph)
        probe.graph.output.extend(onnx.ValueInfoProto(name=name) for name in ("h", "k"))
        (x,) = samples(model, 5)
        probes.append(session(probe).run(["h", "k"], {"x": x}))
    for before, after in zip(*probes, strict=True):
        np.testing.assert_allclose(after, before, atol=1e-5)


def test_statistics_are_those_of_the_layer_on_all_samples(build: Build) -> None:
    model = made(build, PLACES["dense"])
    (x,) = samples(model, 1000)
    norms = norms_for(model, ends(model))
    found = identity(model, norms, [x])
    stored = tensors(model)
    h = x.astype(float) @ stored["w"].T + stored["b"]
    scale, shift, mean, variance = (found[name] for name in norms[0].tensors)
    np.testing.assert_allclose(mean, h.mean(axis=0), rtol=1e-5)
    np.testing.assert_allclose(variance, h.var(axis=0), rtol=1e-5)
    np.testing.assert_allclose(scale, np.sqrt(h.var(axis=0) + 1e-5), rtol=1e-5)
    assert shift.tolist() == mean.tolist()


def test_of_many_samples_some_are_seen_that_lie_evenly_among_them(build: Build) -> None:
    """2,048 of 6,000 that rise from 0 to 1."""
    model = made(build, PLACES["dense"])
    x = np.linspace(0, 1, 6000, dtype=np.float32)[:, None] * np.ones((1, 5), dtype=np.float32)
    norms = norms_for(model, ends(model))
    found = identity(model, norms, [x])
    h = x @ tensors(model)["w"].T + tensors(model)["b"]
    np.testing.assert_allclose(found[norms[0].tensors[2]], h.mean(axis=0), rtol=1e-3)


def test_a_unit_that_is_constant_stays_a_number(build: Build) -> None:
    model = made(build, PLACES["dense"])
    w = tensors(model)["w"].copy()
    w[1] = 0
    model = with_tensors(model, {"w": w})
    network, norms = unfolded(model)
    assert max(differences(model, network, samples(model)).values()) < 1e-5
    assert not folded_back(network, norms)["w"][1].any()


def test_a_fixed_batch_is_kept(build: Build) -> None:
    text, shapes, outputs = PLACES["conv and activation"]
    model = made(build, (text.replace("float[N", "float[7"), shapes, outputs))
    network, norms = unfolded(model)
    assert len(norms) == 1
    assert max(differences(model, network, samples(model)).values()) < 1e-5


def test_batch_norms_that_were_folded_come_back(build: Build) -> None:
    """The network before an exporter folded it, and after folding and unfolding."""
    rng = np.random.default_rng(0)
    stored = {name: rng.normal(size=shape) for name, shape in KERNEL.items()}
    stored |= {name: rng.normal(size=4) for name in ("gamma", "beta", "mean")}
    stored |= {"variance": rng.uniform(0.5, 2, size=4)}
    norm = "n = BatchNormalization(h, gamma, beta, mean, variance) r = Relu(n)"
    before = build(
        f"{IMAGE} {{ {CONV} {norm} {HEAD} }}",
        **{name: array.astype(np.float32) for name, array in stored.items()},
    )
    folded = fold_batch_norms(before)
    network, norms = unfolded(folded)
    assert [node.op_type for node in network.graph.node] == [
        node.op_type for node in before.graph.node
    ]
    assert len(norms) == 1
    assert max(differences(before, network, samples(before)).values()) < 1e-5
