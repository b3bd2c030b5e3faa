"""What goes of each kind of network when some rows are dead, and what is left."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np
import onnx
import pytest
from onnx import ModelProto

from tieshare.exports.prune import remove_dead_units
from tieshare.exports.tied import tied
from tieshare.exports.verify import differences
from tieshare.exports.widen import widen
from tieshare.graph.structure import structure_of
from tieshare.graph.tensors import tensors

Build = Callable[..., ModelProto]
Shape = tuple[int, ...]


@dataclass(frozen=True)
class Kind:
    """``dead``: by tensor an axis, and the slices along it that are zero. ``left``: shapes after.

    ``numbers``: whole numbers of the graph, and ``counted`` what is left of those that change.
    """

    text: str
    shapes: Mapping[str, Shape]
    dead: Mapping[str, tuple[int, list[int]]]
    left: Mapping[str, Shape]
    numbers: Mapping[str, list[int]] = field(default_factory=dict)
    counted: Mapping[str, list[int]] = field(default_factory=dict)


ATTENTION = (
    "g (float[N,5,4] x) => (float[N,5,3] y)"
    "{ q = MatMul(x, wq) q3 = Reshape(q, heads) q4 = Transpose<perm = [0,2,1,3]>(q3)"
    "  k = MatMul(x, wk) k3 = Reshape(k, heads) k4 = Transpose<perm = [0,2,3,1]>(k3)"
    "  v = MatMul(x, wv) v3 = Reshape(v, heads) v4 = Transpose<perm = [0,2,1,3]>(v3)"
    "  s = MatMul(q4, k4) p = Softmax(s) o = MatMul(p, v4)"
    "  o3 = Transpose<perm = [0,2,1,3]>(o) c = Reshape(o3, flat) y = MatMul(c, wo) }"
)
ATTENTION_SHAPES = {"wq": (4, 4), "wk": (4, 4), "wv": (4, 4), "wo": (4, 3)}
ATTENTION_NUMBERS = {"heads": [0, 0, 2, 2], "flat": [0, 0, 4]}

KINDS = {
    "a channel of a residual stream": Kind(
        "g (float[N,2,4,4] x) => (float[N,3] y)"
        "{ a = Conv(x, k1, b1) h = Conv<pads = [1,1,1,1]>(a, k2) r = Relu(h)"
        "  i = Conv(r, k3, b3) s = Add(a, i) p = GlobalAveragePool(s) f = Flatten(p)"
        "  y = Gemm<transB = 1>(f, w) }",
        {"k1": (4, 2, 1, 1), "b1": (4,), "k2": (5, 4, 3, 3), "k3": (4, 5, 1, 1), "b3": (4,)}
        | {"w": (3, 4)},
        {"k2": (1, [0, 2]), "w": (1, [2, 3])},
        {"k1": (3, 2, 1, 1), "b1": (3,), "k2": (5, 3, 3, 3), "k3": (3, 5, 1, 1), "b3": (3,)}
        | {"w": (3, 3)},
    ),
    "concatenated channels that two layers read": Kind(
        "g (float[N,4] x) => (float[N,2] y)"
        "{ a = MatMul(x, w1) b = MatMul(a, w2) c = Concat<axis = 1>(a, b) y = MatMul(c, w3) }",
        {"w1": (4, 3), "w2": (3, 3), "w3": (6, 2)},
        {"w2": (0, [0, 1]), "w3": (0, [0, 2, 4])},
        {"w1": (4, 2), "w2": (2, 2), "w3": (4, 2)},
    ),
    "a depthwise filter": Kind(
        "g (float[N,2,4,4] x) => (float[N,2,4,4] y)"
        "{ h = Conv(x, k1) d = Conv<group = 4, pads = [1,1,1,1]>(h, k2, b2) y = Conv(d, k3) }",
        {"k1": (4, 2, 1, 1), "k2": (4, 1, 3, 3), "b2": (4,), "k3": (2, 4, 1, 1)},
        {"k3": (1, [1, 2])},
        {"k1": (2, 2, 1, 1), "k2": (2, 1, 3, 3), "b2": (2,), "k3": (2, 2, 1, 1)},
    ),
    "a group of a grouped convolution": Kind(
        "g (float[N,2,4,4] x) => (float[N,2,4,4] y)"
        "{ h = Conv(x, k1) d = Conv<group = 3>(h, k2) y = Conv(d, k3) }",
        {"k1": (6, 2, 1, 1), "k2": (6, 2, 1, 1), "k3": (2, 6, 1, 1)},
        {"k3": (1, [2, 3])},
        {"k1": (4, 2, 1, 1), "k2": (4, 2, 1, 1), "k3": (2, 4, 1, 1)},
    ),
    "a place in each group": Kind(
        "g (float[N,2,4,4] x) => (float[N,6,4,4] y){ h = Conv(x, k1) y = Conv<group = 3>(h, k2) }",
        {"k1": (6, 2, 1, 1), "k2": (6, 2, 1, 1)},
        {"k2": (1, [1])},
        {"k1": (3, 2, 1, 1), "k2": (6, 1, 1, 1)},
    ),
    "channels that are shuffled": Kind(
        "g (float[N,2,4,4] x) => (float[N,3,4,4] y)"
        "{ h = Conv(x, k1) r = Reshape(h, apart) t = Transpose<perm = [0,2,1,3,4]>(r)"
        "  f = Reshape(t, flat) y = Conv(f, k2) }",
        {"k1": (6, 2, 1, 1), "k2": (3, 6, 1, 1)},
        {"k2": (1, [2, 3])},
        {"k1": (4, 2, 1, 1), "k2": (3, 4, 1, 1)},
        {"apart": [0, 2, 3, 4, 4], "flat": [0, 6, 4, 4]},
        {"r": [0, 2, 2, 4, 4], "f": [0, 4, 4, 4]},
    ),
    "squeeze and excite": Kind(
        "g (float[N,2,4,4] x) => (float[N,2,4,4] y)"
        "{ h = Conv(x, k1) q = GlobalAveragePool(h) s = Conv(q, k2) r = Relu(s) e = Conv(r, k3)"
        "  g = Sigmoid(e) m = Mul(h, g) y = Conv(m, k4) }",
        {"k1": (4, 2, 1, 1), "k2": (3, 4, 1, 1), "k3": (4, 3, 1, 1), "k4": (2, 4, 1, 1)},
        {"k2": (1, [0, 3]), "k4": (1, [3]), "k3": (1, [1])},
        {"k1": (3, 2, 1, 1), "k2": (2, 3, 1, 1), "k3": (3, 2, 1, 1), "k4": (2, 3, 1, 1)},
    ),
    "a skip connection around a convolution upwards": Kind(
        "g (float[N,1,4,4] x) => (float[N,2,4,4] y)"
        "{ a = Conv(x, k1) p = MaxPool<kernel_shape = [2,2], strides = [2,2]>(a)"
        "  u = ConvTranspose<strides = [2,2]>(p, k2, b2) c = Concat<axis = 1>(a, u)"
        "  y = Conv(c, k3) }",
        {"k1": (3, 1, 1, 1), "k2": (3, 2, 2, 2), "b2": (2,), "k3": (2, 5, 1, 1)},
        {"k2": (0, [1]), "k3": (1, [1, 3])},
        {"k1": (2, 1, 1, 1), "k2": (2, 1, 2, 2), "b2": (1,), "k3": (2, 3, 1, 1)},
    ),
    "hidden units of an LSTM": Kind(
        "g (float[T,N,3] x) => (float[T,1,N,2] y)"
        "{ h = LSTM<hidden_size = 3>(x, w, r, b) y = MatMul(h, v) }",
        {"w": (1, 12, 3), "r": (1, 12, 3), "b": (1, 24), "v": (3, 2)},
        {"v": (0, [1]), "r": (2, [1])},
        {"w": (1, 8, 3), "r": (1, 8, 2), "b": (1, 16), "v": (2, 2)},
    ),
    "hidden units of a GRU in both directions": Kind(
        "g (float[T,N,3] x) => (float[T,N,2] y)"
        '{ h = GRU<hidden_size = 3, direction = "bidirectional", linear_before_reset = 1>(x, w, r)'
        "  t = Transpose<perm = [0,2,1,3]>(h) f = Reshape(t, flat) y = MatMul(f, v) }",
        {"w": (2, 9, 3), "r": (2, 9, 3), "v": (6, 2)},
        {"v": (0, [0, 3, 5]), "r": (2, [0, 2])},
        {"w": (2, 6, 3), "r": (2, 6, 2), "v": (4, 2)},
        {"flat": [0, 0, 6]},
        {"f": [0, 0, 4]},
    ),
    "a head of attention": Kind(
        ATTENTION,
        ATTENTION_SHAPES,
        {"wo": (0, [2, 3])},
        dict.fromkeys(("wq", "wk", "wv"), (4, 2)) | {"wo": (2, 3)},
        ATTENTION_NUMBERS,
        {"q3": [0, 0, 1, 2], "k3": [0, 0, 1, 2], "v3": [0, 0, 1, 2], "c": [0, 0, 2]},
    ),
    "a place in the values of all heads": Kind(
        ATTENTION,
        ATTENTION_SHAPES,
        {"wo": (0, [0, 2])},
        dict.fromkeys(("wq", "wk"), (4, 4)) | {"wv": (4, 2), "wo": (2, 3)},
        ATTENTION_NUMBERS,
        {"q3": [0, 0, 2, 2], "k3": [0, 0, 2, 2], "v3": [0, 0, 2, 1], "c": [0, 0, 2]},
    ),
    "columns of an embedding and of the positions added to it": Kind(
        "g (int64[N,5] x) => (float[N,5,2] y)"
        "{ e = Gather(table, x) p = Add(e, positions) y = MatMul(p, w) }",
        {"table": (7, 4), "positions": (1, 5, 4), "w": (4, 2)},
        {"w": (0, [1])},
        {"table": (7, 3), "positions": (1, 5, 3), "w": (3, 2)},
    ),
    "pieces of a split": Kind(
        "g (float[N,4] x) => (float[N,2] y)"
        "{ h = MatMul(x, w1) a, b = Split<axis = 1>(h, pieces) z = Tanh(b) c = MatMul(a, w2)"
        "  d = MatMul(z, w3) y = Add(c, d) }",
        {"w1": (4, 5), "w2": (3, 2), "w3": (2, 2)},
        {"w2": (0, [0, 1]), "w3": (0, [1])},
        {"w1": (4, 2), "w2": (1, 2), "w3": (1, 2)},
        {"pieces": [3, 2]},
        {"a": [1, 1]},
    ),
    "a weight on the left": Kind(
        "g (float[N,3,4] x) => (float[N,2,4] y){ h = MatMul(w1, x) r = Relu(h) y = MatMul(w2, r) }",
        {"w1": (5, 3), "w2": (2, 5)},
        {"w2": (1, [0, 4])},
        {"w1": (3, 3), "w2": (2, 3)},
    ),
    "a unit of a weight that two nodes read": Kind(
        "g (float[N,3] x, float[N,3] z) => (float[N,2] y)"
        "{ a = MatMul(x, w1) b = MatMul(z, w1) c = MatMul(a, w2) d = MatMul(b, w3)"
        "  y = Add(c, d) }",
        {"w1": (3, 4), "w2": (4, 2), "w3": (4, 2)},
        {"w2": (0, [0, 1]), "w3": (0, [1, 2])},
        {"w1": (3, 3), "w2": (3, 2), "w3": (3, 2)},
    ),
}


def pruned(build: Build, rng: np.random.Generator, made: Kind) -> tuple[ModelProto, ModelProto]:
    """The model with dead rows, and the narrow one, equal to it at batch 1, 7 and 32."""
    stored = {n: rng.uniform(0.5, 1, size).astype(np.float32) for n, size in made.shapes.items()}
    for name, (axis, slices) in made.dead.items():
        np.moveaxis(stored[name], axis, 0)[slices] = 0
    numbers = {name: np.array(values) for name, values in made.numbers.items()}
    model = build(made.text, **stored, **numbers)
    slim = remove_dead_units(model)
    onnx.checker.check_model(slim, full_check=True)
    assert max(differences(model, slim).values()) < 1e-6
    return model, slim


@pytest.mark.parametrize("name", KINDS)
def test_dead_units_go_with_all_that_belongs_to_them(
    build: Build, rng: np.random.Generator, name: str
) -> None:
    made = KINDS[name]
    _, slim = pruned(build, rng, made)
    left = tensors(slim)
    assert {tensor: left[tensor].shape for tensor in made.shapes} == made.left
    written = {
        node.output[0]: left[node.input[1]].tolist()
        for node in slim.graph.node
        if node.output[0] in made.counted
    }
    assert written == made.counted


@pytest.mark.parametrize("name", KINDS)
def test_the_narrow_network_is_put_back_where_it_was_cut_out(
    build: Build, rng: np.random.Generator, name: str
) -> None:
    model, _ = pruned(build, rng, KINDS[name])
    structure = structure_of(model)
    whole = tied(model, {}, structure)
    narrow = {n: a for n, a in tensors(remove_dead_units(whole)).items() if n in KINDS[name].shapes}
    doubled = widen(whole, structure, {n: 2 * array for n, array in narrow.items()})
    assert {n: a.tolist() for n, a in doubled.items()} == {
        n: (2 * array).tolist() for n, array in tensors(whole).items() if n in narrow
    }


@pytest.mark.parametrize(("multiple", "left"), [(1, 3), (2, 4), (4, 4), (5, 5), (8, 6)])
def test_dead_channels_stay_up_to_a_multiple(
    build: Build, rng: np.random.Generator, multiple: int, left: int
) -> None:
    model = build(
        "g (float[N,2,4,4] x) => (float[N,3] y)"
        "{ h = Conv(x, k1, b1) r = Relu(h) d = Conv<group = 6>(r, k2) p = GlobalAveragePool(d)"
        "  f = Flatten(p) m = MatMul(f, w1) y = MatMul(m, w2) }",
        k1=rng.normal(size=(6, 2, 1, 1)).astype(np.float32),
        b1=rng.normal(size=6).astype(np.float32),
        k2=rng.normal(size=(6, 1, 1, 1)).astype(np.float32),
        w1=np.repeat([[1], [0]], 3, axis=0).astype(np.float32) * np.ones(5, dtype=np.float32),
        w2=np.vstack([np.ones((2, 3)), np.zeros((3, 3))]).astype(np.float32),
    )
    slim = remove_dead_units(model, multiple)
    found = {name: array.shape for name, array in tensors(slim).items()}
    assert (found["k1"], found["b1"], found["k2"]) == ((left, 2, 1, 1), (left,), (left, 1, 1, 1))
    assert (found["w1"], found["w2"]) == ((left, 2), (2, 3))
    assert max(differences(model, slim).values()) < 1e-6
