from collections.abc import Callable

import numpy as np
import pytest
from onnx import ModelProto

from tieshare.exports.fold import fold_batch_norms
from tieshare.exports.verify import differences
from tieshare.graph.tensors import tensors

Build = Callable[..., ModelProto]


def f32(rng: np.random.Generator, *shape: int) -> np.ndarray:
    return rng.normal(size=shape).astype(np.float32)


def norm(rng: np.random.Generator) -> dict[str, np.ndarray]:
    """The tensors of ``NORM`` for three units."""
    made = {name: f32(rng, 3) for name in ("gamma", "beta", "mean")}
    return {**made, "variance": np.array([0.5, 1, 4], dtype=np.float32)}


NORM = "n = BatchNormalization<epsilon = 0.001>(h, gamma, beta, mean, variance)"
FOUR = "g (float[N,4] x) => (float[N,3] y)"
IMAGE = "g (float[N,4,5,5] x) => (float[N,3,3,3] y)"

GRAPHS = {
    "Gemm": (FOUR, "h = Gemm<transB = 1>(x, w, b)", (3, 4), (3,)),
    "Gemm without bias": (FOUR, "h = Gemm(x, w)", (4, 3), None),
    "MatMul and Add": (FOUR, "m = MatMul(x, w) h = Add(m, b)", (4, 3), (1, 3)),
    "MatMul": (FOUR, "h = MatMul(x, w)", (4, 3), None),
    "Conv": (IMAGE, "h = Conv(x, w, b)", (3, 4, 3, 3), (3,)),
    "Conv without bias": (IMAGE, "h = Conv(x, w)", (3, 4, 3, 3), None),
    "depthwise": (
        "g (float[N,3,5,5] x) => (float[N,3,3,3] y)",
        "h = Conv<group = 3>(x, w)",
        (3, 1, 3, 3),
        None,
    ),
    "grouped": (
        "g (float[N,6,5,5] x) => (float[N,3,5,5] y)",
        "h = Conv<group = 3, pads = [1,1,1,1]>(x, w, b)",
        (3, 2, 3, 3),
        (3,),
    ),
    "ConvTranspose": (
        "g (float[N,4,5,5] x) => (float[N,3,11,11] y)",
        "h = ConvTranspose<strides = [2,2]>(x, w, b)",
        (4, 3, 3, 3),
        (3,),
    ),
    "ConvTranspose without bias": (
        "g (float[N,4,5,5] x) => (float[N,3,7,7] y)",
        "h = ConvTranspose(x, w)",
        (4, 3, 3, 3),
        None,
    ),
}


@pytest.mark.parametrize("case", GRAPHS)
def test_batch_norm_behind_a_layer_goes_into_it(
    build: Build, rng: np.random.Generator, case: str
) -> None:
    signature, layer, weight, bias = GRAPHS[case]
    stored = {"w": f32(rng, *weight), **norm(rng)}
    if bias is not None:
        stored["b"] = f32(rng, *bias)
    model = build(f"{signature} {{ {layer} {NORM} y = Relu(n) }}", **stored)
    folded = fold_batch_norms(model)
    assert "BatchNormalization" not in {node.op_type for node in folded.graph.node}
    assert sum(array.size for array in tensors(folded).values()) == stored["w"].size + 3
    assert differences(model, folded)["y"] < 1e-6


def test_tied_rows_stay_bitwise_equal_and_dead_rows_zero(
    build: Build, rng: np.random.Generator
) -> None:
    w = f32(rng, 4, 3)
    w[2], w[1] = w[0], 0
    model = build(f"{FOUR} {{ h = MatMul(x, w) {NORM} y = Relu(n) }}", w=w, **norm(rng))
    folded = tensors(fold_batch_norms(model))["w"]
    assert folded[0].tobytes() == folded[2].tobytes()
    assert folded[0].any()
    assert not folded[1].any()


@pytest.mark.parametrize(
    "text",
    [
        f"{FOUR} {{ m = MatMul(x, w) h = Relu(m) {NORM} y = Relu(n) }}",
        f"{FOUR} {{ h = MatMul(x, w) {NORM} y = Add(n, h) }}",
        f"g (float[N,3,4] x) => (float[N,3,3] y) {{ h = MatMul(x, w) {NORM} y = Relu(n) }}",
        f"{FOUR} {{ h = Gemm(x, w, c) {NORM} y = Relu(n) }}",
        f"{FOUR} {{ h = MatMul(x, w) {NORM} g = MatMul(x, w) y = Add(n, g) }}",
        f"{FOUR} {{ v = Identity(w) h = MatMul(x, v) {NORM} g = Gemm(x, v) y = Add(n, g) }}",
    ],
    ids=[
        "behind an activation",
        "somebody else reads the layer",
        "another axis is normalised",
        "a bias of one number",
        "another node reads the weight",
        "another node reads a copy of the weight",
    ],
)
def test_batch_norm_elsewhere_stays(build: Build, rng: np.random.Generator, text: str) -> None:
    stored = {"c": f32(rng, 1)} if "w, c)" in text else {}
    folded = fold_batch_norms(build(text, w=f32(rng, 4, 3), **stored, **norm(rng)))
    assert "BatchNormalization" in {node.op_type for node in folded.graph.node}


def test_batch_norm_of_the_groups_of_a_convolution_upwards_stays(
    build: Build, rng: np.random.Generator
) -> None:
    model = build(
        "g (float[N,2,4,4] x) => (float[N,4,5,5] y)"
        "{ h = ConvTranspose<group = 2>(x, w) y = BatchNormalization(h, s, s, s, s) }",
        w=f32(rng, 2, 2, 2, 2),
        s=np.arange(1, 5, dtype=np.float32),
    )
    assert [node.op_type for node in fold_batch_norms(model).graph.node] == [
        "ConvTranspose",
        "BatchNormalization",
    ]
