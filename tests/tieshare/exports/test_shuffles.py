"""Shuffles of channels: what becomes of them, and that nothing else does."""

from collections.abc import Callable

import numpy as np
import pytest
from onnx import ModelProto

from tieshare.exports.shuffles import cheap_shuffles
from tieshare.exports.verify import check_equal
from tieshare.graph.tensors import tensors

Build = Callable[..., ModelProto]

SHUFFLE = "  v = Reshape(%s, parted) t = Transpose<perm = [0,2,1,3,4]>(v) %s = Reshape(t, joined)"
PARTED, JOINED = np.array([-1, 2, 3, 4, 4]), np.array([-1, 6, 4, 4])
ORDER = [0, 3, 1, 4, 2, 5]


def f32(rng: np.random.Generator, *shape: int) -> np.ndarray:
    return rng.normal(size=shape).astype(np.float32)


def operators(model: ModelProto) -> list[str]:
    return [node.op_type for node in model.graph.node]


def made_of(build: Build, graph: str, **stored: np.ndarray) -> ModelProto:
    """Checked to compute the same."""
    shapes = {"parted": PARTED, "joined": JOINED}
    used = {name: shape for name, shape in shapes.items() if f"{name})" in graph}
    model = build(graph, **used, **stored)
    made = cheap_shuffles(model)
    check_equal(model, made)
    return made


def test_a_convolution_takes_its_rows_in_that_order(build: Build, rng: np.random.Generator) -> None:
    w = f32(rng, 5, 6, 3, 3)
    made = made_of(
        build,
        f"g (float[N,6,4,4] x) => (float[N,5,2,2] y) {{ {SHUFFLE % ('x', 's')}  y = Conv(s, w) }}",
        w=w,
    )
    assert operators(made) == ["Conv"]
    np.testing.assert_array_equal(tensors(made)["w"][:, ORDER], w)


def test_an_order_passes_what_treats_each_channel_alone(
    build: Build, rng: np.random.Generator
) -> None:
    """Two branches, as in ShuffleNetV2's units of stride 2."""
    made = made_of(
        build,
        f"g (float[N,6,4,4] x) => (float[N,5,1,1] y, float[N,5,4,4] z) {{"
        f"  {SHUFFLE % ('x', 's')} d = Conv<group = 6>(s, w1, b1) r = Relu(d)"
        "  p = GlobalAveragePool(r) y = Conv(p, w2) z = Conv(s, w3) }",
        w1=f32(rng, 6, 1, 3, 3),
        b1=f32(rng, 6),
        w2=f32(rng, 5, 6, 1, 1),
        w3=f32(rng, 5, 6, 1, 1),
    )
    assert operators(made) == ["Conv", "Relu", "GlobalAveragePool", "Conv", "Conv"]


def test_pieces_of_a_split_are_gathered_one_by_one(build: Build) -> None:
    made = made_of(
        build,
        f"g (float[N,6,4,4] x) => (float[N,2,4,4] y, float[N,4,4,4] z) {{"
        f"  {SHUFFLE % ('x', 's')} y, z = Split<axis = 1>(s, sizes) }}",
        sizes=np.array([2, 4]),
    )
    assert operators(made) == ["Gather", "Gather"]
    stored = tensors(made)
    orders = [stored[node.input[1]].tolist() for node in made.graph.node]
    assert orders == [ORDER[:2], ORDER[2:]]


def test_one_gather_serves_all_others(build: Build, rng: np.random.Generator) -> None:
    """The graph output, a sum, and a convolution whose weight another one reads too."""
    made = made_of(
        build,
        f"g (float[N,6,4,4] x) => (float[N,6,4,4] s, float[N,6,4,4] y) {{"
        f"  {SHUFFLE % ('x', 's')} a = Conv(s, w) b = Conv(x, w)"
        "  c = Add(a, b) y = Add(c, s) }",
        w=f32(rng, 6, 6, 1, 1),
    )
    assert operators(made) == ["Gather", "Conv", "Conv", "Add", "Add"]


@pytest.mark.parametrize(
    "graph",
    [
        "g (float[N,6,4,4] x) => (float[N,6,4,4] y)"
        "{ v = Reshape(x, joined) t = Transpose<perm = [0,1,3,2]>(v) y = Reshape(t, joined) }",
        "g (float[N,6,4,4] x) => (float[N,6,4,4] y, float[N,2,3,4,4] v)"
        "{ v = Reshape(x, parted) t = Transpose<perm = [0,2,1,3,4]>(v) y = Reshape(t, joined) }",
    ],
    ids=["rows and columns are exchanged", "what lies between is read"],
)
def test_what_is_no_shuffle_stays(build: Build, graph: str) -> None:
    assert operators(made_of(build, graph)) == ["Reshape", "Transpose", "Reshape"]


def test_rows_of_a_batch_are_not_taken_for_channels(build: Build) -> None:
    """Free lengths: the samples of a batch are exchanged, in an order that depends on the batch."""
    model = build(
        "g (float[N,2] x) => (float[M,2] y)"
        "{ v = Reshape(x, a) t = Transpose<perm = [1,0,2]>(v) y = Reshape(t, b) }",
        a=np.array([2, -1, 2]),
        b=np.array([-1, 2]),
    )
    assert "Gather" not in operators(cheap_shuffles(model))
