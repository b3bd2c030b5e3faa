from collections.abc import Callable

import numpy as np
import pytest
from onnx import ModelProto

from tieshare.exports.fold import fold_batch_norms
from tieshare.graph.tensors import tensors

Build = Callable[..., ModelProto]
Run = Callable[..., np.ndarray]


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
}


@pytest.mark.parametrize("case", GRAPHS)
def test_batch_norm_behind_a_layer_goes_into_it(
    build: Build, run: Run, rng: np.random.Generator, case: str
) -> None:
    signature, layer, weight, bias = GRAPHS[case]
    stored = {"w": f32(rng, *weight), **norm(rng)}
    if bias is not None:
        stored["b"] = f32(rng, *bias)
    model = build(f"{signature} {{ {layer} {NORM} y = Relu(n) }}", **stored)
    folded = fold_batch_norms(model)
    assert "BatchNormalization" not in {node.op_type for node in folded.graph.node}
    assert sum(array.size for array in tensors(folded).values()) == stored["w"].size + 3
    x = f32(rng, 6, *((4,) if signature == FOUR else (4, 5, 5)))
    np.testing.assert_allclose(run(folded, x), run(model, x), rtol=1e-4, atol=1e-5)


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
    ],
    ids=["behind an activation", "somebody else reads the layer", "another axis is normalised"],
)
def test_batch_norm_elsewhere_stays(build: Build, rng: np.random.Generator, text: str) -> None:
    folded = fold_batch_norms(build(text, w=f32(rng, 4, 3), **norm(rng)))
    assert "BatchNormalization" in {node.op_type for node in folded.graph.node}
